"""What is wrong with stored evidence, and where."""

from typing import Self

from merchant_adapter.errors import ReceiptInvalid
from merchant_adapter.keys import PinnedKeys
from merchant_adapter.receipts import Receipt
from merchant_adapter.signing import verify_receipt
from tongdui.signing import Receipt as SignedReceipt


class EvidenceWrong(Exception):
    """A stored file does not hold: `what` is wrong with `field` of `file`."""

    def __init__(self, file: str, field: str, what: str) -> None:
        super().__init__(f"{file}: {field}: {what}" if field else f"{file}: {what}")
        self.file = file
        self.field = field
        self.what = what

    @classmethod
    def of_receipt(cls, file: str, place: str, error: ReceiptInvalid) -> Self:
        """From the check of a receipt, which names its own part; `place` is where in the file the receipt is."""
        part, _, what = error.refusal.message.partition(": ")
        return cls(file, f"{place}.{part}" if place else part, what)


def checked_receipt(file: str, place: str, receipt: Receipt, keys: PinnedKeys) -> SignedReceipt:
    """What a receipt's signature says of it, once it verifies. Raises EvidenceWrong."""
    try:
        return verify_receipt(receipt, keys)
    except ReceiptInvalid as error:
        raise EvidenceWrong.of_receipt(file, place, error) from error
