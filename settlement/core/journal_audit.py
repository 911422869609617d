"""The audit of a window's journal: what hashing its rows again gave, and whether they are what was settled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from settlement.core.chain import HashedJournal, sums_differ
from settlement.core.window import ClosedWindow, WindowSums


@dataclass(frozen=True, slots=True)
class JournalAudit:
    """One attempt.

    Attributes:
        run_number: the run whose sums the rows were held against.
        last_hash: the chain's 32 bytes after the last batch that holds.
        fault: the first thing that is not as the hub signed it or as it was settled; empty where all is.
        bad_batch: the batch the fault is in; 0 where it is in none, or there is none.
        batch_count, entry_count, leg_count, line_count: what was hashed.
    """

    window_date: date
    run_number: int
    last_hash: bytes
    fault: str
    bad_batch: int
    batch_count: int
    entry_count: int
    leg_count: int
    line_count: int

    @property
    def holds(self) -> bool:
        """Whether the rows are those the hub signed for, and those that were settled."""
        return not self.fault

    @property
    def row_count(self) -> int:
        """Rows that were hashed."""
        return self.entry_count + self.leg_count + self.line_count


class JournalDiffers(Exception):
    """A window's rows are not those the hub signed for or settlement added up; `str()` names the first."""


def audit_result(
    window: ClosedWindow, run_number: int, journal: HashedJournal, sums: WindowSums
) -> JournalAudit:
    """What the hashed rows of a window say of its watermark and of the sums of one run."""
    entries, legs, lines = journal.row_counts
    return JournalAudit(
        window_date=window.window_date,
        run_number=run_number,
        last_hash=journal.last_hash,
        fault=journal.fault or sums_differ(journal, sums),
        bad_batch=journal.bad_batch,
        batch_count=journal.batch_count,
        entry_count=entries,
        leg_count=legs,
        line_count=lines,
    )


def audit_content(audit: JournalAudit) -> dict[str, object]:
    """An audit as plain data."""
    return {
        "window_date": audit.window_date.isoformat(),
        "run_number": audit.run_number,
        "holds": audit.holds,
        "fault": audit.fault,
        "bad_batch": audit.bad_batch,
        "batches": audit.batch_count,
        "entries": audit.entry_count,
        "legs": audit.leg_count,
        "lines": audit.line_count,
        "last_hash": audit.last_hash.hex(),
    }
