"""A request serialised once: the same bytes are stored, signed and sent on every try."""

from dataclasses import dataclass

READ_VERBS = ("Get", "List", "Watch", "Quote", "Preview")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What an outbox stores of a request.

    Attributes:
        path: the full gRPC method, `/package.Service/Method`.
        body: the message bytes.
        request_ids: the ids of the decisions it asks for, in order; empty for a read.
    """

    path: str
    body: bytes
    request_ids: tuple[str, ...] = ()

    @property
    def is_write(self) -> bool:
        """Whether its answer must carry a receipt.

        In the contract these are the verbs of reads; every other method writes. A method this version
        does not know is thereby treated with the greater care.
        """
        return not self.path.rpartition("/")[2].startswith(READ_VERBS)
