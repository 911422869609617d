"""The laws of conservation of docs/ledger.md, each read from rows and journal by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from exchange.core.book import NO_DEADLINE, MemberState
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Entry, Leg
from exchange.core.lots import Lot
from exchange.core.rates import NEVER
from tests.rows import Rows

ENDS = ("open", "held", "burned", "expired", "clawed_back", "absorbed", "moved_out")
SOURCES = ("issued", "moved_in")


def check_laws(rows: Rows, new: Sequence[str]) -> None:
    """All of them, on what the rows hold now; `new` has the ids of the entries not looked at before."""
    _lots_add_up(rows)
    _lots_are_what_their_legs_made_them(rows)
    _members_have_what_their_lots_holds_and_promises_say(rows)
    _deficits_add_up_and_stand_beside_no_open_points(rows)
    _entries_prove_themselves([rows.journal[entry_id] for entry_id in new], rows)
    _the_pool_holds_p_for_every_open_and_held_point(rows)


def _lots_add_up(rows: Rows) -> None:
    for lot in rows.lots.values():
        points = {account: getattr(lot, f"{account}_points") for account in (*SOURCES, *ENDS)}
        assert min(points.values()) >= 0, lot
        assert sum(points[account] for account in SOURCES) == sum(points[account] for account in ENDS), lot
        assert 0 <= lot.transferred_points <= lot.moved_out_points
    issued = sum(lot.issued_points for lot in rows.lots.values())
    moved = sum(lot.moved_in_points - lot.moved_out_points for lot in rows.lots.values())
    ended = sum(getattr(lot, f"{account}_points") for lot in rows.lots.values() for account in ENDS[:-1])
    assert moved == 0
    assert issued == ended


def _lots_are_what_their_legs_made_them(rows: Rows) -> None:
    points: Counter[tuple[int, int, str]] = Counter()
    for leg in (leg for entry in rows.journal.values() for leg in entry.legs):
        points[leg.member_id, leg.lot_sequence, leg.from_account] -= leg.points
        points[leg.member_id, leg.lot_sequence, leg.to_account] += leg.points
    for lot in rows.lots.values():
        for account in (*SOURCES, *ENDS):
            sign = -1 if account in SOURCES else 1
            told = getattr(lot, f"{account}_points")
            assert told == sign * points[lot.member_id, lot.lot_sequence, account]


def _members_have_what_their_lots_holds_and_promises_say(rows: Rows) -> None:
    for member, wallet in rows.wallets.items():
        lots = [lot for lot in rows.lots.values() if lot.member_id == member]
        holds = [hold for hold in rows.holds.values() if hold.member_id == member]
        promises = [promise for promise in rows.pending_earns.values() if promise.member_id == member]
        assert wallet.open_points == sum(lot.open_points for lot in lots)
        assert wallet.held_points == sum(lot.held_points for lot in lots)
        assert wallet.held_points == sum(hold.points for hold in holds)
        assert wallet.pending_points == sum(promise.points for promise in promises)
        assert all(promise.points > 0 for promise in promises)
        assert sorted(lot.lot_sequence for lot in lots) == list(range(1, wallet.lot_sequence + 1))
        if wallet.state in (MemberState.CLOSED, MemberState.MERGED):
            assert wallet.open_points == wallet.held_points == wallet.deficit_points == 0
        # What is due is never overlooked.
        assert wallet.next_expiry_date <= min(
            (it.expiry_date for it in lots if it.open_points), default=NEVER
        )
        assert wallet.next_cancel_date <= min((it.due_date for it in promises), default=NEVER)
        assert wallet.next_deadline <= min((it.deadline for it in holds), default=NO_DEADLINE)
    for link in rows.links.values():
        assert 0 <= link.burned_points <= link.per_day_limit_points


def _deficits_add_up_and_stand_beside_no_open_points(rows: Rows) -> None:
    for member, wallet in rows.wallets.items():
        owed = [debt for debt in rows.deficits.values() if debt.member_id == member]
        assert wallet.deficit_points == sum(debt.outstanding_points for debt in owed)
        assert all(debt.outstanding_points >= 0 for debt in owed)
        assert not (wallet.deficit_points and wallet.open_points)
        assert wallet.deficit_sequence == len(owed)
    debts = list(rows.deficits.values())
    assert sum(debt.moved_in_points - debt.moved_out_points for debt in debts) == 0
    absorbed = sum(lot.absorbed_points for lot in rows.lots.values())
    assert sum(debt.absorbed_points for debt in debts) == absorbed
    raised = sum(debt.raised_points for debt in debts)
    ended = sum(debt.absorbed_points + debt.forgiven_points + debt.outstanding_points for debt in debts)
    assert raised == ended


def _entries_prove_themselves(entries: Sequence[Entry], rows: Rows) -> None:
    for entry in entries:
        assert sum(_balance(entry, party) for party in _parties(entry)) == 0
        assert all(line.micros > 0 and line.payer_id != line.payee_id for line in entry.lines)
        assert _balance(entry, POOL) == sum(_escrow_change(leg) for leg in entry.legs)
        for leg in entry.legs:
            card = rows.cards.of_version(leg.issuer_id, leg.rate_version)
            assert leg.prefunded_micros == card.prefunded_micros
            assert leg.points > 0


def _the_pool_holds_p_for_every_open_and_held_point(rows: Rows) -> None:
    balance = sum(_balance(entry, POOL) for entry in rows.journal.values())
    assert balance == sum(_escrow(lot) for lot in rows.lots.values())
    for lot in rows.lots.values():
        card = rows.cards.of_version(lot.issuer_id, lot.rate_version)
        assert (lot.funding_micros, lot.prefunded_micros) == (card.funding_micros, card.prefunded_micros)


def _escrow(lot: Lot) -> int:
    return (lot.open_points + lot.held_points) * lot.prefunded_micros


def _escrow_change(leg: Leg) -> int:
    arrives, leaves = leg.to_account in ("open", "held"), leg.from_account in ("open", "held")
    return (arrives - leaves) * leg.points * leg.prefunded_micros


def _balance(entry: Entry, party: int) -> int:
    return sum(line.micros * ((line.payee_id == party) - (line.payer_id == party)) for line in entry.lines)


def _parties(entry: Entry) -> set[int]:
    return {party for line in entry.lines for party in (line.payer_id, line.payee_id)} | {OPERATOR}
