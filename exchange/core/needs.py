"""What a batch must have loaded before it can be planned. Stated beside each rule, read by the store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from exchange.core.lots import LotKey


@dataclass(slots=True)
class Needs:
    """Keys of the rows that a batch's commands read.

    Stated twice: `collect_needs` before anything is read, `further_needs` as often as what was read calls for more.
    """

    members: set[int] = field(default_factory=set)
    """Wallets, to be locked. Where further needs name one that is not locked yet, the batch starts over with it."""
    links: set[tuple[int, int]] = field(default_factory=set)
    """(member, partner)."""
    lots: set[LotKey] = field(default_factory=set)
    """Lots that points would join, by key."""
    spending: dict[int, int] = field(default_factory=dict)
    """Points that burns may take from a member's first lots in consumption order."""
    open_lots: set[int] = field(default_factory=set)
    """Members of whom all lots with open points are needed."""
    whole: set[int] = field(default_factory=set)
    """Members of whom everything is needed: all lots, deficits (paid ones too), open holds and pending earns, links
    and marks; and the moves from their lots, the lots that these lead to, and the moves from there."""
    requests: list[tuple[int, str]] = field(default_factory=list)
    """(partner, request id)."""
    references: list[tuple[int, str, str, int]] = field(default_factory=list)
    """(partner, kind, reference, part)."""
    originals: set[tuple[int, str]] = field(default_factory=set)
    """(partner, request id) of accepted commands: their entry, what followed it, the hold or pending earn that is
    still open, the lots of their legs, the lots that moves from there lead to, and those moves."""
    marks: set[tuple[int, int, str]] = field(default_factory=set)
    """(member, partner, rule)."""
    merges: set[tuple[int, int]] = field(default_factory=set)
    """(batch id, entry index) of merges: all moves they made."""
    quotes: set[str] = field(default_factory=set)
    pay_codes: set[bytes] = field(default_factory=set)
    terminals: set[tuple[int, str, str]] = field(default_factory=set)
    """(partner, store, terminal)."""
    adjustments: set[int] = field(default_factory=set)
    """Numbers of corrections, to be locked, so that none is withdrawn while it is posted."""

    def without(self, known: Needs) -> Needs:
        """What of this was not asked for before."""
        fresh = Needs(spending={key: it for key, it in self.spending.items() if key not in known.spending})
        for name in _SETS:
            setattr(fresh, name, getattr(self, name) - getattr(known, name))
        return fresh

    def joined(self, more: Needs) -> Needs:
        """Both together, as far as they are sets."""
        both = Needs(spending={**self.spending, **more.spending})
        for name in _SETS:
            setattr(both, name, getattr(self, name) | getattr(more, name))
        return both

    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return not any(getattr(self, name) for name in self.__slots__)


_SETS: Final = tuple(name for name in Needs.__slots__ if name not in ("spending", "requests", "references"))
