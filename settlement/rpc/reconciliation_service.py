"""`tongdui.settlement.v1.ReconciliationService`: partners' files, breaks and disputes, to those who may see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Final, TypeVar

from google.protobuf.message import Message

from settlement.core.break_types import BreakType
from settlement.core.partner_file import FileRefused
from settlement.core.roles import PersonUnknown, RoleMissing
from settlement.partner_calls import (
    Asked,
    Decision,
    Evidence,
    FileUpload,
    NotYours,
    OtherUnknown,
    PartnerCalls,
    ProfileInvalid,
    RequestIdReused,
    Said,
    SignedCall,
    StateRefused,
)
from settlement.rpc.admission import ROLE_PARTNER, Incoming
from settlement.rpc.break_messages import (
    BREAK_STATES,
    DISPUTE_STATES,
    break_message,
    dispute_message,
    file_message,
    history_message,
    reconciliation_message,
)
from settlement.rpc.calls import Answered, Method, Upload
from settlement.rpc.errors import CallError, invalid_field
from settlement.rpc.fields import (
    checked_date,
    checked_partner,
    checked_request_id,
    checked_text,
    from_date,
    page_number,
    page_size,
    parsed,
    whose,
)
from settlement.rpc.transport import MAX_PART_MESSAGE
from settlement.rpc.uploads import PART_BYTES, Uploads
from settlement.store.partner_reads import Break, BreakFilter, Dispute, PartnerFile, PartnerReads
from tongdui.settlement.v1 import reconciliation_service_pb2 as wire
from tongdui.signing import fingerprint, public_key_text

SERVICE_NAME: Final = "tongdui.settlement.v1.ReconciliationService"
MAX_NAME: Final = 200

_TYPES: Final = frozenset(kind.value for kind in BreakType)

S = TypeVar("S")
W = TypeVar("W", wire.CommentOnBreakRequest, wire.OpenDisputeRequest, wire.AnswerDisputeRequest)


@dataclass(frozen=True, slots=True)
class ReconciliationService:
    """The methods, over raw bytes: the signature is checked before a message exists."""

    reads: PartnerReads
    calls: PartnerCalls

    def methods(self, uploads: Uploads) -> tuple[Method | Upload, ...]:
        """What a `Gate` takes."""
        return (
            Upload("UploadPartnerFile", uploads.receive),
            Method("GetReconciliation", self.get_reconciliation),
            Method("ListBreaks", self.list_breaks),
            Method("GetBreak", self.get_break),
            Method("CommentOnBreak", self.comment_on_break, has_receipt=True, max_bytes=MAX_PART_MESSAGE),
            Method("OpenDispute", self.open_dispute, has_receipt=True, max_bytes=MAX_PART_MESSAGE),
            Method("AnswerDispute", self.answer_dispute, has_receipt=True, max_bytes=MAX_PART_MESSAGE),
            Method("ListDisputes", self.list_disputes),
        )

    def load_file(self, incoming: Incoming, upload: FileUpload, parts: Iterator[bytes]) -> Answered:
        """Takes in a file whose bytes are those that were signed."""

        def answer(file: PartnerFile) -> bytes:
            made = wire.UploadPartnerFileResponse(request_id=upload.request_id, file=file_message(file))
            return made.SerializeToString()

        message = parsed(wire.UploadPartnerFileRequest, incoming.body)
        asked = _asked("upload_partner_file", upload.request_id, message)
        try:
            with _refusals():
                return _answered(self.calls.load_file(_call(incoming), asked, upload, parts, answer))
        except FileRefused as refused:
            raise _file_refused(refused, upload.business_date) from refused

    def get_reconciliation(self, incoming: Incoming) -> Answered:
        """The newest comparison of a partner's day."""
        request = parsed(wire.GetReconciliationRequest, incoming.body)
        window_date = from_date("window_date", request)
        found = self.reads.reconciliation(window_date, whose(incoming.caller, request.partner_id))
        if found is None:
            raise CallError("RECONCILIATION_UNKNOWN")
        return Answered(reconciliation_message(found).SerializeToString())

    def list_breaks(self, incoming: Incoming) -> Answered:
        """Breaks by number. The page token is the number of the last one shown."""
        request = parsed(wire.ListBreaksRequest, incoming.body)
        size, after = page_size(request.page_size), page_number(request.page_token)
        found = self.reads.breaks(_wanted(incoming, request), after, size + 1)
        answer = wire.ListBreaksResponse(breaks=[break_message(one) for one in found[:size]])
        if len(found) > size:
            answer.next_page_token = str(found[size - 1].break_id)
        return Answered(answer.SerializeToString())

    def get_break(self, incoming: Incoming) -> Answered:
        """One break with its history and disputes."""
        request = parsed(wire.GetBreakRequest, incoming.body)
        caller = incoming.caller
        own = None if caller.sees_all else caller.owner
        history = self.reads.break_history(_checked_id("break_id", request.break_id), own)
        if history is None:
            raise CallError("BREAK_UNKNOWN")
        return Answered(history_message(history, caller).SerializeToString())

    def list_disputes(self, incoming: Incoming) -> Answered:
        """Disputes by number. The page token is the number of the last one shown."""
        request = parsed(wire.ListDisputesRequest, incoming.body)
        size, after = page_size(request.page_size), page_number(request.page_token)
        own = None if incoming.caller.sees_all else incoming.caller.owner
        states = {int(number): state.value for state, number in DISPUTE_STATES.items()}
        state = _chosen("state", request.state, states)
        found = self.reads.disputes(own, state, after, size + 1)
        answer = wire.ListDisputesResponse(disputes=[dispute_message(one) for one in found[:size]])
        if len(found) > size:
            answer.next_page_token = str(found[size - 1].dispute_id)
        return Answered(answer.SerializeToString())

    def comment_on_break(self, incoming: Incoming) -> Answered:
        """Adds a comment to one of the caller's breaks."""
        request = _write_of(wire.CommentOnBreakRequest, incoming)
        break_id = _checked_id("break_id", request.break_id)
        said = Said(checked_text("text", request.text), _evidence(request))
        asked = _asked("comment_on_break", request.request_id, request)

        def answer(found: Break) -> bytes:
            made = wire.CommentOnBreakResponse(request_id=request.request_id)
            getattr(made, "break").CopyFrom(break_message(found))
            return made.SerializeToString()

        with _refusals():
            return _answered(self.calls.comment(_call(incoming), asked, break_id, said, answer))

    def open_dispute(self, incoming: Incoming) -> Answered:
        """Opens a dispute about one of the caller's breaks."""
        request = _write_of(wire.OpenDisputeRequest, incoming)
        break_id = _checked_id("break_id", request.break_id)
        against = checked_partner("against", request.against)
        if against == incoming.caller.owner:
            raise invalid_field("against", "another partner")
        said = Said(checked_text("claim", request.claim), _evidence(request))
        asked = _asked("open_dispute", request.request_id, request)

        def answer(found: Dispute) -> bytes:
            made = wire.OpenDisputeResponse(request_id=request.request_id, dispute=dispute_message(found))
            return made.SerializeToString()

        with _refusals():
            return _answered(self.calls.open_dispute(_call(incoming), asked, break_id, against, said, answer))

    def answer_dispute(self, incoming: Incoming) -> Answered:
        """Answers a dispute against the caller."""
        request = _write_of(wire.AnswerDisputeRequest, incoming)
        dispute_id = _checked_id("dispute_id", request.dispute_id)
        said = Said(checked_text("text", request.text), _evidence(request))
        asked = _asked("answer_dispute", request.request_id, request)

        def answer(found: Dispute) -> bytes:
            made = wire.AnswerDisputeResponse(request_id=request.request_id, dispute=dispute_message(found))
            return made.SerializeToString()

        with _refusals(about_dispute=True):
            return _answered(self.calls.answer_dispute(_call(incoming), asked, dispute_id, said, answer))


def _wanted(incoming: Incoming, request: wire.ListBreaksRequest) -> BreakFilter:
    if request.type and request.type not in _TYPES:
        raise invalid_field("type", "not a type of break")
    is_everybody = incoming.caller.sees_all and not request.partner_id
    states = {int(number): state for state, number in BREAK_STATES.items()}
    has_date = request.HasField("window_date")
    return BreakFilter(
        partner_id=None if is_everybody else whose(incoming.caller, request.partner_id),
        window_date=checked_date("window_date", request.window_date) if has_date else None,
        state=_chosen("state", request.state, states),
        type=request.type or None,
        unresolved=request.unresolved,
    )


def _write_of(message_type: type[W], incoming: Incoming) -> W:
    """The message of a write, which is for partners alone. The desk's people have commands of their own."""
    if ROLE_PARTNER not in incoming.caller.roles:
        raise CallError("ROLE_REQUIRED")
    request = parsed(message_type, incoming.body)
    checked_request_id(request.request_id)
    return request


def _evidence(
    request: wire.CommentOnBreakRequest | wire.OpenDisputeRequest | wire.AnswerDisputeRequest,
) -> Evidence | None:
    if not request.HasField("evidence"):
        return None
    if not 1 <= len(request.evidence.content) <= PART_BYTES:
        raise invalid_field("evidence.content", f"required, 1 to {PART_BYTES} bytes")
    return Evidence(checked_text("evidence.name", request.evidence.name, MAX_NAME), request.evidence.content)


def _asked(kind: str, request_id: str, message: Message) -> Asked:
    return Asked(request_id, fingerprint(kind, message.SerializeToString(deterministic=True)))


def _call(incoming: Incoming) -> SignedCall:
    caller = incoming.caller
    return SignedCall(
        key_id=caller.key_id,
        owner=caller.owner,
        public_key_text=public_key_text(caller.public_key),
        path=incoming.path,
        body=incoming.body,
        metadata=incoming.entries,
        signature=incoming.signed.signature,
    )


def _answered(decision: Decision) -> Answered:
    return Answered(decision.answer, decision.is_repeat)


@contextmanager
def _refusals(*, about_dispute: bool = False) -> Iterator[None]:
    """What partners' calls refuse, as it is said on the wire."""
    kind = "DISPUTE" if about_dispute else "BREAK"
    try:
        yield
    except RequestIdReused as refused:
        raise CallError("REQUEST_ID_REUSED") from refused
    except NotYours as refused:
        raise CallError(f"{kind}_UNKNOWN") from refused
    except OtherUnknown as refused:
        raise CallError("PARTNER_UNKNOWN") from refused
    except StateRefused as refused:
        raise CallError(f"{kind}_STATE", state=refused.state) from refused
    except (RoleMissing, PersonUnknown) as refused:
        raise CallError("ROLE_REQUIRED") from refused
    except ProfileInvalid as refused:
        raise invalid_field("header.format", str(refused)) from refused


def _file_refused(refused: FileRefused, business_date: date) -> CallError:
    told = {"line": str(refused.line) if refused.line else "", "field": refused.field}
    if refused.reason == "WINDOW_CERTIFIED":
        told = {"business_date": business_date.isoformat()}
    if refused.reason == "CONTROL_TOTAL":
        told = {
            "line": told["line"],
            "control": refused.field,
            "stated": refused.stated,
            "found": refused.found,
        }
    message = str(refused).removeprefix(f"{refused.reason}: ")
    return CallError(refused.reason, message, (), **{name: value for name, value in told.items() if value})


def _checked_id(field: str, number: int) -> int:
    if number < 1:
        raise invalid_field(field, "required")
    return number


def _chosen(field: str, number: int, names: Mapping[int, S]) -> S | None:
    if not number:
        return None
    if number not in names:
        raise invalid_field(field, "not a state")
    return names[number]
