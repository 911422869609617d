"""The checks of a certificate. All of them hold, or nothing is signed (docs/settlement.md, Certificate).

`CHECKS` is the table of contents. Each check states the figures it compared, so that a person can follow it
without this program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from settlement.core.amounts import micros_per_minor
from settlement.core.chain import HashedJournal, sums_differ
from settlement.core.parties import POOL
from settlement.core.points import IssuerPoints, points_into, points_out_of
from settlement.core.rounding import ESCROW, rounding_bounds
from settlement.core.window import ClosedWindow, Computed, Ledger, WindowSums, compute

Figure = int | str


@dataclass(frozen=True, slots=True)
class Check:
    """One check: whether it holds, what it claims, and the figures it compared."""

    name: str
    holds: bool
    claim: str
    figures: tuple[tuple[str, Figure], ...]


@dataclass(frozen=True, slots=True)
class Previous:
    """The window before: its watermark and the SHA-256 of its certificate, empty where it has none."""

    window: ClosedWindow
    certificate_sha256: str


@dataclass(frozen=True, slots=True)
class Case:
    """Everything the checks of one window look at.

    Attributes:
        window: the watermark, as the hub signed it.
        seen_window: the same window as the hub's view shows it now; absent where it shows none.
        receipt_fault: why the hub's receipt does not prove `window`; empty where it does.
        previous: the window before; absent for the first.
        hub_windows_before, certified_before: closed windows the hub shows before this one, and how many of
            them settlement has certified.
        journal: what hashing the window's rows again gave.
        sums: what the window posted.
        before: what stood before the window.
        stored: the result settlement has kept for this window.
    """

    ledger: Ledger
    window: ClosedWindow
    seen_window: ClosedWindow | None
    receipt_fault: str
    previous: Previous | None
    hub_windows_before: int
    certified_before: int
    journal: HashedJournal
    sums: WindowSums
    before: Computed
    stored: Computed


def run_checks(case: Case) -> tuple[Check, ...]:
    """All checks, in the order of `CHECKS`."""
    return tuple(check(case) for check in CHECKS)


def failed(checks: Iterable[Check]) -> tuple[Check, ...]:
    """The checks that do not hold."""
    return tuple(check for check in checks if not check.holds)


def fault_text(check: Check) -> str:
    """A check's name, and where it says so what is wrong: `journal_hashed (batch 7 is missing)`."""
    fault = dict(check.figures).get("fault", "none")
    return check.name if fault == "none" else f"{check.name} ({fault})"


def _hub_receipt(case: Case) -> Check:
    return Check(
        "hub_receipt",
        not case.receipt_fault and case.seen_window == case.window,
        "the hub signed this watermark and still shows the same one",
        (
            ("last_sequence", case.window.last_sequence),
            ("shown_last_sequence", case.seen_window.last_sequence if case.seen_window else "none"),
            ("fault", case.receipt_fault or "none"),
        ),
    )


def _windows_in_order(case: Case) -> Check:
    linked = case.previous is None or bool(case.previous.certificate_sha256)
    return Check(
        "windows_in_order",
        linked and case.certified_before == case.hub_windows_before,
        "every window before this one is certified",
        (("windows_before", case.hub_windows_before), ("certified_before", case.certified_before)),
    )


def _entry_count(case: Case) -> Check:
    posted = sum(entry.entry_count for entry in case.sums.entries)
    return Check(
        "entry_count",
        posted == case.window.entry_count,
        "as many entries were read as the hub signed for",
        (("entries_read", posted), ("entries_signed", case.window.entry_count)),
    )


def _chain_range(case: Case) -> Check:
    window, expected_first = case.window, case.previous.window.last_sequence + 1 if case.previous else 1
    first = min((entry.first_sequence for entry in case.sums.entries), default=window.first_sequence)
    last = max((entry.last_sequence for entry in case.sums.entries), default=window.last_sequence)
    inside = window.first_sequence <= first and last <= window.last_sequence
    return Check(
        "chain_range",
        inside and window.first_sequence == expected_first and window.last_sequence >= expected_first - 1,
        "the entries lie in the signed range, which begins where the window before ended",
        (
            ("expected_first_sequence", expected_first),
            ("first_sequence", window.first_sequence),
            ("last_sequence", window.last_sequence),
            ("first_sequence_read", first),
            ("last_sequence_read", last),
        ),
    )


def _journal_hashed(case: Case) -> Check:
    journal = case.journal
    fault = journal.fault or sums_differ(journal, case.sums)
    entries, legs, lines = journal.row_counts
    return Check(
        "journal_hashed",
        not fault,
        "every entry, leg and line hashes to the chain that the hub signed, and they are what was settled",
        (
            ("batches", journal.batch_count),
            ("entries", entries),
            ("legs", legs),
            ("lines", lines),
            ("bad_batch", journal.bad_batch or "none"),
            ("fault", fault or "none"),
            ("last_hash", journal.last_hash.hex()),
        ),
    )


def _recomputed(case: Case) -> Check:
    again = compute(case.before, case.sums, micros_per_minor(case.ledger.minor_unit_digits))
    return Check(
        "recomputed",
        again == case.stored,
        "computing the window again gives every stored statement line and every issuer's points",
        (("lines_stored", len(case.stored.lines)), ("lines_recomputed", len(again.lines))),
    )


def _points_conserved(case: Case) -> Check:
    issuers = case.stored.issuers
    return Check(
        "points_conserved",
        all(issuer.conserved for issuer in issuers),
        "to date, for every issuer, points in = points out + open + held, none below zero",
        (
            ("points_in", sum(issuer.points_in for issuer in issuers)),
            ("points_out", sum(issuer.points_out for issuer in issuers)),
            ("points_open_and_held", sum(issuer.points_standing for issuer in issuers)),
            ("issuers_not_conserved", _names(issuer for issuer in issuers if not issuer.conserved)),
        ),
    )


_STATED: Final = (
    ("issued", ("earn", "confirm_earn", "exchange_in", "adjust_earn")),
    ("burned", ("burn", "capture_burn", "confirm_exchange_out", "adjust_burn")),
    ("refunded", ("refund_burn", "adjust_refund_burn")),
)
"""Kinds of entries that state what their legs issue, burn, and take back out of what was burned."""


def _points_stated(case: Case) -> Check:
    points = {entry.kind: entry.points for entry in case.sums.entries}
    legs = case.sums.legs
    by_legs = {
        "issued": points_out_of(legs, "issued"),
        "burned": points_into(legs, "burned"),
        "refunded": points_out_of(legs, "burned"),
    }
    stated = {name: sum(points.get(kind, 0) for kind in kinds) for name, kinds in _STATED}
    return Check(
        "points_stated",
        stated == by_legs,
        "the points the window's earns, burns and refunds state are the points its legs issued, burned and refunded",
        tuple(
            figure
            for name in by_legs
            for figure in ((f"{name}_stated", stated[name]), (f"{name}_by_legs", by_legs[name]))
        ),
    )


def _nets_zero(case: Case) -> Check:
    lines = case.stored.lines
    sums = (
        ("exact_micros", sum(line.exact_micros for line in lines)),
        ("exact_to_date_micros", sum(line.exact_to_date_micros for line in lines)),
        ("net_minor", sum(line.amount_minor for line in lines)),
        ("net_to_date_minor", sum(line.amount_to_date_minor for line in lines)),
    )
    return Check(
        "nets_zero", not any(total for _, total in sums), "the net positions of all parties sum to 0", sums
    )


def _escrow_proof(case: Case) -> Check:
    pool = sum(line.exact_to_date_micros for line in case.stored.lines if line.pair == (POOL, ESCROW))
    needed = sum(issuer.escrow_micros for issuer in case.stored.issuers)
    return Check(
        "escrow_proof",
        pool == needed,
        "to date, the pool's exact balance from money lines is the sum of (open + held) x P from points legs",
        (("pool_balance_micros", pool), ("escrow_needed_micros", needed)),
    )


def _rounding_to_date(case: Case) -> Check:
    bounds = rounding_bounds(case.stored.lines)
    return Check(
        "rounding_to_date",
        bounds.holds_to_date,
        "to date, rounding is at most half a minor unit for each pair of party and component",
        (("rounding_minor", bounds.to_date_minor), ("pairs", bounds.pair_count)),
    )


def _rounding_in_window(case: Case) -> Check:
    bounds = rounding_bounds(case.stored.lines)
    return Check(
        "rounding_in_window",
        bounds.holds_in_window,
        "the window's rounding is at most one minor unit for each of its lines",
        (("rounding_minor", bounds.window_minor), ("lines", bounds.line_count)),
    )


def _names(issuers: Iterable[IssuerPoints]) -> str:
    return " ".join(issuer.issuer_id for issuer in issuers) or "none"


CHECKS: Final[tuple[Callable[[Case], Check], ...]] = (
    _hub_receipt,
    _windows_in_order,
    _entry_count,
    _chain_range,
    _journal_hashed,
    _recomputed,
    _points_conserved,
    _points_stated,
    _nets_zero,
    _escrow_proof,
    _rounding_to_date,
    _rounding_in_window,
)
