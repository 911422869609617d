"""A window as settlement sees it: the hub's watermark, sums of what was posted, what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from settlement.core.contracts import Contract, bilateral_pairs
from settlement.core.netting import Flow, movements
from settlement.core.points import EntrySum, IssuerPoints, LegSum, roll_forward
from settlement.core.rounding import StatementLine, settle_lines


@dataclass(frozen=True, slots=True)
class Ledger:
    """What every window of one ledger shares.

    Attributes:
        audience: the hub's name.
        currency_code: ISO 4217.
        minor_unit_digits: 2 where 100 fen are 1 yuan.
        time_zone: IANA name of the coalition's zone.
        cut_off_seconds: after local midnight, where a window's day ends.
    """

    audience: str
    currency_code: str
    minor_unit_digits: int
    time_zone: str
    cut_off_seconds: int


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """A business day as the range of the hash chain that the hub fixed for it.

    Attributes:
        first_sequence: the first batch; one more than `last_sequence` where the window is empty.
        last_sequence: the last batch, the watermark.
        last_hash: the chain's 32 bytes after it.
        entry_count: entries in the range.
        close_time: UTC, on the ledger clock.
    """

    window_date: date
    first_sequence: int
    last_sequence: int
    last_hash: bytes
    entry_count: int
    close_time: datetime


@dataclass(frozen=True, slots=True)
class SettledWindow:
    """A window whose payments are final, as the hub recorded it.

    Attributes:
        certificate_sha256: hex, of the certificate whose payments they are.
        settled_time: UTC, on the ledger clock.
    """

    window_date: date
    certificate_sha256: str
    settled_time: datetime


@dataclass(frozen=True, slots=True)
class HubReceipt:
    """A signed call to the hub and its signed answer, byte for byte: evidence that needs nobody's memory.

    Attributes:
        path: the gRPC method, `/package.Service/Method`.
        request, response: the message bytes.
        request_metadata, receipt_metadata: the signed entries, as `docs/protocol.md` lists them.
    """

    path: str
    request: bytes
    request_metadata: tuple[tuple[str, str], ...]
    response: bytes
    receipt_metadata: tuple[tuple[str, str], ...]


class ReceiptInvalid(Exception):
    """A receipt does not prove what it should; `str()` says which check failed."""


@dataclass(frozen=True, slots=True)
class WindowSums:
    """Everything posted in a window, as sums."""

    flows: tuple[Flow, ...]
    legs: tuple[LegSum, ...]
    entries: tuple[EntrySum, ...]


@dataclass(frozen=True, slots=True)
class Computed:
    """What stands after a window: every statement line and every issuer's points, with their sums to date."""

    lines: tuple[StatementLine, ...]
    issuers: tuple[IssuerPoints, ...]


NOTHING_YET = Computed((), ())
"""What stands before the first window."""


def compute(
    before: Computed, sums: WindowSums, unit_micros: int, contracts: tuple[Contract, ...] = ()
) -> Computed:
    """What stands after a window, from what stood before it, its sums, and the contracts in force.

    The same for any order of sums and contracts.
    """
    moved = movements(sums.flows, bilateral_pairs(contracts))
    return Computed(
        lines=settle_lines(before.lines, moved, unit_micros),
        issuers=roll_forward(before.issuers, sums.legs),
    )
