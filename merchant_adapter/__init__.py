"""The merchant adapter: a signing, receipt-checking client of a Tongdui hub for a partner's mall or till.

    async with Hub.connect("hub.example:443", "hub.example/prod", key="cafe.jwk", hub_keys="hub.jwks") as hub:
        earned = await hub.earn(EarnCommand(member_id=..., points=100, ...))

The names below are the published ones; everything else may change.
"""

from merchant_adapter.answers import (
    Accepted,
    Burned,
    ConsentSet,
    Earned,
    Enrolled,
    Entry,
    EntryPage,
    Ledger,
    Leg,
    Line,
    Linked,
    Wallet,
    WalletLot,
)
from merchant_adapter.channel import Answer, AnswerBytes, SignedChannel
from merchant_adapter.client import Hub
from merchant_adapter.commands import (
    BurnCommand,
    Consent,
    EarnCommand,
    EnrollMember,
    LinkAlias,
    SetConsent,
)
from merchant_adapter.errors import (
    Busy,
    FieldViolation,
    Forbidden,
    HubError,
    InvalidRequest,
    OutcomeUnknown,
    ReceiptInvalid,
    Refusal,
    Refused,
    Stale,
    Untrusted,
)
from merchant_adapter.json_object import Unreadable
from merchant_adapter.keys import HubKeys, Key
from merchant_adapter.prepare import prepare, prepare_batch, prepare_enrollments, prepare_links
from merchant_adapter.prepared import Prepared
from merchant_adapter.private_files import FileRefused
from merchant_adapter.reasons import Reason
from merchant_adapter.receipts import Receipt
from merchant_adapter.registration import Registration
from merchant_adapter.request_ids import new_request_id
from merchant_adapter.results import Results, read_results
from merchant_adapter.signing import verify_receipt
from merchant_adapter.sync import SyncHub
from merchant_adapter.transport import Tls

__all__ = [
    "Accepted",
    "Answer",
    "AnswerBytes",
    "BurnCommand",
    "Burned",
    "Busy",
    "Consent",
    "ConsentSet",
    "EarnCommand",
    "Earned",
    "EnrollMember",
    "Enrolled",
    "Entry",
    "EntryPage",
    "FieldViolation",
    "FileRefused",
    "Forbidden",
    "Hub",
    "HubError",
    "HubKeys",
    "InvalidRequest",
    "Key",
    "Ledger",
    "Leg",
    "Line",
    "LinkAlias",
    "Linked",
    "OutcomeUnknown",
    "Prepared",
    "Reason",
    "Receipt",
    "ReceiptInvalid",
    "Refusal",
    "Refused",
    "Registration",
    "Results",
    "SetConsent",
    "SignedChannel",
    "Stale",
    "SyncHub",
    "Tls",
    "Unreadable",
    "Untrusted",
    "Wallet",
    "WalletLot",
    "new_request_id",
    "prepare",
    "prepare_batch",
    "prepare_enrollments",
    "prepare_links",
    "read_results",
    "verify_receipt",
]
