"""What the operator does to accounts: freeze, close, merge, adjust."""

from __future__ import annotations

from typing import Any

from tests.reference.arrival import absorb_everything, carry, expire, raise_deficit
from tests.reference.authority import priced
from tests.reference.journal import Journal
from tests.reference.records import OPERATOR, Answer, Debt, Journey, Owing, Payment, Posting, no
from tests.reference.spending import burn_what_is_there


def freeze(journal: Journal, command: Any, entry: Posting) -> Answer:
    """Nothing is earned or spent until the account is unfrozen."""
    return _change(journal, command, entry, allowed=("active",))


def unfreeze(journal: Journal, command: Any, entry: Posting) -> Answer:
    """All is as before."""
    return _change(journal, command, entry, allowed=("frozen",))


def close(journal: Journal, command: Any, entry: Posting) -> Answer:
    """What is open is lost, what is owed is forgiven."""
    member = command.member_id
    state = journal.state(member)[0]
    if state not in ("active", "frozen"):
        return no("MEMBER_STATE", state=state)
    if journal.pending(member) or journal.held(member):
        return _outstanding(journal, member)
    lots, debts = journal.open_lots(member), journal.debts(member)
    journal.write(entry, points=journal.available(member))
    for lot in lots:
        expire(journal, entry, lot, journal.open(lot))
    for debt in debts:
        entry.owings.append(Owing(debt, "forgiven", journal.outstanding(debt)))
    return {}


def merge(journal: Journal, command: Any, entry: Posting) -> Answer:
    """All that one account has and owes becomes another's."""
    member, survivor = command.member_id, command.into_member_id
    if member == survivor:
        return no("SAME_MEMBER")
    for each in (member, survivor):
        state = journal.state(each)[0]
        if state not in ("active", "frozen"):
            return no("MEMBER_STATE", state=state)
    for each in (member, survivor):
        if journal.pending(each) or journal.held(each):
            return _outstanding(journal, each)
    lots, debts = journal.open_lots(member), journal.debts(member)
    journal.write(entry, points=journal.available(member))
    for lot in lots:
        points, survivors = journal.open(lot), journal.lot_like(lot, survivor)
        entry.journeys.append(Journey(lot, survivors, "merge", entry.name, points))
        carry(entry, lot, survivors, points)
    for debt in debts:
        points = journal.outstanding(debt)
        new = journal.new_debt(survivor, debt.issuer, debt.funding, debt.since)
        entry.owings.append(Owing(debt, "moved_out", points, other=new, merge=entry.name))
        entry.owings.append(Owing(new, "moved_in", points))
    absorb_everything(journal, entry, survivor)
    return {}


def unmerge(journal: Journal, command: Any, entry: Posting) -> Answer:
    """They were two: what the merge moved goes back, as far as it is still there."""
    name = (OPERATOR, command.original)
    original = journal.posting(name)
    if original is None or original.kind != "merge" or original.member != command.member_id:
        return no("ORIGINAL_UNKNOWN")
    state, _, by = journal.state(command.member_id)
    if by != name:
        return no("MEMBER_STATE", state=state)
    survivor = journal.root(command.member_id)
    rows: dict[Any, int] = {}
    for journey in journal.journeys():
        if journey.merge == name and journey.why == "merge":
            rows[journey.start] = rows.get(journey.start, 0) + journey.points
    debts = [owing for owing in journal.owings() if owing.merge == name and owing.what == "moved_out"]

    journal.write(entry, original=original)
    for lot, moved in rows.items():
        survivors = journal.lot_like(lot, survivor)
        points = min(moved, journal.open(survivors))
        if points:
            entry.points += points
            entry.journeys.append(Journey(survivors, lot, "unmerge", None, points))
            carry(entry, survivors, lot, points)
    for owing in debts:
        debt = _where_it_went(journal, owing)
        points = min(owing.points, journal.outstanding(debt))
        if points:
            entry.owings.append(Owing(debt, "moved_out", points))
            entry.owings.append(Owing(owing.debt, "moved_in", points))
    return {}


def adjusted_burn(journal: Journal, command: Any, entry: Posting) -> Answer:
    """A burn that should have been: what is missing is owed to the redeemer, at what it would have received."""
    card, refused = priced(journal, command, entry.wall)
    if refused is not None:
        return refused
    journal.write(entry, points=command.points, version=card.version)
    missing = burn_what_is_there(journal, entry, command.points, card)
    entry.points -= missing  # an entry states what its legs burned
    if missing:
        redeemer, funding = card.partner_id, card.reimbursement_micros
        raise_deficit(journal, entry, command.member_id, redeemer, funding, missing, None)
    return {"deficit_points": missing}


def move_money(journal: Journal, command: Any, entry: Posting) -> Answer:
    """Money alone, between partners and the operator."""
    subject = command.subject
    known = {card.partner_id for card in journal.cards} | {OPERATOR}
    named = {subject.payer_id, subject.payee_id}
    if len(named) == 1 or not named <= known:
        return no("UNKNOWN_PARTY")
    journal.write(entry)
    entry.pay([Payment(subject.payer_id, "ADJUSTMENT", subject.payee_id, "ADJUSTMENT", subject.micros)])
    return {}


def _change(journal: Journal, command: Any, entry: Posting, allowed: tuple[str, ...]) -> Answer:
    state = journal.state(command.member_id)[0]
    if state not in allowed:
        return no("MEMBER_STATE", state=state)
    journal.write(entry)
    return {}


def _where_it_went(journal: Journal, moved: Owing) -> Debt:
    """The deficit that a merge moved, where further merges have brought it since."""
    assert moved.other is not None
    onwards = [each for each in journal.owings() if each.debt == moved.other and each.other is not None]
    return _where_it_went(journal, onwards[-1]) if onwards else moved.other


def _outstanding(journal: Journal, member: int) -> Answer:
    pending, held = journal.pending(member), journal.held(member)
    return no("POINTS_OUTSTANDING", pending_points=str(pending), held_points=str(held))
