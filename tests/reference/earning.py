"""Earn, confirm, cancel, claw back, and exchange of native points."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from tests.reference import money
from tests.reference.arrival import arrive, raise_deficit
from tests.reference.authority import priced
from tests.reference.due import post_what_is_due
from tests.reference.journal import Journal
from tests.reference.records import MOST_POINTS, Answer, Lot, Move, Posting, no


def earn(journal: Journal, command: Any, entry: Posting) -> Answer:
    """Points for spend, for native points, or just points; `pending` ones only get a promise."""
    card, refused = priced(journal, command, entry.wall)
    if refused is not None:
        return refused
    points = command.points
    if command.native_points:
        if card.native_rate_in is None:
            return no("NO_NATIVE_RATE")
        points = math.floor(command.native_points * card.native_rate_in)
    elif command.spend_minor:
        spend = Fraction(command.spend_minor, journal.terms.minor_per_major)
        points = math.floor(spend * card.earn_rate)
    refused = _objection_to_points(points)
    if refused is not None:
        return refused
    if command.once_rule:
        mark = (command.partner_id, command.once_rule)
        if any(mark in journal.marks(member) for member in journal.chain(command.member_id)):
            return no("ALREADY_EARNED")

    journal.write(entry, points=points, version=card.version)
    if command.pending:
        return {"remaining_points": points}
    return _issue(journal, command, entry, command.expiry_date)


def exchange_in(journal: Journal, command: Any, entry: Posting) -> Answer:
    """Native points become points; the operator keeps the spread, and what the floor cuts off."""
    card, refused = priced(journal, command, entry.wall)
    if refused is not None:
        return refused
    if card.native_rate_in is None:
        return no("NO_NATIVE_RATE")
    gross = command.native_points * card.native_rate_in
    credited = math.floor(gross * (1 - card.exchange_spread))
    refused = _objection_to_points(credited)
    if refused is not None:
        return refused

    journal.write(entry, points=credited, version=card.version)
    last_day = journal.last_day(card, command.event_time, command.expiry_date)
    lot = journal.lot(command.member_id, card, last_day)
    entry.pay(money.of_exchange_in(lot, card, gross, credited))
    arrive(journal, entry, lot, "issued", credited)
    return {"expiry_date": last_day, "native_points": command.native_points}


def confirm_earn(journal: Journal, command: Any, entry: Posting) -> Answer:
    """The promise is kept, at the prices of now."""
    original = earn_of(journal, command)
    if original is None:
        return no("ORIGINAL_UNKNOWN")
    left = journal.left_pending(original)
    if left == 0:
        return no("NOT_PENDING")
    card, refused = priced(journal, command, entry.wall)
    if refused is not None:
        return refused

    journal.write(entry, points=left, version=card.version, original=original)
    return _issue(journal, command, entry, original.command.expiry_date)


def cancel_earn(journal: Journal, command: Any, entry: Posting) -> Answer:
    """The promise is taken back."""
    original = earn_of(journal, command)
    if original is None:
        return no("ORIGINAL_UNKNOWN")
    left = journal.left_pending(original)
    if left == 0:
        return no("NOT_PENDING")
    journal.write(entry, points=left, original=original)
    return {}


def claw_back_earn(journal: Journal, command: Any, entry: Posting) -> Answer:
    """Points of an order that was refunded, by points or by the spend that is gone."""
    original = earn_of(journal, command)
    if original is None:
        return no("ORIGINAL_UNKNOWN")
    if journal.followers(original, "cancel_earn"):
        return no("EARN_CANCELLED")
    wanted, refused = _wanted(journal, command, original)
    if refused is not None:
        return refused
    remaining = original.points - journal.clawed_back(original)
    if wanted > remaining:
        return no("OVER_ORIGINAL", remaining_points=str(remaining))

    confirmed = journal.followers(original, "confirm_earn")
    lot = None if original.command.pending and not confirmed else _lot_of(original, confirmed)
    if lot is not None:
        for row in _rows_reached(journal, lot):
            post_what_is_due(journal, row.member, entry.now, entry.wall)
    journal.write(entry, points=wanted, version=original.version, original=original)
    answer: Answer = {"remaining_points": remaining - wanted}
    if lot is not None:
        answer["deficit_points"] = _take_back(journal, entry, lot, wanted)
    return answer


def earn_of(journal: Journal, command: Any) -> Posting | None:
    """The earn that a command follows: one of the same partner and member."""
    found = journal.posting((command.partner_id, command.original))
    if found is None or found.kind != "earn" or found.member != command.member_id:
        return None
    return found


def _objection_to_points(points: int) -> Answer | None:
    if points == 0:
        return no("NOTHING_TO_EARN")
    if points > MOST_POINTS:
        return no("POINTS_OVER_LIMIT", limit_points=str(MOST_POINTS))
    return None


def _issue(journal: Journal, command: Any, entry: Posting, own: Any) -> Answer:
    """So many points of the entry's card come into being."""
    card = journal.card(command.partner_id, entry.version)
    last_day = journal.last_day(card, command.event_time, own)
    lot = journal.lot(command.member_id, card, last_day)
    entry.pay(money.of_earn(lot, card, entry.points))
    arrive(journal, entry, lot, "issued", entry.points)
    return {"expiry_date": last_day}


def _wanted(journal: Journal, command: Any, original: Posting) -> tuple[int, Answer | None]:
    """Points to take: as asked, or what the spend that was kept has not earned."""
    if not command.refunded_spend_minor:
        return command.points, None
    spend = original.command.spend_minor
    if not spend:
        return 0, no("CLAW_BACK_BASIS")
    earlier = journal.followers(original, "claw_back_earn")
    kept = spend - sum(each.command.refunded_spend_minor for each in earlier)
    if command.refunded_spend_minor > kept:
        return 0, no("OVER_ORIGINAL", remaining_spend_minor=str(kept))
    kept -= command.refunded_spend_minor
    card = journal.card(command.partner_id, original.version)
    deserved = math.floor(Fraction(kept, journal.terms.minor_per_major) * card.earn_rate)
    return max(0, original.points - deserved - journal.clawed_back(original)), None


def _lot_of(original: Posting, confirmed: list[Posting]) -> Lot:
    """The row into which the earn's points came first."""
    first: Move = (confirmed or [original])[0].moves[0]
    return first.lot


def _take_back(journal: Journal, entry: Posting, lot: Lot, wanted: int) -> int:
    """Open points of the rows that the earn's points are in; says what is owed for the rest."""
    rows = _rows_reached(journal, lot)
    missing, member = wanted, journal.root(lot.member)
    for row in rows:
        taken = min(missing, journal.open(row))
        if taken and journal.root(row.member) == member:  # not from one who was merged by mistake
            entry.moves.append(Move(row, "open", "clawed_back", taken))
            entry.pay(money.of_claw_back(row, journal.card_of(row), taken))
            missing -= taken
    if journal.terms.claw_back == "clamp" or journal.state(member)[0] == "closed":
        return 0
    used = sum(_used(journal, row) for row in rows)
    owed = max(0, min(missing, used))
    if owed:
        funding = journal.card_of(lot).funding_micros
        raise_deficit(journal, entry, member, lot.issuer, funding, owed, lot)
    return owed


def _rows_reached(journal: Journal, lot: Lot) -> list[Lot]:
    """The row itself, then the rows to which merge or grace moved its points, in the order of the moves."""
    rows = [lot]
    for journey in journal.journeys():
        if journey.start in rows and journey.end not in rows and journey.why in ("grace", "merge"):
            rows.append(journey.end)
    return rows


def _used(journal: Journal, row: Lot) -> int:
    """Points that somebody had the good of, and that nobody owes for yet."""
    points = journal.balances()
    gone = sum(points[row, account] for account in ("held", "burned", "absorbed"))
    return gone + journal.transferred_out(row) - journal.raised_for(row)
