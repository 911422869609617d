"""What settlement tells a partner: statements, files, reconciliations, breaks and disputes.

Money is in micros, or where a name ends in `_minor` in minor units; received is positive, paid negative. Times are
in UTC.
"""

from dataclasses import dataclass, field
from datetime import date, datetime

from merchant_adapter.partner_file import FileFormat
from merchant_adapter.receipts import Receipt


@dataclass(frozen=True, slots=True)
class SettledDay:
    """A business day and how far its settlement has come, such as `CERTIFIED`."""

    window_date: date
    state: str
    payable_minor: int


@dataclass(frozen=True, slots=True)
class SettledDayPage:
    """A page of days, newest first; `next_page_token` is empty on the last one."""

    days: tuple[SettledDay, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One component of a statement: its exact amount, and what is settled of it, on the day and to date.

    `line_count` is how many money lines of the day are behind it.
    """

    component: str
    exact_micros: int
    amount_minor: int
    line_count: int
    exact_to_date_micros: int
    amount_to_date_minor: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A partner's statement of one day; opening + net = closing, and settlement's receipt proves it.

    `certificate_sha256` (hex) names the certificate it stands in; empty as long as the day is not certified.
    """

    window_date: date
    partner_id: str
    opening_minor: int
    lines: tuple[StatementLine, ...]
    net_minor: int
    closing_minor: int
    exact_micros: int
    certificate_sha256: str
    receipt: Receipt | None = field(repr=False, compare=False, default=None)


@dataclass(frozen=True, slots=True)
class Certificate:
    """The signed certificate of one day, which states every party's figures: a document to keep byte for byte."""

    window_date: date
    document: bytes


@dataclass(frozen=True, slots=True)
class StatementEntry:
    """What one entry adds to a statement line.

    Of an entry that another partner posted `request_id`, `reference`, `store_id`, `terminal_id` and `member_id` are
    empty. `batch_sequence` and `entry_index` are its place in the ledger's order.
    """

    entry_id: str
    batch_sequence: int
    entry_index: int
    kind: str
    request_id: str
    reference: str
    store_id: str
    terminal_id: str
    member_id: str
    event_time: datetime
    points: int
    rate_version: int
    amount_micros: int


@dataclass(frozen=True, slots=True)
class StatementEntryPage:
    """A page of entries in the ledger's order; `next_page_token` is empty on the last one."""

    entries: tuple[StatementEntry, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class PartnerFile:
    """A partner's file as settlement keeps it. `sha256` is hex; `state` `ACCEPTED` or `SUPERSEDED`."""

    file_id: int
    partner_id: str
    business_date: date
    format: FileFormat
    sha256: str
    line_count: int
    earned_points: int
    burned_points: int
    claimed_micros: int
    owed_micros: int
    receive_time: datetime
    state: str


@dataclass(frozen=True, slots=True)
class FileAccepted:
    """Settlement took a file in; its receipt proves it."""

    request_id: str
    file: PartnerFile
    receipt: Receipt | None = field(repr=False, compare=False, default=None)


@dataclass(frozen=True, slots=True)
class Control:
    """A total that is controlled: `difference` = `partner` - `hub` = `classified` + `unexplained`.

    `total` is `EARNED_POINTS`, `BURNED_POINTS`, `CLAIMED_MICROS` or `OWED_MICROS`.
    """

    total: str
    partner: int
    hub: int
    difference: int
    classified: int
    unexplained: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """How a partner's file compares with the hub's journal, by the newest run."""

    window_date: date
    partner_id: str
    file: PartnerFile
    run_time: datetime
    controls: tuple[Control, ...]
    unresolved_count: int


@dataclass(frozen=True, slots=True)
class RecordedDeal:
    """A deal as one side recorded it; what this side does not have is empty, 0 or None."""

    request_id: str
    kind: str
    reference: str
    part: int
    event_time: datetime | None
    member_id: str
    store_id: str
    terminal_id: str
    points: int
    claimed_micros: int
    owed_micros: int
    rate_version: int
    state: str
    entry_id: str
    line_number: int


@dataclass(frozen=True, slots=True)
class Break:
    """A difference between a partner's record and the hub's.

    Attributes:
        type: such as `MISSING_AT_HUB`; `docs/settlement.md` has all of them.
        state: `OPEN`, `ASSIGNED`, `PENDING_RESOLUTION` or `RESOLVED`.
        resolution: such as `ADJUSTED`; empty as long as it is not resolved.
        severity: `CRITICAL`, `HIGH`, `MEDIUM` or `LOW`.
        hub, partner: the two sides; None where a side has nothing.
    """

    break_id: int
    partner_id: str
    window_date: date
    type: str
    state: str
    resolution: str
    severity: str
    opened_date: date
    due_time: datetime
    points_at_stake: int
    amount_at_stake_micros: int
    hub: RecordedDeal | None
    partner: RecordedDeal | None


@dataclass(frozen=True, slots=True)
class BreakPage:
    """A page of breaks, oldest first; `next_page_token` is empty on the last one."""

    breaks: tuple[Break, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file that shows something, at most 1 MiB."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EvidenceName:
    """Which evidence was handed in; `sha256` is hex."""

    name: str
    byte_count: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BreakEvent:
    """Something that was done about a break; `person` is a partner's id or `finance`."""

    event_time: datetime
    person: str
    act: str
    state: str
    text: str
    evidence: tuple[EvidenceName, ...]


@dataclass(frozen=True, slots=True)
class Dispute:
    """A disagreement between two partners over a break.

    Attributes:
        state: `OPEN`, `ANSWERED`, `DECIDED` or `EXPIRED`.
        in_favour_of: the partner in whose favour it ended; empty as long as it has not.
    """

    dispute_id: int
    break_id: int
    opened_by: str
    against: str
    claim: str
    deadline_time: datetime
    state: str
    answer: str
    in_favour_of: str
    decision: str


@dataclass(frozen=True, slots=True)
class DisputePage:
    """A page of disputes, oldest first; `next_page_token` is empty on the last one."""

    disputes: tuple[Dispute, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class BreakHistory:
    """A break with all that was done about it, oldest first."""

    found: Break
    events: tuple[BreakEvent, ...]
    disputes: tuple[Dispute, ...]


@dataclass(frozen=True, slots=True)
class Commented:
    """A comment was added; the break as it stands."""

    request_id: str
    found: Break
    receipt: Receipt | None = field(repr=False, compare=False, default=None)


@dataclass(frozen=True, slots=True)
class Disputed:
    """A dispute was opened or answered."""

    request_id: str
    dispute: Dispute
    receipt: Receipt | None = field(repr=False, compare=False, default=None)
