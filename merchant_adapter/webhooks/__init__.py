"""Orders of a shop platform, told by webhooks in any order and any number of times, as commands on points.

A platform tells the whole order as of a version. It is stored before it is answered (`Inbox`), and becomes commands
later (`OrderProcessor`): those that the order asks for and that were not made before. The rules are pure, in `orders`.

The names below are the published ones; everything else may change.
"""

from merchant_adapter.webhooks.inbox import Inbox
from merchant_adapter.webhooks.inbox_records import DeadOrder, DeliveryConflict, InboxStatus, Received
from merchant_adapter.webhooks.order_event import OrderEvent, OrderPolicy, OrderRefund, OrderState
from merchant_adapter.webhooks.orders import OrderChanged
from merchant_adapter.webhooks.platform import Delivery, GenericPlatform, Platform
from merchant_adapter.webhooks.processor import OrderProcessor
from merchant_adapter.webhooks.settings import WebhookSettings
from merchant_adapter.webhooks.signature import sign_webhook

__all__ = [
    "DeadOrder",
    "Delivery",
    "DeliveryConflict",
    "GenericPlatform",
    "Inbox",
    "InboxStatus",
    "OrderChanged",
    "OrderEvent",
    "OrderPolicy",
    "OrderProcessor",
    "OrderRefund",
    "OrderState",
    "Platform",
    "Received",
    "WebhookSettings",
    "sign_webhook",
]
