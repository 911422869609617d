"""What can be asked of the ledger.

Tuples rather than frozen dataclasses: they are made a thousand a batch, and a tuple costs a third
(docs/adr/0004).
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Final, Literal, NamedTuple


class Earn(NamedTuple):
    """Give a member points. Exactly one of `points` and `spend_minor` is above 0."""

    partner_id: int
    request_id: str
    fingerprint: bytes
    member_id: int
    event_time: datetime
    store_id: str
    terminal_id: str
    reference: str
    reason: str
    campaign_id: str
    channel: str
    points: int
    spend_minor: int
    expiry_date: date | None
    kind: Literal["earn"] = "earn"


class Burn(NamedTuple):
    """Spend a member's points at the calling partner."""

    partner_id: int
    request_id: str
    fingerprint: bytes
    member_id: int
    event_time: datetime
    store_id: str
    terminal_id: str
    reference: str
    reason: str
    campaign_id: str
    channel: str
    points: int
    kind: Literal["burn"] = "burn"


class Expire(NamedTuple):
    """The hub's own posting of a lot past its day. Never asked for, only derived."""

    partner_id: int
    request_id: str
    fingerprint: bytes
    member_id: int
    event_time: datetime
    store_id: str
    terminal_id: str
    reference: str
    reason: str
    campaign_id: str
    channel: str
    kind: Literal["expire"] = "expire"


class Wake(NamedTuple):
    """Have a member's due expiries posted, and nothing else. Recorded nowhere: it has no answer of its own."""

    member_id: int
    kind: Literal["wake"] = "wake"


Posted = Earn | Burn | Expire
"""What an entry can stand for."""

Asked = Earn | Burn
"""What a partner can ask for."""

Command = Earn | Burn | Wake
"""What a batch can hold."""

PART: Final = 0
"""The part of a reference that an earn or a burn is; refunds and captures will number theirs."""
