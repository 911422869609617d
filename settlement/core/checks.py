"""The checks of a certificate. All of them hold, or nothing is signed (docs/settlement.md, Certificate).

`CHECKS` is the table of contents. Each check states the figures it compared, so that a person can follow it
without this program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from settlement.core.amounts import micros_per_minor
from settlement.core.contracts import Contract, bilateral_pairs
from settlement.core.netting import Pair, bilateral_counterparty, bilateral_line
from settlement.core.parties import POOL
from settlement.core.points import IssuerPoints
from settlement.core.reconciled import NO_RECORDS, Records, record_faults
from settlement.core.rounding import ESCROW, StatementLine, rounding_bounds
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
        sums: what the window posted.
        before: what stood before the window.
        stored: the result settlement has kept for this window.
        contracts: those in force on the day.
        records: what partners' own records say of it.
    """

    ledger: Ledger
    window: ClosedWindow
    seen_window: ClosedWindow | None
    receipt_fault: str
    previous: Previous | None
    hub_windows_before: int
    certified_before: int
    sums: WindowSums
    before: Computed
    stored: Computed
    contracts: tuple[Contract, ...] = ()
    records: Records = NO_RECORDS


def run_checks(case: Case) -> tuple[Check, ...]:
    """All checks, in the order of `CHECKS`."""
    return tuple(check(case) for check in CHECKS)


def failed(checks: Iterable[Check]) -> tuple[Check, ...]:
    """The checks that do not hold."""
    return tuple(check for check in checks if not check.holds)


def fault_text(check: Check) -> str:
    """A check's name, and where it says so what is wrong: `hub_receipt (bad signature)`."""
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
        "the batches that were read have as many entries as the hub signed for",
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


def _recomputed(case: Case) -> Check:
    again = compute(case.before, case.sums, micros_per_minor(case.ledger.minor_unit_digits), case.contracts)
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


def _bilateral_opposite(case: Case) -> Check:
    """The operator bears no rounding of a pair, and nothing of a pair moves without its contract."""
    lines = {line.pair: line for line in case.stored.lines if bilateral_counterparty(line.component)}
    allowed = {
        pair
        for one, other in bilateral_pairs(case.contracts)
        for pair in (bilateral_line(one, other), bilateral_line(other, one))
    }
    wrong = [
        line
        for line in lines.values()
        if not _is_opposite(line, lines.get(_other_side(line))) or (line.moved and line.pair not in allowed)
    ]
    return Check(
        "bilateral_opposite",
        not wrong,
        "what one partner settles with another under a contract, the other settles with it, to the minor unit",
        (
            ("bilateral_contracts", len(allowed) // 2),
            ("lines", len(lines)),
            ("wrong", " ".join(f"{line.party_id} {line.component}" for line in wrong) or "none"),
        ),
    )


def _other_side(line: StatementLine) -> Pair:
    return bilateral_line(bilateral_counterparty(line.component), line.party_id)


def _is_opposite(line: StatementLine, other: StatementLine | None) -> bool:
    figures = ("exact_micros", "amount_minor", "exact_to_date_micros", "amount_to_date_minor")
    return other is not None and all(getattr(line, name) == -getattr(other, name) for name in figures)


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


def _reconciled(case: Case) -> Check:
    records = case.records
    faults = record_faults(records)
    return Check(
        "reconciled",
        not faults,
        "every partner's own record that is there, or expected, differs by explained breaks only, or was waived",
        (
            ("files_expected", len(records.expected)),
            ("files_reconciled", len(records.reconciled)),
            ("files_waived", len(records.waivers)),
            ("fault", "; ".join(faults) or "none"),
        ),
    )


def _names(issuers: Iterable[IssuerPoints]) -> str:
    return " ".join(issuer.issuer_id for issuer in issuers) or "none"


CHECKS: Final[tuple[Callable[[Case], Check], ...]] = (
    _hub_receipt,
    _windows_in_order,
    _entry_count,
    _chain_range,
    _recomputed,
    _points_conserved,
    _nets_zero,
    _bilateral_opposite,
    _escrow_proof,
    _rounding_to_date,
    _rounding_in_window,
    _reconciled,
)
