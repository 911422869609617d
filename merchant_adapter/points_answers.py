"""What a hub answers to the commands of `PointsService`, as plain values.

Points are whole; money is in micros, millionths of the settlement currency's major unit. All times are aware
and in UTC; all days are of the coalition's time zone.
"""

from dataclasses import dataclass, field
from datetime import date, datetime

from merchant_adapter.receipts import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsAnswer:
    """What every accepted command on points is answered with.

    Attributes:
        request_id: the command's.
        entry_id: the entry in the journal.
        points: the points that this command moved or fixed.
        available_points: what the member can spend after this entry.
        decided_time: when the hub decided, on the ledger clock.
        receipt: set where this was the whole answer; a batch has one for all of it.
    """

    request_id: str
    entry_id: str
    points: int
    available_points: int
    decided_time: datetime
    receipt: Receipt | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned(PointsAnswer):
    """An accepted earn. `expiry_date` is None where the points never expire, and while they are `pending`."""

    rate_version: int
    expiry_date: date | None
    pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EarnConfirmed(PointsAnswer):
    """A pending earn that is owed now; `points` are those of the earn, less what was clawed back meanwhile."""

    rate_version: int
    expiry_date: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EarnCancelled(PointsAnswer):
    """A pending earn that is dropped; `points` are no longer pending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarnClawedBack(PointsAnswer):
    """`points` of an earn taken back, of which the member owes `deficit_points`, because it had used them.

    `remaining_points` of the earn can still be clawed back.
    """

    remaining_points: int
    deficit_points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnAuthorized(PointsAnswer):
    """`points` held until `expire_time` on the wall clock, when the hold lapses by itself.

    `value_micros` is what they are worth at the caller's checkout.
    """

    rate_version: int
    value_micros: int
    expire_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldExtended(PointsAnswer):
    """A hold that lasts until `expire_time` now, on the wall clock."""

    expire_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnCaptured(PointsAnswer):
    """`points` of a hold burned at the price fixed then; `released_points` are the member's again.

    `value_micros` is what the points are worth at the caller's checkout, `reimbursement_micros` what the
    caller will be paid for them.
    """

    rate_version: int
    value_micros: int
    reimbursement_micros: int
    released_points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnVoided(PointsAnswer):
    """A hold given up; its `points` are the member's again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burned(PointsAnswer):
    """An accepted burn.

    `value_micros` is what the points are worth at the caller's checkout, `reimbursement_micros` what the
    caller will be paid for them.
    """

    rate_version: int
    value_micros: int
    reimbursement_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnRefunded(PointsAnswer):
    """`points` of a burn given back; `remaining_points` of it can still be.

    `reimbursement_micros` is what the caller pays back of what it was paid for the burn.
    """

    remaining_points: int
    reimbursement_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangedIn(PointsAnswer):
    """`native_points` taken and `points` credited for them."""

    rate_version: int
    expiry_date: date | None
    native_points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeOutHeld(PointsAnswer):
    """`points` held: credit `native_points`, then confirm, or refuse. Nothing lapses meanwhile."""

    rate_version: int
    native_points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeOutConfirmed(PointsAnswer):
    """`points` burned for the `native_points` credited; the caller will be paid `reimbursement_micros`."""

    rate_version: int
    reimbursement_micros: int
    native_points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeOutRefused(PointsAnswer):
    """An exchange out given up; its `points` are the member's again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred(PointsAnswer):
    """`points` given to another member; `available_points` are the giver's."""
