"""What came back of one call, judged: an acceptance with its receipt, or the error of its class of outcome."""

import grpc
import grpc.aio

from merchant_adapter.errors import HubError, OutcomeUnknown, ReceiptInvalid, Refusal, Refused
from merchant_adapter.keys import PinnedKeys
from merchant_adapter.prepared import Prepared
from merchant_adapter.reasons import Reason
from merchant_adapter.receipts import Entries, Receipt
from merchant_adapter.signing import check_receipt
from merchant_adapter.statuses import DETAILS_ENTRY, read_status_bytes
from tongdui.signing import RECEIPT_ENTRY_NAMES

Trailing = list[tuple[str, str | bytes]]


def acceptance(
    prepared: Prepared, entries: Entries, body: bytes, trailing: Trailing, keys: PinnedKeys
) -> Receipt | None:
    """The verified receipt of an answer that accepts; None only for a read without one. Raises ReceiptInvalid."""
    receipt = _receipt(prepared, entries, body, trailing, keys)
    if receipt is None and prepared.is_write:
        raise ReceiptInvalid.because("the answer to a write came without a receipt")
    # A receipt does not say whether its answer was an acceptance, so a signed refusal could be passed
    # off as a message. Messages of ours do not start with the tag of Status.code.
    if body.startswith(b"\x08") and read_status_bytes(body) is not None:
        raise ReceiptInvalid.because("the answer is a refusal posing as an acceptance")
    return receipt


def failure_of(
    prepared: Prepared, entries: Entries, failure: grpc.aio.AioRpcError, keys: PinnedKeys
) -> HubError:
    """The error of its class of outcome: what the hub said, once its receipt verifies, or that nobody answered."""
    trailing: Trailing = list(failure.trailing_metadata() or ())
    details = [value for name, value in trailing if name == DETAILS_ENTRY and isinstance(value, bytes)]
    refusal = read_status_bytes(details[0]) if len(details) == 1 else None
    if refusal is None or refusal.code != failure.code().name:
        return _no_answer(prepared, failure)
    error = refusal.to_error(prepared=prepared)
    try:
        error.receipt = _receipt(prepared, entries, details[0], trailing, keys)
        if error.receipt is None and prepared.is_write and isinstance(error, Refused) and error.recorded:
            raise ReceiptInvalid.because(f"the refusal {error.reason} came without a receipt")
    except ReceiptInvalid as invalid:
        invalid.prepared = prepared
        return invalid
    return error


def _receipt(
    prepared: Prepared, entries: Entries, answer: bytes, trailing: Trailing, keys: PinnedKeys
) -> Receipt | None:
    """The verified receipt; None where no part of one came. Raises ReceiptInvalid."""
    found = [(name, value) for name, value in trailing if name in RECEIPT_ENTRY_NAMES]
    if not found:
        return None
    texts = tuple((name, value) for name, value in found if isinstance(value, str))
    receipt = Receipt(prepared.path, prepared.body, entries, answer, texts)
    check_receipt(receipt, keys)
    return receipt


def _no_answer(prepared: Prepared, failure: grpc.aio.AioRpcError) -> OutcomeUnknown:
    message = failure.details() or "no details"
    if failure.code() is grpc.StatusCode.UNIMPLEMENTED:
        message += " (is this the address of a hub of this version?)"
    return OutcomeUnknown(Refusal(failure.code().name, Reason.NO_ANSWER, message), prepared=prepared)
