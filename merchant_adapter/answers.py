"""What a hub answers about members, accounts and the journal, as plain values.

Points are whole; money is in micros, millionths of the settlement currency's major unit. All times are aware
and in UTC; all days are of the coalition's time zone.
"""

from dataclasses import dataclass, field
from datetime import date, datetime

from merchant_adapter.commands import Consent
from merchant_adapter.points_answers import PointsAnswer
from merchant_adapter.receipts import Receipt


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


@dataclass(frozen=True, slots=True)
class ProofStarted:
    """A proof under way: its code can be given until `expire_time`."""

    request_id: str
    proof_id: str
    expire_time: datetime
    receipt: Receipt | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Unlinked:
    """A link that was undone."""

    request_id: str
    member_id: str
    receipt: Receipt | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class PayCode:
    """A pay code of 20 digits, good until `expire_time`. `merchant_adapter.pay_codes` draws `qr_text`."""

    request_id: str
    code: str = field(repr=False)
    qr_text: str = field(repr=False)
    issue_time: datetime
    expire_time: datetime
    receipt: Receipt | None = field(default=None, repr=False, compare=False)


Accepted = PointsAnswer | ProofStarted | Enrolled | Linked | Unlinked | ConsentSet | PayCode
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
class OwedPoints:
    """Points of deficits, owed to one issuer."""

    issuer_id: str
    points: int


@dataclass(frozen=True, slots=True)
class ExpiringPoints:
    """Points with one last usable day."""

    expiry_date: date
    points: int


@dataclass(frozen=True, slots=True)
class Wallet:
    """A member's account.

    Attributes:
        lots: those with open or held points, in the order they are spent.
        state: `active`, `frozen`, `closed` or `merged`.
        survivor_member_id: the member that a merged one lives on in, empty for any other.
        value_micros: what the available points buy at the caller's checkout; None without a card in force.
        deficits: the points owed, by issuer; they add up to `deficit_points`.
        expiry_forecast: the available points that will expire within 90 days, by day.
    """

    member_id: str
    available_points: int
    pending_points: int
    held_points: int
    deficit_points: int
    lots: tuple[WalletLot, ...]
    read_time: datetime
    state: str
    survivor_member_id: str
    value_micros: int | None
    deficits: tuple[OwedPoints, ...]
    expiry_forecast: tuple[ExpiringPoints, ...]


@dataclass(frozen=True, slots=True)
class Leg:
    """Points of one lot that moved from one account to another."""

    lot_sequence: int
    issuer_id: str
    rate_version: int
    from_account: str
    to_account: str
    points: int
    member_id: str = ""


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
    spend_minor: int = 0
    native_points: int = 0
    original_entry_id: str = ""
    explanation: str = ""


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
    card_notice_seconds: int
    claw_back: str
    refund: str
    grace_days: int
    pending_days: int
    member_daily_burns: int
    member_daily_points: int
    terminal_daily_burns: int
    terminal_daily_points: int
    transfer_limit_points: int
    transfer_daily_points: int
