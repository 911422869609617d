"""What a batch must have loaded before it can be planned. Collected by each rule's `needs`."""

from __future__ import annotations

from dataclasses import dataclass, field

from exchange.core.lots import LotKey


@dataclass(slots=True)
class Needs:
    """Keys of the rows that a batch's commands read."""

    members: set[int] = field(default_factory=set)
    links: set[tuple[int, int]] = field(default_factory=set)
    """(member, partner)."""
    lots: set[LotKey] = field(default_factory=set)
    """Lots that an earn would join."""
    spending: dict[int, int] = field(default_factory=dict)
    """Points that burns may take from a member's first lots in consumption order."""
    requests: list[tuple[int, str]] = field(default_factory=list)
    """(partner, request id)."""
    references: list[tuple[int, str, str, int]] = field(default_factory=list)
    """(partner, kind, reference, part)."""
