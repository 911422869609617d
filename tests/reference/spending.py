"""Burns, holds, exchanges into native points, transfers, and refunds."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from tests.reference import money
from tests.reference.arrival import arrive, carry, settle
from tests.reference.authority import objection_to_authority, priced
from tests.reference.journal import Journal
from tests.reference.records import LONGEST_HOLD, Answer, Lot, Move, Posting, no


def burn(journal: Journal, command: Any, entry: Posting) -> Answer:
    """Points are spent at once."""
    card, refused = _may_spend(journal, command, entry)
    refused = refused or _objection_to_amount(journal, command)
    if refused is not None:
        return refused
    journal.write(entry, points=command.points, version=card.version)
    _take(journal, entry, command.points, "burned")
    _pay_redeemer(journal, entry, card)
    return paid(entry, card)


def authorize_burn(journal: Journal, command: Any, entry: Posting) -> Answer:
    """Points are set aside, at the price of now."""
    card, refused = _may_spend(journal, command, entry)
    refused = refused or _objection_to_amount(journal, command)
    if refused is not None:
        return refused
    journal.write(entry, points=command.points, version=card.version)
    _take(journal, entry, command.points, "held")
    return {"deadline": journal.deadline(entry), "value_micros": entry.points * card.face_value_micros}


def exchange_out(journal: Journal, command: Any, entry: Posting) -> Answer:
    """Points are set aside until the partner says whether it credited its own."""
    card, refused = _may_spend(journal, command, entry)
    if refused is not None:
        return refused
    if card.native_rate_out is None:
        return no("NO_NATIVE_RATE")
    native = math.floor(command.points * card.native_rate_out)
    if native == 0:
        return no("NOTHING_TO_EXCHANGE")
    refused = _objection_to_amount(journal, command)
    if refused is not None:
        return refused
    journal.write(entry, points=command.points, version=card.version)
    _take(journal, entry, command.points, "held")
    return {"native_points": native, "value_micros": entry.points * card.face_value_micros}


def extend_hold(journal: Journal, command: Any, entry: Posting) -> Answer:
    """From now on the hold lasts so long."""
    hold, refused = _hold(journal, command, "authorize_burn")
    if refused is not None:
        return refused
    deadline = entry.wall + timedelta(seconds=command.hold_seconds)
    if deadline > hold.wall + LONGEST_HOLD:
        return no("HOLD_TOO_LONG")
    journal.write(entry, points=hold.points, version=hold.version, original=hold)
    return {"deadline": deadline}


def capture_burn(journal: Journal, command: Any, entry: Posting) -> Answer:
    """All or part of what was set aside is spent, the rest returns."""
    hold, refused = _hold(journal, command, "authorize_burn")
    if refused is not None:
        return refused
    if command.points > hold.points:
        return no("OVER_ORIGINAL", remaining_points=str(hold.points))
    return _capture(journal, entry, hold, command.points or hold.points)


def confirm_exchange_out(journal: Journal, command: Any, entry: Posting) -> Answer:
    """The partner credited its points: what was set aside is spent there."""
    hold, refused = _hold(journal, command, "exchange_out")
    if refused is not None:
        return refused
    return _capture(journal, entry, hold, hold.points)


def void_burn(journal: Journal, command: Any, entry: Posting) -> Answer:
    """What was set aside returns."""
    return _release(journal, command, entry, "authorize_burn")


def refuse_exchange_out(journal: Journal, command: Any, entry: Posting) -> Answer:
    """The partner did not credit its points: what was set aside returns."""
    return _release(journal, command, entry, "exchange_out")


def release(journal: Journal, entry: Posting, hold: Posting) -> None:
    """All that a hold set aside returns."""
    journal.write(entry, points=hold.points, version=hold.version, original=hold)
    for move in hold.moves:
        arrive(journal, entry, move.lot, "held", move.points)


def transfer(journal: Journal, command: Any, entry: Posting) -> Answer:
    """Points of one member become another's."""
    if command.to_member_id == command.member_id:
        return no("SAME_MEMBER")
    refused = objection_to_authority(journal, command, entry.now, entry.wall)
    refused = refused or _objection_to_transfer(journal, command, entry)
    refused = refused or _objection_to_amount(journal, command)
    if refused is not None:
        return refused
    journal.write(entry, points=command.points)
    for lot, points in _first_lots(journal, command.member_id, command.points):
        receivers = journal.lot_like(lot, command.to_member_id)
        carry(entry, lot, receivers, points)
        settle(journal, entry, receivers, points)
    return {}


def refund_burn(journal: Journal, command: Any, entry: Posting) -> Answer:
    """Goods came back: points return to the lots they came from, and the money goes back as it came."""
    original = journal.posting((command.partner_id, command.original))
    kinds = ("burn", "capture_burn", "confirm_exchange_out")
    if original is None or original.kind not in kinds or original.member != command.member_id:
        return no("ORIGINAL_UNKNOWN")
    left = _not_yet_returned(journal, original)
    remaining = sum(points for _, points in left)
    if command.points > remaining:
        return no("OVER_ORIGINAL", remaining_points=str(remaining))

    card = journal.card(command.partner_id, original.version)
    share = _pro_rata if journal.terms.refund == "pro_rata" else _last_first
    journal.write(entry, points=command.points, version=original.version, original=original)
    for lot, points in share(left, command.points):
        if points:
            burned = money.of_burn(
                lot, journal.card_of(lot), points, card.partner_id, card.reimbursement_micros
            )
            entry.pay(money.of_refund(burned))
            arrive(journal, entry, lot, "burned", points)
    paid_back = [
        payment.micros
        for payment in entry.payments
        if (payment.payer, payment.payer_component) == (card.partner_id, "REIMBURSE_REVERSAL")
    ]
    return {"remaining_points": remaining - command.points, "reimbursement_micros": sum(paid_back)}


def burn_what_is_there(journal: Journal, entry: Posting, points: int, card: Any) -> int:
    """An adjustment's burn: what is open, up to so many points. Says how many were missing."""
    taken = min(points, journal.available(entry.member))
    _take(journal, entry, taken, "burned")
    _pay_redeemer(journal, entry, card)
    return points - taken


def _may_spend(journal: Journal, command: Any, entry: Posting) -> tuple[Any, Answer | None]:
    """The card that prices it, or what stands in the way."""
    refused = objection_to_authority(journal, command, entry.now, entry.wall)
    if refused is not None:
        return None, refused
    return priced(journal, command, entry.wall)


def _objection_to_amount(journal: Journal, command: Any) -> Answer | None:
    available = journal.available(command.member_id)
    if command.points > available:
        return no("INSUFFICIENT_POINTS", available_points=str(available))
    return None


def _objection_to_transfer(journal: Journal, command: Any, entry: Posting) -> Answer | None:
    limit, a_day = journal.terms.transfer_limit_points, journal.terms.transfer_daily_points
    if 0 < limit < command.points:
        return no("TRANSFER_LIMIT_EXCEEDED", limit_points=str(limit))
    today = journal.spent_on(journal.day(entry.now), member_id=command.member_id, kind="transfer")
    transferred = sum(posting.points for posting in today)
    if 0 < a_day < transferred + command.points:
        return no("TRANSFER_LIMIT_EXCEEDED", limit_points=str(a_day), transferred_points=str(transferred))
    return None


def _first_lots(journal: Journal, member: int, wanted: int) -> list[tuple[Lot, int]]:
    """What so many points take of a member's lots, in consumption order."""
    found = []
    for lot in journal.open_lots(member):
        taken = min(wanted, journal.open(lot))
        if taken:
            found.append((lot, taken))
            wanted -= taken
    assert wanted == 0
    return found


def _take(journal: Journal, entry: Posting, points: int, target: str) -> None:
    for lot, taken in _first_lots(journal, entry.member, points):
        entry.moves.append(Move(lot, "open", target, taken))


def _pay_redeemer(journal: Journal, entry: Posting, card: Any) -> None:
    for move in entry.moves:
        if move.target == "burned":
            redeemer, reimbursement = card.partner_id, card.reimbursement_micros
            issued_under = journal.card_of(move.lot)
            entry.pay(money.of_burn(move.lot, issued_under, move.points, redeemer, reimbursement))


def paid(entry: Posting, card: Any) -> Answer:
    """What the redeemer gave for the points, and what it receives for them."""
    received = [
        payment.micros
        for payment in entry.payments
        if (payment.payee, payment.payee_component) == (card.partner_id, "BURN_REIMBURSE")
    ]
    return {
        "value_micros": entry.points * card.face_value_micros,
        "reimbursement_micros": sum(received),
    }


def _hold(journal: Journal, command: Any, kind: str) -> tuple[Any, Answer | None]:
    """The open hold that a command follows, or why there is none."""
    hold = journal.posting((command.partner_id, command.original))
    if hold is None or hold.kind != kind or hold.member != command.member_id:
        return None, no("HOLD_UNKNOWN")
    end = journal.end_of_hold(hold)
    if end == "lapsed":
        return None, no("HOLD_LAPSED")
    if end:
        return None, no("HOLD_CLOSED", state=end)
    return hold, None


def _capture(journal: Journal, entry: Posting, hold: Posting, points: int) -> Answer:
    """So many of the held points are burned, in consumption order; then the others return."""
    card = journal.card(hold.name[0], hold.version)
    journal.write(entry, points=points, version=hold.version, original=hold)
    rest = []
    for move in hold.moves:
        burned = min(points, move.points)
        if burned:
            entry.moves.append(Move(move.lot, "held", "burned", burned))
        if burned < move.points:
            rest.append((move.lot, move.points - burned))
        points -= burned
    _pay_redeemer(journal, entry, card)
    for lot, released in rest:
        arrive(journal, entry, lot, "held", released)
    return {**paid(entry, card), "released_points": hold.points - entry.points}


def _release(journal: Journal, command: Any, entry: Posting, kind: str) -> Answer:
    hold, refused = _hold(journal, command, kind)
    if refused is not None:
        return refused
    release(journal, entry, hold)
    return {}


def _not_yet_returned(journal: Journal, original: Posting) -> list[tuple[Lot, int]]:
    """The legs of a burn, in their order, with what refunds have left of them."""
    returned = [move for refund in journal.followers(original, "refund_burn") for move in refund.moves]
    legs = []
    for leg in original.moves:
        if leg.target == "burned":
            back = sum(move.points for move in returned if (move.lot, move.source) == (leg.lot, "burned"))
            legs.append((leg.lot, leg.points - back))
    return legs


def _last_first(left: list[tuple[Lot, int]], points: int) -> list[tuple[Lot, int]]:
    shares = []
    for lot, most in reversed(left):
        share = min(points, most)
        shares.append((lot, share))
        points -= share
    return shares


def _pro_rata(left: list[tuple[Lot, int]], points: int) -> list[tuple[Lot, int]]:
    """Floors first; what they leave over, one point each, by largest remainder, the first leg before the last."""
    total = sum(most for _, most in left)
    if total == 0:
        return []
    shares = [points * most // total for _, most in left]
    order = sorted(range(len(left)), key=lambda place: (-(points * left[place][1] % total), place))
    for place in order[: points - sum(shares)]:
        shares[place] += 1
    return [(lot, share) for (lot, _), share in zip(left, shares, strict=True)]
