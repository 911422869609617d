"""What a partner asks of a hub, as plain values.

A command's `request_id` is chosen when the value is made. Keep the value: repeating it repeats the same
decision, whatever became of the first try.
"""

from dataclasses import dataclass, field
from datetime import date, datetime

from merchant_adapter.request_ids import new_request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class EarnCommand:
    """Gives a member points that the caller issues and pays for.

    Exactly one of `points` (1 to 1,000,000,000) and `eligible_spend_minor` (minor units such as fen, 1 to
    1,000,000,000,000; points by the caller's rate card, rounded down) is set. `event_time`, with a time
    zone, is when the sale happened: it chooses the rate card. `reference` is the order or receipt number
    and unique among the caller's accepted earns. Texts are 1 to 64 printable characters, `reason` 200;
    `reason`, `campaign_id` and `channel` may be left empty. An `expiry_date` can only shorten the life that
    the rate card gives the points.
    """

    member_id: str
    event_time: datetime
    store_id: str
    terminal_id: str
    reference: str
    points: int | None = None
    eligible_spend_minor: int | None = None
    reason: str = ""
    campaign_id: str = ""
    channel: str = ""
    expiry_date: date | None = None
    request_id: str = field(default_factory=new_request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnCommand:
    """Spends `points` (1 to 1,000,000,000) of a member at the caller, all of them or none.

    The member must have consented to burns at the caller. The other fields are as in `EarnCommand`.
    """

    member_id: str
    event_time: datetime
    store_id: str
    terminal_id: str
    reference: str
    points: int
    reason: str = ""
    campaign_id: str = ""
    channel: str = ""
    request_id: str = field(default_factory=new_request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Points that burns at one partner may take: a single burn, and all burns of one ledger day.

    Both 0 to 1,000,000,000; both 0 withdraw the consent.
    """

    per_burn_limit_points: int
    per_day_limit_points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollMember:
    """Creates a member under the caller's own `customer_id`, or finds the one it is linked to already."""

    customer_id: str
    consent: Consent | None = None
    request_id: str = field(default_factory=new_request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAlias:
    """Links the caller's own `customer_id` to a member that exists, on the caller's attestation."""

    member_id: str
    customer_id: str
    consent: Consent | None = None
    request_id: str = field(default_factory=new_request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConsent:
    """Sets a member's consent to burns at a partner; `partner_id` is empty for the caller itself."""

    member_id: str
    consent: Consent
    partner_id: str = ""
    request_id: str = field(default_factory=new_request_id)


PointsCommand = EarnCommand | BurnCommand
"""What `PostBatch` carries."""

AnyCommand = PointsCommand | EnrollMember | LinkAlias | SetConsent
"""Every write of a partner."""
