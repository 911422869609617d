"""What a caller can be told instead of an acceptance, sorted by what it has to do next.

* `InvalidRequest`: nothing was decided; the request must be written differently.
* `Refused`: decided against. `Forbidden`: this key may not ask this.
* `Untrusted`, `Stale`: this try was not admitted; an earlier try of the same request may have been.
* `Busy`: nothing was decided; repeat the same request later.
* `OutcomeUnknown`, `ReceiptInvalid`: decided or not, nobody here can tell; repeat the same request until
  another answer comes. Never guess, and never ask again under a new request id.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from merchant_adapter.prepared import Prepared
from merchant_adapter.reasons import RECORDED, Reason
from merchant_adapter.receipts import Receipt


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of the request and what is wrong with it."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one request or one command of a batch was not accepted.

    Attributes:
        code: the gRPC status code's name, such as `FAILED_PRECONDITION`.
        reason: a `Reason`, or the text of one that this version does not know; empty where an error
            without any reason came back.
        message: for people and logs.
        metadata: the reason's details, as `docs/errors.md` lists them.
        fields: the fields at fault.
        retry_after_seconds: how long the hub asks to wait.
        request_id: the command's; empty where it is not known or not one.
    """

    code: str
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    fields: tuple[FieldViolation, ...] = ()
    retry_after_seconds: float | None = None
    request_id: str = ""

    def with_request_id(self, request_id: str) -> "Refusal":
        """The same refusal of a command that is known."""
        return replace(self, request_id=request_id)

    def to_error(self, receipt: Receipt | None = None, prepared: Prepared | None = None) -> "HubError":
        """The exception of this refusal's class of outcome; a reason not known here is judged by its code."""
        return _error_class(self)(self, receipt=receipt, prepared=prepared)


class HubError(Exception):
    """Something else than an acceptance.

    Attributes:
        refusal: what was said.
        receipt: the hub's verified signature over it, where it came with one.
        prepared: the request, to be sent again with `Hub.send`; None where it never was a request.
    """

    def __init__(
        self, refusal: Refusal, *, receipt: Receipt | None = None, prepared: Prepared | None = None
    ) -> None:
        super().__init__(refusal)
        self.refusal = refusal
        self.receipt = receipt
        self.prepared = prepared

    @property
    def code(self) -> str:
        """The gRPC status code's name."""
        return self.refusal.code

    @property
    def reason(self) -> str:
        """The stable reason; compare it with `Reason`."""
        return self.refusal.reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """The reason's details."""
        return self.refusal.metadata

    @property
    def fields(self) -> tuple[FieldViolation, ...]:
        """The fields at fault."""
        return self.refusal.fields

    @property
    def request_id(self) -> str:
        """The id to repeat the request with; empty for reads and for batches (`prepared` has theirs)."""
        if self.refusal.request_id or self.prepared is None or len(self.prepared.request_ids) != 1:
            return self.refusal.request_id
        return self.prepared.request_ids[0]

    def __str__(self) -> str:
        said = [self.refusal.message]
        said += [f"{one.field}: {one.description}" for one in self.fields]
        said += [f"{name}={value}" for name, value in self.metadata.items()]
        said += [f"request id {self.request_id}"] if self.request_id else []
        # dict.fromkeys: the hub's message often says the field at fault already.
        return f"{self.reason or self.code}: {'; '.join(dict.fromkeys(said))}"


class InvalidRequest(HubError):
    """The request makes no sense; `fields` says where. Nothing was decided."""

    @classmethod
    def of_field(cls, name: str, description: str) -> Self:
        """An argument that cannot even be written into the message."""
        violations = (FieldViolation(name, description),)
        return cls(Refusal("INVALID_ARGUMENT", Reason.INVALID_FIELD, "not sent", fields=violations))


class Refused(HubError):
    """The hub decided against it."""

    @property
    def recorded(self) -> bool:
        """Whether this is the answer to the request id for ever. Taken as so for a reason not known here."""
        return self.reason in RECORDED or not isinstance(self.reason, Reason)


class Forbidden(HubError):
    """The key's roles do not allow this method."""


class Untrusted(HubError):
    """The hub did not accept the signature, the audience or the key; it never says which.

    This try decided nothing. It says nothing about an earlier try of the same request whose answer was lost.
    """


class Stale(Untrusted):
    """The signature was outside its time by the hub's clock: most likely one of the two clocks is off."""

    @property
    def hub_time(self) -> int | None:
        """The hub's clock in Unix seconds, None where it was not said."""
        text = self.metadata.get("hub_time", "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else None


class Busy(HubError):
    """The hub's queue is full and nothing was decided: repeat the same request after a pause."""

    @property
    def retry_after_seconds(self) -> float | None:
        """The pause the hub asks for, None where it named none."""
        return self.refusal.retry_after_seconds


class OutcomeUnknown(HubError):
    """No answer that settles it: connection lost, deadline passed, hub in trouble. Repeat it as it is."""

    @property
    def retry_after_seconds(self) -> float | None:
        """The pause the hub asks for, None where it named none."""
        return self.refusal.retry_after_seconds


class ReceiptInvalid(OutcomeUnknown):
    """An answer came whose receipt is missing or does not verify: the answer must not be believed."""

    @classmethod
    def because(cls, detail: str) -> Self:
        """`detail` says which check failed."""
        return cls(Refusal("", Reason.RECEIPT_INVALID, detail))


_BY_REASON: dict[str, type[HubError]] = {
    Reason.SIGNATURE_STALE: Stale,
    Reason.ROLE_REQUIRED: Forbidden,
    # The hub is not busy: this contact or partner had its codes of the hour, and a repeat soon gets the same.
    Reason.CODE_LIMIT_EXCEEDED: Refused,
    Reason.RECEIPT_INVALID: ReceiptInvalid,
    Reason.NO_ANSWER: OutcomeUnknown,
}

_BY_CODE: dict[str, type[HubError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "OUT_OF_RANGE": InvalidRequest,
    "UNAUTHENTICATED": Untrusted,
    "NOT_FOUND": Refused,
    "ALREADY_EXISTS": Refused,
    "FAILED_PRECONDITION": Refused,
    "PERMISSION_DENIED": Refused,
    "RESOURCE_EXHAUSTED": Busy,
}


def _error_class(refusal: Refusal) -> type[HubError]:
    # An error without a reason of ours was not written by a hub: a proxy or gRPC itself made it, and
    # behind it the request may have been decided.
    if not refusal.reason:
        return OutcomeUnknown
    return _BY_REASON.get(refusal.reason) or _BY_CODE.get(refusal.code, OutcomeUnknown)
