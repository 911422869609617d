"""What holds for every history, on the pure core: no database, the rule of loading included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given, note
from hypothesis import strategies as st

from exchange.core.commands import Asked, Command, Wake
from exchange.core.decide.burn import FIRST_LOTS
from exchange.core.ids import OPERATOR
from exchange.core.refusals import Reason
from tests.builders import STRANGER
from tests.property.coalition import MEMBERS
from tests.property.histories import HISTORIES, History
from tests.property.laws import check_laws
from tests.property.playing import Answer, PlayingCore, PlayingReference
from tests.property.postings import name_of, posting_of_core, posting_of_reference
from tests.property.profiles import tries
from tests.property.writer import Batch
from tests.rows import Rows, fresh

ROUNDS = 3
"""Of 500 histories. One reaches everything two times in three, and which is a matter of what hypothesis draws."""

EVERYBODY = (*MEMBERS, STRANGER)
REACHED = [
    "accepted",
    "woken",
    "given before",
    "lots left out",
    "burn of more lots than are given first",
    "operator pays",
    *("adjust_earn", "adjust_claw_back_earn", "adjust_burn", "adjust_refund_burn", "adjust_money"),
    *("MEMBER_DAILY_LIMIT_EXCEEDED: limit_burns", "MEMBER_DAILY_LIMIT_EXCEEDED: limit_points"),
    *("TERMINAL_DAILY_LIMIT_EXCEEDED: limit_burns", "TERMINAL_DAILY_LIMIT_EXCEEDED: limit_points"),
    *("freeze", "unfreeze", "close: open to expired", "extend_hold", "cancel_earn", "expire", "wake woken"),
    *("earn: open to moved_out", "earn: open to absorbed", "earn: open to expired"),
    *("confirm_earn: issued to open", "confirm_earn: open to absorbed", "confirm_earn: open to moved_out"),
    *("claw_back_earn: open to clawed_back", "claw_back_earn: open to absorbed"),
    *("adjust_claw_back_earn: open to clawed_back", "adjust_burn: open to burned"),
    *("capture_burn: held to burned", "capture_burn: held to open", "capture_burn: open to absorbed"),
    *(
        "void_burn: held to open",
        "void_burn: open to absorbed",
        "lapse: open to expired",
        "lapse: open to absorbed",
    ),
    *("refund_burn: burned to open", "refund_burn: open to absorbed", "refund_burn: open to expired"),
    *("refund_burn: moved_in to open", "adjust_refund_burn: burned to open"),
    *("exchange_in: issued to open", "exchange_out: open to held", "confirm_exchange_out: held to burned"),
    *("refuse_exchange_out: held to open", "transfer: moved_in to open", "transfer: open to absorbed"),
    *("merge: open to moved_out", "merge: open to absorbed", "unmerge: open to moved_out"),
]


def test_in_histories_that_reach_everything_the_reference_agrees_and_every_law_of_conservation_holds() -> (
    None
):
    """After every batch: each answer, leg, line, lot, deficit and total, and each law of conservation."""
    expected = [*(reason.value for reason in Reason), *REACHED]
    seen: Counter[str] = Counter()

    def compare(history: History) -> None:
        core, reference = _core(history), PlayingReference(history.coalition, history.pay_codes)
        for batch in history.batches:
            note(f"at {batch.decided_time}, {batch.wall_time}: {batch.commands}")
            posted = len(reference.ledger.postings)
            answers = core.tell(batch.commands, batch.decided_time, batch.wall_time)

            assert answers == reference.tell(batch.commands, batch.decided_time, batch.wall_time)
            entries = list(core.rows.journal)[posted:]
            assert [posting_of_core(entry, core.rows) for entry in entries] == [
                posting_of_reference(posting) for posting in reference.ledger.postings[posted:]
            ]
            assert core.view() == reference.view()
            check_laws(core.rows, entries)
            seen.update(_seen(batch, answers))
            seen.update(_seen_in_entries(entries, core.rows))
        seen["lots left out"] += core.rows.lots_left_out

    for more in range(ROUNDS):
        tries(500, more=more)(given(HISTORIES)(compare))()
        if all(seen[what] for what in expected):
            break

    assert [what for what in expected if not seen[what]] == []


@tries(150)
@given(HISTORIES, st.integers(0, 50))
def test_cutting_a_batch_in_two_changes_no_answer_and_no_row(history: History, place: int) -> None:
    whole, one_by_one = _core(history), _core(history)
    in_two = _core(history, load_all=True)  # nor does it matter that a store brings more than is needed

    answers = _run(whole, history.batches)

    assert _run(in_two, [part for batch in history.batches for part in _cut(batch, place)]) == answers
    assert _run(one_by_one, [part for batch in history.batches for part in _singles(batch)]) == answers
    assert _everything(in_two) == _everything(whole)
    assert _everything(one_by_one) == _everything(whole)


@tries(150)
@given(HISTORIES, st.integers(1, 9))
def test_replaying_everything_gives_every_answer_again_and_changes_nothing(
    history: History, size: int
) -> None:
    core = _core(history)
    answers = _run(core, history.batches)
    kept = [
        (command, answer)
        for command, (answer, _) in zip(history.commands(), answers, strict=True)
        if not isinstance(command, Wake) and answer.get("reason") != "EVENT_IN_FUTURE"  # that one is not kept
    ]
    before = _everything(core)

    last = history.batches[-1]
    again = [command for command, _ in kept]
    later = last.decided_time + timedelta(days=400), last.wall_time + timedelta(days=400)
    replayed = _run(core, [Batch(*later, tuple(again[at : at + size])) for at in range(0, len(again), size)])

    assert [answer for answer, _ in replayed] == [answer for _, answer in kept]
    assert all(given_before == (answer["verdict"] != "rejected") for answer, given_before in replayed)
    assert _everything(core) == before


@tries(150)
@given(HISTORIES, st.lists(st.integers(0, 12), max_size=12))
def test_a_sweep_at_any_time_changes_no_later_answer(history: History, hours: list[int]) -> None:
    swept, unswept = _core(history), _core(history)
    sweep = tuple(Wake(member) for member in EVERYBODY)
    without_wakes = [replace(batch, commands=_asked(batch.commands)) for batch in history.batches]
    last = history.batches[-1]
    end = Batch(last.decided_time + timedelta(days=400), last.wall_time + timedelta(days=400), sweep)

    answers = _run(unswept, without_wakes)
    _run(unswept, [end])
    answers_swept: list[tuple[Answer, bool]] = []
    for batch, following in pairwise([*without_wakes, end]):
        answers_swept += _run(swept, [batch])
        for hour in hours:
            clocks = (batch.decided_time + timedelta(hours=hour), batch.wall_time + timedelta(hours=hour))
            if clocks[0] <= following.decided_time and clocks[1] <= following.wall_time:
                swept.tell(sweep, *clocks)
    _run(swept, [end])

    assert answers_swept == answers
    assert swept.view().members == unswept.view().members
    assert swept.view().nets == unswept.view().nets


# --- what is compared ---


def _seen(batch: Batch, answers: Sequence[tuple[Answer, bool]]) -> Iterator[str]:
    """What commands and answers a batch had."""
    for command, (answer, given_before) in zip(batch.commands, answers, strict=True):
        yield str(answer.get("reason", answer["verdict"]))
        yield f"{command.kind} {answer['verdict']}"
        yield from (f"{answer['reason']}: {figure}" for figure in answer if figure.startswith("limit_"))
        if given_before:
            yield "given before"


def _seen_in_entries(entry_ids: Sequence[str], rows: Rows) -> Iterator[str]:
    """What kinds of entries there were, and of legs in them."""
    for entry_id in entry_ids:
        entry, kind = rows.journal[entry_id], posting_of_core(entry_id, rows).kind
        yield kind
        yield from (f"{kind}: {leg.from_account} to {leg.to_account}" for leg in entry.legs)
        if kind == "burn" and len(entry.legs) > FIRST_LOTS:
            yield "burn of more lots than are given first"
        if any(line.payer_id == OPERATOR for line in entry.lines):
            yield "operator pays"


def _core(history: History, *, load_all: bool = False) -> PlayingCore:
    return PlayingCore(history.coalition, history.pay_codes, load_all=load_all)


def _run(core: PlayingCore, batches: Sequence[Batch]) -> list[tuple[Answer, bool]]:
    return [
        answer
        for batch in batches
        for answer in core.tell(batch.commands, batch.decided_time, batch.wall_time)
    ]


def _cut(batch: Batch, place: int) -> list[Batch]:
    place %= len(batch.commands) + 1
    return [replace(batch, commands=part) for part in (batch.commands[:place], batch.commands[place:])]


def _singles(batch: Batch) -> list[Batch]:
    return [replace(batch, commands=(command,)) for command in batch.commands]


def _asked(commands: Sequence[Command]) -> tuple[Asked, ...]:
    return tuple(command for command in commands if not isinstance(command, Wake))


def _everything(core: PlayingCore) -> tuple[Any, ...]:
    """Every row; entries by name, because the ids of entries contain the batch's."""
    rows = core.rows
    holds = {
        key: (hold.kind, hold.points, hold.rate_version, hold.authorised_time, hold.deadline)
        for key, hold in rows.holds.items()
    }
    promises = {
        key: (promise.points, promise.due_date, promise.expiry_date)
        for key, promise in rows.pending_earns.items()
    }
    return (
        core.view(),
        {
            key: replace(wallet, lots={}, deficits=[], woken=False, changed=False, merged_by=None)
            for key, wallet in rows.wallets.items()
        },
        [
            {key: fresh(lot) for key, lot in rows.lots.items()},
            {key: fresh(it) for key, it in rows.deficits.items()},
        ],
        [{key: fresh(link) for key, link in rows.links.items()}, holds, promises],
        {key: fresh(till) for key, till in rows.terminals.items()},
        {key: code.used for key, code in rows.pay_codes.items()},
        [move[:2] + move[4:6] for move in rows.lot_moves],
        (rows.marks, rows.quotes, rows.requests),
        {key: name_of(entry_id, rows) for key, entry_id in rows.references.items()},
        [posting_of_core(entry_id, rows) for entry_id in rows.journal],
    )
