"""What a partner asks of `MembersService`, as plain values.

A command's `request_id` is chosen when the value is made. Keep the value: repeating it repeats the same
decision, whatever became of the first try.
"""

from dataclasses import dataclass, field

from merchant_adapter.points_answers import PointsAnswer
from merchant_adapter.points_commands import PointsCommand
from merchant_adapter.request_ids import new_request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Points that burns at one partner may take: a single burn, and all burns of one ledger day.

    Both 0 to 1,000,000,000; both 0 withdraw the consent.
    """

    per_burn_limit_points: int
    per_day_limit_points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContactProof:
    """Has a one-time code sent to a phone (E.164) or an e-mail; exactly one is set.

    With `attested` no code is sent: the caller's word counts, where its contract allows it. A repeat within a day
    gives the same proof and sends nothing.
    """

    phone: str = field(default="", repr=False)
    email: str = field(default="", repr=False)
    attested: bool = False
    request_id: str = field(default_factory=new_request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactProof:
    """A proof that was started, and the 6 digits that the customer read out; no code where it was attested."""

    proof_id: str
    code: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollMember:
    """Creates a member under the caller's own `customer_id`, or finds the one it is linked to already.

    With a `proof` it also finds the member that the contact belongs to.
    """

    customer_id: str
    consent: Consent | None = None
    proof: ContactProof | None = None
    request_id: str = field(default_factory=new_request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAlias:
    """Links the caller's own `customer_id` to a member that exists.

    By the `proof` of the member's contact (then `member_id` may stay empty), or on the caller's attestation.
    """

    member_id: str = ""
    customer_id: str
    consent: Consent | None = None
    proof: ContactProof | None = None
    request_id: str = field(default_factory=new_request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConsent:
    """Sets a member's consent to burns at a partner; `partner_id` is empty for the caller itself."""

    member_id: str
    consent: Consent
    partner_id: str = ""
    request_id: str = field(default_factory=new_request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlinkAlias:
    """Undoes the link of a member to a partner; `partner_id` is empty for the caller itself."""

    member_id: str
    partner_id: str = ""
    request_id: str = field(default_factory=new_request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuePayCode:
    """Asks for a pay code that the member shows at a till: at most `max_points`, at `partner_id` or anywhere."""

    member_id: str
    max_points: int
    partner_id: str = ""
    request_id: str = field(default_factory=new_request_id)


AnyCommand = (
    PointsCommand[PointsAnswer]
    | StartContactProof
    | EnrollMember
    | LinkAlias
    | UnlinkAlias
    | SetConsent
    | IssuePayCode
)
"""Every write of a partner."""
