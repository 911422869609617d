"""What a correction posts at the hub, read off a break: the hub is brought to what the partner recorded.

A closed window is never edited. The correction is posted to the open one, as of the deal's own time, so it is
priced by the rate card of that time (`docs/ledger.md`, Adjust).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

Side = Mapping[str, Any]
"""One side's record of a deal: plain data with the columns of a partner file's deal by name."""

EARN, BURN, CLAW_BACK, REFUND, MONEY = "earn", "burn", "claw_back_earn", "refund_burn", "money"

_OPERATOR: Final = "OPERATOR"
_POSTED_AS: Final = {
    "earn": EARN,
    "confirm_earn": EARN,
    "burn": BURN,
    "capture_burn": BURN,
    "claw_back_earn": CLAW_BACK,
    "refund_burn": REFUND,
}
_REVERSED_BY: Final = {EARN: CLAW_BACK, BURN: REFUND}


class NothingToPost(Exception):
    """No correction follows from this break; `str()` says why and what to do instead."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A break as far as a correction goes by it. Differences are the partner's figure less the hub's."""

    type: str
    partner_id: str
    hub: Side | None
    partner: Side | None
    claimed_difference_micros: int
    owed_difference_micros: int


@dataclass(frozen=True, slots=True)
class Posting:
    """One correction: a command that should have been, or money alone. What does not apply is empty or 0.

    Attributes:
        kind: `earn`, `burn`, `claw_back_earn`, `refund_burn` or `money`.
        event_time: ISO 8601, when the deal was.
        original_request_id: of a claw back or refund, the earn or burn it takes back.
    """

    kind: str
    partner_id: str
    event_time: str
    member_id: str = ""
    store_id: str = ""
    terminal_id: str = ""
    reference: str = ""
    part: int = 0
    original_request_id: str = ""
    points: int = 0
    payer_id: str = ""
    payee_id: str = ""
    micros: int = 0


@dataclass(frozen=True, slots=True)
class Supplied:
    """What a person adds where neither side's record has it."""

    member_id: str = ""
    store_id: str = ""
    terminal_id: str = ""
    original_request_id: str = ""


NOTHING_SUPPLIED: Final = Supplied()


def posting_for(difference: Difference, supplied: Supplied = NOTHING_SUPPLIED) -> Posting:
    """The correction that brings the hub to the partner's record. Raises NothingToPost."""
    make = _MAKERS.get(difference.type)
    if make is None:
        raise NothingToPost(
            _ELSEWHERE.get(difference.type, f"a break {difference.type} is not corrected by a posting")
        )
    return _complete(make(difference), supplied)


def posting_content(posting: Posting) -> dict[str, Any]:
    """A posting as plain data."""
    return asdict(posting)


def posting_from(content: Mapping[str, Any]) -> Posting:
    """A posting from its plain data."""
    return Posting(**content)


def posting_words(posting: Posting) -> str:
    """A posting in a line, with points and micros as they are."""
    if posting.kind == MONEY:
        return (
            f"{posting.payer_id} pays {posting.payee_id} {posting.micros:,} micros as of {posting.event_time}"
        )
    return (
        f"{posting.kind} of {posting.points:,} points at {posting.partner_id} for {posting.member_id},"
        f" order {posting.reference}, as of {posting.event_time}"
    )


def _missing_at_hub(difference: Difference) -> Posting:
    deal = difference.partner or {}
    return _deal(difference.partner_id, _kind(deal), deal, int(deal["points"]))


def _missing_at_partner(difference: Difference) -> Posting:
    deal = difference.hub or {}
    return _reversal(difference.partner_id, deal, int(deal["points"]))


def _amount(difference: Difference) -> Posting:
    hub, partner = difference.hub or {}, difference.partner or {}
    more = int(partner["points"]) - int(hub["points"])
    if not more:
        return _money(difference)
    kind = _kind(hub)
    if kind not in _REVERSED_BY:
        # A reversal of too many points is undone by the deal itself, of too few by one more reversal.
        undone = {CLAW_BACK: EARN, REFUND: BURN}
        return _deal(difference.partner_id, kind if more > 0 else undone[kind], hub, abs(more))
    if more > 0:
        return _deal(difference.partner_id, kind, hub, more)
    return _reversal(difference.partner_id, hub, -more)


def _money(difference: Difference) -> Posting:
    due = difference.claimed_difference_micros - difference.owed_difference_micros
    if not due:
        raise NothingToPost("points and money are the same on both sides; there is nothing to post")
    payer, payee = (_OPERATOR, difference.partner_id) if due > 0 else (difference.partner_id, _OPERATOR)
    return Posting(
        MONEY,
        difference.partner_id,
        _event_time(difference.hub or difference.partner or {}),
        payer_id=payer,
        payee_id=payee,
        micros=abs(due),
    )


def _deal(partner_id: str, kind: str, deal: Side, points: int) -> Posting:
    return Posting(
        kind,
        partner_id,
        _event_time(deal),
        member_id=deal.get("member_id") or "",
        store_id=deal.get("store_id") or "",
        terminal_id=deal.get("terminal_id") or "",
        reference=deal.get("reference") or "",
        part=int(deal.get("part") or 0),
        points=points,
    )


def _reversal(partner_id: str, deal: Side, points: int) -> Posting:
    kind = _kind(deal)
    if kind not in _REVERSED_BY:
        raise NothingToPost(f"a {kind} is not taken back by one posting; use `tongdui-hub adjust propose`")
    taken_back = _deal(partner_id, _REVERSED_BY[kind], deal, points)
    return replace(taken_back, original_request_id=deal.get("request_id") or "")


def _kind(deal: Side) -> str:
    kind = str(deal.get("kind", ""))
    if kind not in _POSTED_AS:
        raise NothingToPost(f"a correction stands for no deal of kind {kind or '(none)'}")
    return _POSTED_AS[kind]


def _event_time(deal: Side) -> str:
    return str(deal["event_time"])


def _complete(posting: Posting, supplied: Supplied) -> Posting:
    if posting.kind == MONEY:
        return posting
    added = {name: value for name, value in asdict(supplied).items() if value}
    whole = replace(posting, **added)
    needed = {"member_id": "--member", "store_id": "--store", "terminal_id": "--terminal"}
    if whole.kind in (CLAW_BACK, REFUND):
        needed["original_request_id"] = "--original"
    missing = [option for name, option in needed.items() if not getattr(whole, name)]
    if missing:
        raise NothingToPost(f"neither side's record has all of it; add {', '.join(missing)}")
    return whole


_MAKERS: Final[Mapping[str, Callable[[Difference], Posting]]] = {
    "MISSING_AT_HUB": _missing_at_hub,
    "MISSING_AT_PARTNER": _missing_at_partner,
    "AMOUNT_MISMATCH": _amount,
    "RATE_VERSION_MISMATCH": _money,
    "FEE_VARIANCE": _money,
    "ROUNDING": _money,
}

_ELSEWHERE: Final = {
    "TIMING": "a timing break clears itself when the other side turns up",
    "DUPLICATE": "the hub has it once and the partner twice; the partner corrects its file",
    "WRONG_MEMBER": "that is two postings, one back and one new: use `tongdui-hub adjust propose` for each",
    "WRONG_STORE": "the hub's entry stands; the partner corrects its record, or writes it off",
}
