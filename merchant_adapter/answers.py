"""What a hub answers, as plain values.

Points are whole; money is in micros, millionths of the settlement currency's major unit. All times are aware
and in UTC; all days are of the coalition's time zone.
"""

from dataclasses import dataclass, field
from datetime import date, datetime

from merchant_adapter.commands import Consent
from merchant_adapter.receipts import Receipt


@dataclass(frozen=True, slots=True)
class Earned:
    """An accepted earn. `receipt` is set where this was the whole answer; a batch has one for all of it."""

    request_id: str
    entry_id: str
    points: int
    available_points: int
    rate_version: int
    expiry_date: date | None
    decided_time: datetime
    receipt: Receipt | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Burned:
    """An accepted burn.

    `value_micros` is what the points are worth at the caller's checkout, `reimbursement_micros` what the
    caller will be paid for them.
    """

    request_id: str
    entry_id: str
    points: int
    available_points: int
    rate_version: int
    value_micros: int
    reimbursement_micros: int
    decided_time: datetime
    receipt: Receipt | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The member that a customer id belongs to. `member_id` is the same for every partner."""

    request_id: str
    member_id: str
    receipt: Receipt | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Linked:
    """A link that stands."""

    request_id: str
    member_id: str
    receipt: Receipt | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class ConsentSet:
    """The limits now in force."""

    request_id: str
    consent: Consent
    receipt: Receipt | None = field(default=None, repr=False, compare=False)


Accepted = Earned | Burned | Enrolled | Linked | ConsentSet
"""Every acceptance of a write of a partner."""


@dataclass(frozen=True, slots=True)
class WalletLot:
    """Points of one issuer at one price with one last usable day; None where they never expire."""

    lot_sequence: int
    issuer_id: str
    rate_version: int
    expiry_date: date | None
    open_points: int
    held_points: int


@dataclass(frozen=True, slots=True)
class Wallet:
    """A member's account; `lots` are those with open or held points, in the order they are spent."""

    member_id: str
    available_points: int
    pending_points: int
    held_points: int
    deficit_points: int
    lots: tuple[WalletLot, ...]
    read_time: datetime


@dataclass(frozen=True, slots=True)
class Leg:
    """Points of one lot that moved from one account to another."""

    lot_sequence: int
    issuer_id: str
    rate_version: int
    from_account: str
    to_account: str
    points: int


@dataclass(frozen=True, slots=True)
class Line:
    """Money that one party owes another; parties are partner ids, `POOL` and `OPERATOR`."""

    payer_id: str
    payer_component: str
    payee_id: str
    payee_component: str
    micros: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted decision in the journal. A partner is shown the lines it pays or receives."""

    entry_id: str
    batch_sequence: int
    entry_index: int
    kind: str
    partner_id: str
    request_id: str
    member_id: str
    event_time: datetime
    decided_time: datetime
    window_date: date
    store_id: str
    terminal_id: str
    reference: str
    reason: str
    campaign_id: str
    channel: str
    points: int
    rate_version: int
    legs: tuple[Leg, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Entries, newest first; `next_page_token` is empty on the last page."""

    entries: tuple[Entry, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """What every client needs to know of a ledger.

    `minor_unit_digits` is 2 where 100 fen are 1 yuan; `clock` is `system` or `manual`; windows end
    `cut_off_seconds` after local midnight; an event older than `late_limit_seconds` is refused.
    """

    audience: str
    currency_code: str
    minor_unit_digits: int
    time_zone: str
    cut_off_seconds: int
    late_limit_seconds: int
    clock: str
    ledger_time: datetime
