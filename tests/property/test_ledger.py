"""What holds for every history, on the pure core: no database, the rule of loading included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.core.commands import Asked, Command, Wake
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Entry, Leg
from exchange.core.rates import NEVER
from exchange.core.refusals import Reason
from tests.builders import M1, M2, STRANGER
from tests.property.histories import HISTORIES, Batch, History
from tests.reference import Posting, ReferenceLedger
from tests.rows import FIRST_LOTS, Answer, Rows, as_sent

# The same thousand histories in every run: a failure is a change of the code, never luck.
PURE = settings(max_examples=1000, deadline=None, derandomize=True, database=None)


@PURE
@given(HISTORIES)
def test_the_reference_ledger_agrees_on_every_answer_lot_wallet_leg_and_line(history: History) -> None:
    rows = history.rows()
    reference = history.reference()

    answers = _run(rows, history.batches)
    expected = [
        (as_sent(answer), given_before)
        for batch in history.batches
        for answer, given_before in (
            reference.submit(command, batch.decided_time) for command in batch.commands
        )
    ]

    assert answers == expected
    assert [_posting(entry) for entry in rows.journal.values()] == [
        _posting_of_reference(posting) for posting in reference.journal
    ]
    assert _lots(rows) == _lots_of_reference(reference)
    for member in (M1, M2):
        assert rows.wallets[member].open_points == reference.available(member)
    assert _pool_balance(rows) == reference.balance_of(POOL)


@PURE
@given(HISTORIES, st.integers(0, 50))
def test_cutting_a_batch_in_two_changes_no_answer_and_no_row(history: History, place: int) -> None:
    whole, one_by_one = history.rows(), history.rows()
    in_two = history.rows(load_all=True)  # nor does it matter that a store brings more lots than are needed

    answers = _run(whole, history.batches)

    assert _run(in_two, [part for batch in history.batches for part in _cut(batch, place)]) == answers
    assert _run(one_by_one, [part for batch in history.batches for part in _singles(batch)]) == answers
    assert _everything(in_two) == _everything(whole)
    assert _everything(one_by_one) == _everything(whole)


@PURE
@given(HISTORIES, st.integers(1, 9))
def test_replaying_everything_gives_every_answer_again_and_changes_nothing(
    history: History, size: int
) -> None:
    rows = history.rows()
    answers = _run(rows, history.batches)
    kept = [
        (command, answer)
        for command, (answer, _) in zip(history.commands(), answers, strict=True)
        if not isinstance(command, Wake) and answer.get("reason") != "EVENT_IN_FUTURE"  # that one is not kept
    ]
    before = _everything(rows)

    much_later = history.batches[-1].decided_time + timedelta(days=40)
    again = [command for command, _ in kept]
    replayed = _run(
        rows, [Batch(much_later, tuple(again[at : at + size])) for at in range(0, len(again), size)]
    )

    assert [answer for answer, _ in replayed] == [answer for _, answer in kept]
    assert all(given_before == (answer["verdict"] != "rejected") for answer, given_before in replayed)
    assert _everything(rows) == before


@PURE
@given(HISTORIES)
def test_nobody_is_below_zero_and_every_lot_adds_up(history: History) -> None:
    rows = history.rows()

    for batch in history.batches:
        rows.run(batch.commands, batch.decided_time)

        for lot in rows.lots.values():
            accounts = (lot.open_points, lot.held_points, lot.burned_points, lot.expired_points)
            assert min(accounts) >= 0
            assert lot.issued_points == sum(accounts)
        for member, wallet in rows.wallets.items():
            own = [lot for lot in rows.lots.values() if lot.member_id == member]
            assert wallet.open_points == sum(lot.open_points for lot in own) >= 0
            assert wallet.held_points == sum(lot.held_points for lot in own) == 0
            assert wallet.lot_sequence == len(own)
            assert sorted(lot.lot_sequence for lot in own) == list(range(1, len(own) + 1))
            first_open = min((lot.expiry_date for lot in own if lot.open_points), default=NEVER)
            assert wallet.next_expiry_date <= first_open
        for link in rows.links.values():
            assert 0 <= link.burned_points <= link.per_day_limit_points


@PURE
@given(HISTORIES)
def test_each_entry_proves_itself_and_the_pool_holds_p_for_every_open_and_held_point(
    history: History,
) -> None:
    rows = history.rows()

    _run(rows, history.batches)

    for entry in rows.journal.values():
        assert _balance(entry, POOL) == sum(_escrow_change(leg) for leg in entry.legs)
        assert entry.points == sum(
            leg.points for leg in entry.legs if leg.from_account == entry.legs[0].from_account
        )
        for leg in entry.legs:
            card = rows.cards.of_version(leg.issuer_id, leg.rate_version)
            assert leg.prefunded_micros == card.prefunded_micros
    escrow = sum((lot.open_points + lot.held_points) * lot.prefunded_micros for lot in rows.lots.values())
    assert _pool_balance(rows) == escrow


@PURE
@given(HISTORIES, st.lists(st.integers(0, 12), max_size=12))
def test_a_sweep_at_any_time_changes_no_later_answer(history: History, hours: list[int]) -> None:
    swept, unswept = history.rows(), history.rows()
    sweep = (Wake(M1), Wake(M2), Wake(STRANGER))
    without_wakes = [replace(batch, commands=_asked(batch.commands)) for batch in history.batches]
    last = Batch(history.batches[-1].decided_time + timedelta(days=40), sweep)

    answers = _run(unswept, without_wakes)
    _run(unswept, [last])
    answers_swept: list[tuple[Answer, bool]] = []
    for batch, following in pairwise([*without_wakes, last]):
        answers_swept += _run(swept, [batch])
        for hour in hours:
            moment = batch.decided_time + timedelta(hours=hour)
            if moment <= following.decided_time:
                swept.run(sweep, moment)
    _run(swept, [last])

    assert answers_swept == answers
    assert sorted(map(_posting, swept.journal.values())) == sorted(map(_posting, unswept.journal.values()))
    assert _lots(swept) == _lots(unswept)


def test_the_histories_reach_every_refusal_repeats_and_lots_that_were_not_loaded() -> None:
    seen: Counter[str] = Counter()

    @settings(PURE, max_examples=300)
    @given(HISTORIES)
    def count(history: History) -> None:
        rows = history.rows()
        for answer, given_before in _run(rows, history.batches):
            seen[str(answer.get("reason", answer["verdict"]))] += 1
            seen["given before"] += given_before
        seen["lots left out"] += rows.lots_left_out
        for entry in rows.journal.values():
            legs = len(entry.legs)
            seen[f"{entry.command.kind} of {'one leg' if legs == 1 else 'more legs'}"] += 1
            seen["burn of more lots than are given first"] += (
                entry.command.kind == "burn" and legs > FIRST_LOTS
            )
            seen["operator pays the spread"] += any(line.payer_id == OPERATOR for line in entry.lines)
            seen["on us"] += any(leg.issuer_id == entry.command.partner_id for leg in entry.legs) and (
                entry.command.kind == "burn"
            )

    count()

    expected = [*(reason.value for reason in Reason), "accepted", "woken", "given before", "lots left out"]
    expected += ["earn of more legs", "burn of one leg", "burn of more legs", "expire of one leg", "on us"]
    expected += ["burn of more lots than are given first", "operator pays the spread"]
    assert {what: seen[what] for what in expected if seen[what] < 10} == {}


# --- what is compared ---


def _run(rows: Rows, batches: Sequence[Batch]) -> list[tuple[Answer, bool]]:
    return [answer for batch in batches for answer in rows.run(batch.commands, batch.decided_time)]


def _cut(batch: Batch, place: int) -> list[Batch]:
    place %= len(batch.commands) + 1
    return [replace(batch, commands=part) for part in (batch.commands[:place], batch.commands[place:])]


def _singles(batch: Batch) -> list[Batch]:
    return [replace(batch, commands=(command,)) for command in batch.commands]


def _asked(commands: Sequence[Command]) -> tuple[Asked, ...]:
    return tuple(command for command in commands if not isinstance(command, Wake))


def _posting(entry: Entry) -> tuple[Any, ...]:
    """What an entry says, without its place in the journal and the moment it was decided."""
    command = entry.command
    legs = tuple(
        (leg.lot_sequence, leg.issuer_id, leg.rate_version, leg.from_account, leg.to_account, leg.points)
        for leg in entry.legs
    )
    name = (command.partner_id, command.request_id)
    head = (name, command.kind, command.member_id, command.reference, entry.points, entry.rate_version)
    return (*head, legs, tuple(sorted(entry.lines)))


def _posting_of_reference(posting: Posting) -> tuple[Any, ...]:
    legs = tuple(
        (move.lot.sequence, move.lot.issuer, move.lot.version, move.source, move.target, move.points)
        for move in posting.moves
    )
    head = (posting.name, posting.kind, posting.member, posting.reference, posting.points, posting.version)
    return (*head, legs, tuple(sorted(posting.payments)))


def _lots(rows: Rows) -> set[tuple[Any, ...]]:
    return {
        (
            (lot.member_id, lot.lot_sequence, lot.issuer_id, lot.rate_version, lot.expiry_date),
            (lot.issued_points, lot.open_points, lot.held_points, lot.burned_points, lot.expired_points),
        )
        for lot in rows.lots.values()
    }


def _lots_of_reference(reference: ReferenceLedger) -> set[tuple[Any, ...]]:
    found = set()
    for lot in reference.lots:
        points = reference.balances(lot.member)
        inside = tuple(points[lot, account] for account in ("open", "held", "burned", "expired"))
        found.add((tuple(lot), (-points[lot, "issued"], *inside)))
    return found


def _everything(rows: Rows) -> tuple[Any, ...]:
    """Every row; entries by name, because the ids of entries contain the batch's."""
    return (
        {key: replace(wallet, lots={}, woken=False, changed=False) for key, wallet in rows.wallets.items()},
        {key: replace(lot, created=False, changed=False) for key, lot in rows.lots.items()},
        {key: replace(link, changed=False) for key, link in rows.links.items()},
        rows.requests,
        {key: rows.name_of(entry_id) for key, entry_id in rows.references.items()},
        list(rows.journal.values()),
    )


def _escrow_change(leg: Leg) -> int:
    arrives, leaves = leg.to_account in ("open", "held"), leg.from_account in ("open", "held")
    return (arrives - leaves) * leg.points * leg.prefunded_micros


def _balance(entry: Entry, party: int) -> int:
    return sum(line.micros * ((line.payee_id == party) - (line.payer_id == party)) for line in entry.lines)


def _pool_balance(rows: Rows) -> int:
    return sum(_balance(entry, POOL) for entry in rows.journal.values())
