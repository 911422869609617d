"""What a command would cost or bring, asked before it happens."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteRequest:
    """Asks for the price of one command for a member linked to the caller; exactly one amount is set.

    The command that carries the quote must say the same member and amount: `earn_points`, `earn_spend_minor`
    (minor units) or `earn_native_points` of an earn, `burn_points` of a burn or an authorisation,
    `exchange_in_native_points`, `exchange_out_points`.
    """

    member_id: str
    earn_points: int | None = None
    earn_spend_minor: int | None = None
    earn_native_points: int | None = None
    burn_points: int | None = None
    exchange_in_native_points: int | None = None
    exchange_out_points: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A price that holds until `expire_time` on the wall clock, for one command.

    Attributes:
        quote: signed by the hub, for the `quote` of that command.
        points: what would be earned, credited, burned or held.
        value_micros: what those points are worth at the caller's checkout.
        maximum_points: the most that the member could spend at the caller now, within the consent's limits.
        rate_version: the rate card that prices it.
        native_points: native points that would be taken or credited.
        expire_time: the end, in UTC.
    """

    quote: bytes = field(repr=False)
    points: int
    value_micros: int
    maximum_points: int
    rate_version: int
    native_points: int
    expire_time: datetime
