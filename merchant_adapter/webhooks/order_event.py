"""An order of a shop as of a version, and what was agreed on orders: plain values."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class OrderState(StrEnum):
    """How far an order is."""

    PAID = "paid"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRefund:
    """Goods of an order that came back. Amounts are parts of the order's, in minor units such as fen.

    Attributes:
        refund_id: unique within the order; with the order's id and a space 64 characters at most.
        time: when.
        refunded_minor: what came back of `paid_minor`: tax, shipping and what was paid with points included.
        tax_minor, shipping_minor: of it.
        points: of `points_paid`, given back.
        points_value_minor: what these points had paid, of `refunded_minor`.
    """

    refund_id: str
    time: datetime
    refunded_minor: int
    tax_minor: int = 0
    shipping_minor: int = 0
    points: int = 0
    points_value_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEvent:
    """A whole order as of a version. Amounts are in minor units such as fen.

    Attributes:
        delivery_id: names this telling of it, for whoever repeats one.
        order_id: the order's number at the partner; the commands' reference.
        version: a number that grows whenever the order changes.
        state: how far it is.
        paid_time, completed_time, cancelled_time: when it came so far, None where it did not; a later version keeps
            what an earlier one had. An order that was cancelled before it was paid has no `paid_time`.
        currency: ISO 4217.
        paid_minor: what was paid in all: tax, shipping and what was paid with points included.
        tax_minor, shipping_minor: of it.
        customer_id: the partner's own; empty for a guest, who earns nothing until a later version names a customer.
        store_id, terminal_id: where; empty for the settings' own.
        points_paid: points that paid a part of it.
        points_value_minor: which part.
        hold_request_id: the authorisation of these points made at checkout, to be captured or voided.
        burn_request_id: or their burn. One of the two where points were paid.
        refunds: all of them, in any order.
    """

    delivery_id: str
    order_id: str
    version: int
    state: OrderState
    paid_time: datetime | None = None
    completed_time: datetime | None = None
    cancelled_time: datetime | None = None
    currency: str
    paid_minor: int
    tax_minor: int = 0
    shipping_minor: int = 0
    customer_id: str = ""
    store_id: str = ""
    terminal_id: str = ""
    points_paid: int = 0
    points_value_minor: int = 0
    hold_request_id: str = ""
    burn_request_id: str = ""
    refunds: tuple[OrderRefund, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPolicy:
    """What a partner made of orders with its coalition.

    Attributes:
        currency: of the ledger; an order in another one is refused.
        store_id, terminal_id: of orders that name none.
        confirm_on: from which state on points are the member's: until then the earn is pending.
        capture_on: at which state points held at checkout are burned. A hold ends after at most 7 days.
        exclude_tax, exclude_shipping: whether these earn no points.
    """

    currency: str
    store_id: str
    terminal_id: str
    confirm_on: OrderState = OrderState.COMPLETED
    capture_on: OrderState = OrderState.COMPLETED
    exclude_tax: bool = False
    exclude_shipping: bool = False
