"""Points that arrive or return, and deficits that take what is open."""

from __future__ import annotations

from tests.reference import money
from tests.reference.calendar import days_later
from tests.reference.journal import Journal
from tests.reference.records import Debt, Journey, Lot, Move, Owing, Posting


def arrive(journal: Journal, entry: Posting, lot: Lot, source: str, points: int) -> None:
    """To their own row; to the surviving member's; to the deficits; and if their day has passed, not at all."""
    entry.moves.append(Move(lot, source, "open", points))
    root = journal.root(lot.member)
    if root != lot.member:
        survivors = journal.lot_like(lot, root)
        merge = journal.state(lot.member)[2]
        entry.journeys.append(Journey(lot, survivors, "merge", merge, points))
        carry(entry, lot, survivors, points)
        lot = survivors
    settle(journal, entry, lot, points)


def settle(journal: Journal, entry: Posting, lot: Lot, points: int) -> None:
    """What happens to points that have just come into a row of a member that lives."""
    points -= absorb(journal, entry, lot, points)
    closed = journal.state(lot.member)[0] == "closed"
    today = journal.day(entry.now)
    if points == 0 or (lot.last_day >= today and not closed):
        return
    if entry.does == "refund_burn" and journal.terms.grace_days > 0 and not closed:
        last_day = days_later(today, journal.terms.grace_days)
        later = journal.lot(lot.member, journal.card_of(lot), last_day)
        entry.journeys.append(Journey(lot, later, "grace", None, points))
        carry(entry, lot, later, points)
    else:
        expire(journal, entry, lot, points)


def carry(entry: Posting, start: Lot, end: Lot, points: int) -> None:
    """Open points of one row become open points of another."""
    entry.moves.append(Move(start, "open", "moved_out", points))
    entry.moves.append(Move(end, "moved_in", "open", points))


def expire(journal: Journal, entry: Posting, lot: Lot, points: int) -> None:
    """Open points are lost, and the pool gives up what it held for them."""
    entry.moves.append(Move(lot, "open", "expired", points))
    entry.pay(money.of_expiry(lot, journal.card_of(lot), points))


def absorb(journal: Journal, entry: Posting, lot: Lot, points: int) -> int:
    """The member's deficits, the oldest first, take of so many open points what they can; says how many."""
    absorbed = 0
    for debt in journal.debts(lot.member):
        taken = min(points - absorbed, journal.outstanding(debt))
        if taken:
            entry.moves.append(Move(lot, "open", "absorbed", taken))
            entry.owings.append(Owing(debt, "absorbed", taken))
            entry.pay(money.of_absorption(lot, journal.card_of(lot), taken, debt.issuer, debt.funding))
            absorbed += taken
    return absorbed


def absorb_everything(journal: Journal, entry: Posting, member: int) -> None:
    """A member's deficits take all they can of what is open, in consumption order."""
    for lot in journal.open_lots(member):
        absorb(journal, entry, lot, journal.open(lot))


def raise_deficit(
    journal: Journal, entry: Posting, member: int, issuer: int, funding: int, points: int, of: Lot | None
) -> None:
    """A member comes to owe points to an issuer, and pays at once with what is open."""
    debt: Debt = journal.new_debt(member, issuer, funding, entry.now)
    entry.owings.append(Owing(debt, "raised", points, of))
    absorb_everything(journal, entry, member)
