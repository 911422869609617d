"""What differs from shop platform to shop platform: how a delivery is signed, and how an order is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from merchant_adapter.webhooks.order_event import OrderEvent
from merchant_adapter.webhooks.reading import read_order
from merchant_adapter.webhooks.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, is_signed


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook as it came in.

    Attributes:
        headers: their names in lower case; one that was sent several times is joined by commas.
        body: the raw bytes, which the signature is over.
    """

    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Platform(Protocol):
    """A shop platform that calls webhooks."""

    @property
    def name(self) -> str:
        """In lower case without spaces; orders of two platforms are never the same order."""
        ...

    def verify(self, delivery: Delivery, now: float) -> bool:
        """Whether a delivery is from the platform, by its signature over the raw bytes, compared in constant time.

        `now` is in Unix seconds. Nothing of the body is parsed.
        """
        ...

    def read(self, delivery: Delivery) -> OrderEvent:
        """The order that a verified delivery tells. Raises InvalidRequest, which names the fields."""
        ...


class GenericPlatform:
    """The sidecar's own form, for a mall that sends its orders by itself."""

    name = "generic"

    def __init__(self, secrets: Sequence[bytes]) -> None:
        """`secrets` are those that count now: one, and while it is changed two."""
        self.secrets = tuple(secrets)
        """May be changed at any time; the next delivery is held against the new ones."""

    def verify(self, delivery: Delivery, now: float) -> bool:
        """By `Tongdui-Webhook-Timestamp` and `Tongdui-Webhook-Signature`."""
        timestamp = delivery.headers.get(TIMESTAMP_HEADER.lower(), "")
        signatures = delivery.headers.get(SIGNATURE_HEADER.lower(), "")
        return is_signed(self.secrets, timestamp, signatures, delivery.body, now)

    def read(self, delivery: Delivery) -> OrderEvent:
        """An `OrderEvent` in JSON."""
        return read_order(delivery.body)
