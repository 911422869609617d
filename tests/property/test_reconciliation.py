"""Any journal against any damage done to a faithful file of it: all of it is found by its name, none is invented."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement.core.break_types import NOTHING, BreakType, Controls
from settlement.core.findings import Carried, Posted, Surroundings
from settlement.core.kinds import BURNED, EARNED
from settlement.core.matching import Entry, Key, Line, Rules
from settlement.core.reconcile import classify
from tests.property.profiles import tries

DAY = date(2026, 1, 2)
BEGIN = datetime(2026, 1, 2, tzinfo=UTC)
NOON = BEGIN + timedelta(hours=12)
FEN = 10_000
RULES = Rules()
KINDS = ("earn", "burn", "refund_burn", "claw_back_earn", "capture_burn", "exchange_in")
AROUND = Surroundings(DAY, BEGIN, BEGIN + timedelta(days=1))

entries = st.builds(
    lambda kind, points, hour: (kind, points, hour),
    st.sampled_from(KINDS),
    st.integers(100, 100_000),
    st.integers(1, 22),
)
DAMAGES = (
    *("none", "none", "none", "omitted", "doubled", "doubled_anew", "points", "version", "fee", "rounding"),
    *("voided", "member", "store", "unit_more", "unit_less", "money", "unknown", "late", "orphan"),
)


def entry_of(number: int, kind: str, points: int, hour: int) -> Entry:
    owes = EARNED.get(kind, 0) > 0 or BURNED.get(kind, 0) < 0
    money = points * 10_000
    fee = points * 200 if EARNED.get(kind, 0) > 0 else 0
    return Entry(
        batch_sequence=number,
        entry_index=0,
        entry_id=f"{number}-0",
        request_id=f"r-{number}",
        kind=kind,
        reference=f"order-{number}",
        part=0,
        event_time=BEGIN + timedelta(hours=hour),
        member_id="m-000000000007",
        store_id="s-1",
        terminal_id="t-1",
        points=points,
        claimed_micros=0 if owes else money,
        owed_micros=money + fee if owes else 0,
        fee_micros=fee,
        rate_version=1,
    )


def line_of(entry: Entry, line_number: int = 0, **changed: Any) -> Line:
    line = Line(
        line_number,
        *(entry.request_id, entry.kind, entry.reference, entry.part, entry.event_time, entry.member_id),
        *(entry.store_id, entry.terminal_id, entry.points, entry.claimed_micros, entry.owed_micros),
        *(entry.rate_version, ""),
    )
    return replace(line, **changed)


def damaged(  # noqa: C901, PLR0912 - a case for each damage
    entry: Entry, damage: str
) -> tuple[list[Line], list[BreakType]]:
    """The lines a damaged file has of an entry, and what has to be found."""
    money = {"claimed_micros": entry.claimed_micros, "owed_micros": entry.owed_micros}
    owed = entry.owed_micros
    match damage:
        case "omitted":
            return [], [BreakType.MISSING_AT_PARTNER]
        case "doubled":
            return [line_of(entry), line_of(entry)], [BreakType.DUPLICATE]
        case "doubled_anew":
            return [line_of(entry), line_of(entry, request_id="again-" + entry.request_id)], [
                BreakType.DUPLICATE
            ]
        case "points":
            return [line_of(entry, points=entry.points + 1)], [BreakType.AMOUNT_MISMATCH]
        case "version":
            return [line_of(entry, rate_version=2, owed_micros=owed + 777)], [BreakType.RATE_VERSION_MISMATCH]
        case "fee" if entry.fee_micros > FEN:
            return [line_of(entry, owed_micros=owed - entry.fee_micros)], [BreakType.FEE_VARIANCE]
        case "rounding":
            return [line_of(entry, owed_micros=owed + FEN)], [BreakType.ROUNDING]
        case "voided":
            return [line_of(entry, state="voided")], [BreakType.STATE_MISMATCH]
        case "member":
            return [line_of(entry, member_id="m-000000000008")], [BreakType.WRONG_MEMBER]
        case "store":
            return [line_of(entry, store_id="s-2")], [BreakType.WRONG_STORE]
        case "unit_more":
            more = {name: 100 * micros for name, micros in money.items()}
            return [line_of(entry, **more)], [BreakType.AMOUNT_MISMATCH]
        case "unit_less":
            less = {name: micros // 100 for name, micros in money.items()}
            return [line_of(entry, **less)], [BreakType.AMOUNT_MISMATCH]
        case "money":
            beyond = entry.owed_micros + 2 * entry.fee_micros + FEN + 1
            return [line_of(entry, owed_micros=beyond)], [BreakType.AMOUNT_MISMATCH]
        case "unknown":
            unknown = line_of(
                entry, request_id="x-" + entry.request_id, reference="x-" + entry.reference, kind="earn"
            )
            return [line_of(entry), unknown], [BreakType.MISSING_AT_HUB]
        case "late":
            late: dict[str, Any] = {
                "request_id": "l-" + entry.request_id,
                "reference": "l-" + entry.reference,
            }
            moment = BEGIN + timedelta(hours=23, minutes=50)
            return [line_of(entry), line_of(entry, event_time=moment, **late)], [BreakType.TIMING]
        case "orphan":
            orphan: dict[str, Any] = {
                "request_id": "o-" + entry.request_id,
                "reference": "o-" + entry.reference,
            }
            return [line_of(entry), line_of(entry, kind="refund_burn", **orphan)], [BreakType.REFUND_UNLINKED]
        case _:
            return [line_of(entry)], []


@dataclass(frozen=True, slots=True)
class Case:
    entries: list[Entry]
    lines: list[Line]
    planted: Counter[BreakType]


def case_of(drawn: list[tuple[tuple[str, int, int], str]], random: Random) -> Case:
    journal = [entry_of(number, *entry) for number, (entry, _) in enumerate(drawn)]
    lines: list[Line] = []
    planted: Counter[BreakType] = Counter()
    for entry, (_, damage) in zip(journal, drawn, strict=True):
        its_lines, types = damaged(entry, damage)
        lines += its_lines
        planted.update(types)
    random.shuffle(lines)
    return Case(journal, [replace(line, line_number=n) for n, line in enumerate(lines, 2)], planted)


drawn_cases = st.builds(
    case_of,
    st.lists(st.tuples(entries, st.sampled_from(DAMAGES)), max_size=30),
    st.randoms(use_true_random=False),
)


def total(sides: list[Line] | list[Entry]) -> Controls:
    return sum((side.controls for side in sides), start=NOTHING)


@tries(120)
@given(drawn_cases)
def test_every_damage_is_found_by_its_name_none_is_invented_and_all_is_explained(case: Case) -> None:
    found = classify(case.lines, case.entries, AROUND, RULES)

    assert Counter(one.type for one in found.found) == case.planted
    assert found.controls == total(case.lines) - total(case.entries)
    assert len({one.key for one in found.found}) == len(found.found)


@tries(40)
@given(drawn_cases, st.randoms(use_true_random=False))
def test_the_order_of_the_file_changes_no_type_and_no_control(case: Case, random: Random) -> None:
    shuffled = list(case.lines)
    random.shuffle(shuffled)

    found = classify(case.lines, case.entries, AROUND, RULES)
    again = classify(shuffled, case.entries, AROUND, RULES)

    assert again.controls == found.controls
    assert Counter(one.type for one in again.found) == Counter(one.type for one in found.found)


@tries(40)
@given(drawn_cases)
def test_what_one_window_has_alone_the_next_one_clears_exactly(case: Case) -> None:
    """The file comes with one window and the journal with the next: all pairs meet a window late."""
    first = classify(case.lines, [], AROUND, RULES)
    waiting = tuple(
        Carried(number, DAY, one.line, one.entry, one.controls)
        for number, one in enumerate(first.found)
        if one.type is not BreakType.DUPLICATE
    )
    later = Surroundings(
        DAY + timedelta(days=1), BEGIN + timedelta(days=1), BEGIN + timedelta(days=2), carried=waiting
    )

    second = classify([], case.entries, later, RULES)

    assert first.controls == total(case.lines)
    assert second.controls == NOTHING - total(case.entries)
    for cleared in second.cleared:
        assert (
            cleared.controls
            == NOTHING - waiting[[it.break_id for it in waiting].index(cleared.break_id)].controls
        )


@pytest.mark.parametrize(("reconciled", "expected"), [(False, BreakType.TIMING), (True, BreakType.DUPLICATE)])
def test_a_line_the_hub_posted_earlier_is_double_only_where_that_day_was_reconciled(
    reconciled: bool, expected: BreakType
) -> None:
    line = line_of(entry_of(1, "earn", 500, 12), 2)
    posted: dict[str | Key, Posted] = {line.request_id: Posted(DAY - timedelta(days=1), "9-0", reconciled)}

    found = classify([line], [], replace(AROUND, elsewhere=posted), RULES)

    assert [one.type for one in found.found] == [expected]


def test_a_capture_at_the_partner_that_the_hub_voided_is_a_state_mismatch() -> None:
    captured = line_of(replace(entry_of(1, "capture_burn", 500, 12), request_id="c"), 2)
    voided = replace(entry_of(1, "void_burn", 500, 12), request_id="v", claimed_micros=0)

    found = classify([captured], [voided], AROUND, RULES)

    assert [one.type for one in found.found] == [BreakType.STATE_MISMATCH]
    assert found.controls == captured.controls


def test_holds_that_the_file_leaves_out_are_no_breaks() -> None:
    held = replace(entry_of(1, "authorize_burn", 500, 12), claimed_micros=0, owed_micros=0)

    assert classify([], [held], AROUND, RULES).found == ()


def test_rules_leave_out_what_a_partner_cannot_state() -> None:
    entry = entry_of(1, "earn", 500, 12)
    line = line_of(entry, 2, member_id="m-000000000008", store_id="s-9", rate_version=7, state="voided")

    found = classify([line], [entry], AROUND, replace(RULES, compared=()))

    assert found.found == ()
    assert found.matched_count == 1
