"""What a journal audit compares once rows are hashed: their sums with those that were settled, each kind by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from hashlib import sha256

import pytest

from settlement.core.chain import FIRST_HASH, Batch, HashedJournal, Rehash, Totals
from settlement.core.journal_audit import audit_content, audit_result
from settlement.core.netting import Flow
from settlement.core.parties import POOL
from settlement.core.points import EntrySum, LegSum
from settlement.core.window import ClosedWindow, WindowSums

DAY = date(2026, 1, 1)
SUMS = WindowSums(
    flows=(Flow("a", "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", 150_000, 2),),
    legs=(LegSum("a", "issued", "open", 10_000, 0, 9, 1), LegSum("a", "issued", "open", 20_000, 0, 6, 1)),
    entries=(EntrySum(2, 1, 2),),
)
JOURNAL = HashedJournal(
    fault="",
    bad_batch=0,
    last_hash=bytes(range(32)),
    batch_count=2,
    row_counts=(2, 2, 2),
    points_stated={("earn",): (15, 2)},
    points_moved={("a", "issued", "open"): (15, 2)},
    micros_owed={("a", "ISSUE_FUNDING", POOL, "ISSUE_FUNDING"): (150_000, 2)},
)
WINDOW = ClosedWindow(DAY, 1, 2, JOURNAL.last_hash, 2, datetime(2026, 1, 2, tzinfo=UTC))


def test_rows_that_hash_to_the_signed_chain_and_are_what_was_settled_hold() -> None:
    audit = audit_result(WINDOW, 3, JOURNAL, SUMS)

    assert audit.holds
    assert (audit.run_number, audit.row_count) == (3, 6)
    assert audit_content(audit)["last_hash"] == bytes(range(32)).hex()


OTHERWISE: dict[str, tuple[str, Callable[[WindowSums], WindowSums]]] = {
    "a line": (
        "the money lines that were settled",
        lambda sums: replace(sums, flows=(replace(sums.flows[0], exact_micros=150_001),)),
    ),
    "a line more": (
        "the money lines that were settled",
        lambda sums: replace(sums, flows=(replace(sums.flows[0], line_count=3),)),
    ),
    "a leg": (
        "the points legs that were settled",
        lambda sums: replace(sums, legs=(replace(sums.legs[0], points=8), sums.legs[1])),
    ),
    "an entry": (
        "the entries that were settled",
        lambda sums: replace(sums, entries=(replace(sums.entries[0], entry_count=3),)),
    ),
}


@pytest.mark.parametrize("what", OTHERWISE)
def test_what_was_settled_otherwise_than_it_is_hashed_is_a_fault(what: str) -> None:
    fault, change = OTHERWISE[what]

    audit = audit_result(WINDOW, 1, JOURNAL, change(SUMS))

    assert not audit.holds
    assert audit.fault.startswith(fault)


@pytest.mark.parametrize(
    ("stated", "fault"),
    [
        ({("earn",): (16, 2)}, "the entries state 16 points issued, the legs have 15"),
        ({("earn",): (15, 1), ("burn",): (1, 1)}, "the entries state 1 points burned, the legs have 0"),
        (
            {("earn",): (15, 1), ("refund_burn",): (2, 1)},
            "the entries state 2 points refunded, the legs have 0",
        ),
    ],
)
def test_entries_that_state_other_points_than_their_legs_move_are_a_fault(stated: Totals, fault: str) -> None:
    audit = audit_result(WINDOW, 1, replace(JOURNAL, points_stated=stated), SUMS)

    assert audit.fault == fault


def test_a_fault_of_the_chain_is_told_before_any_of_the_sums() -> None:
    broken = replace(JOURNAL, fault="batch 2 is missing", bad_batch=2)

    audit = audit_result(WINDOW, 1, broken, WindowSums((), (), ()))

    assert (audit.fault, audit.bad_batch) == ("batch 2 is missing", 2)


def test_a_batch_out_of_its_place_is_missing_where_it_belongs() -> None:
    nothing = sha256(b"").digest()
    first = sha256(FIRST_HASH + nothing).digest()
    batches = [
        Batch(1, 7, DAY, 0, nothing, first),
        Batch(3, 8, DAY, 0, nothing, sha256(first + nothing).digest()),
    ]
    rehash = Rehash(WINDOW, FIRST_HASH)

    rehash.begin(batches)
    rehash.end(batches)
    journal = rehash.finish({})

    assert (journal.fault, journal.bad_batch, journal.batch_count) == ("batch 2 is missing", 2, 1)
    assert journal.last_hash == first
