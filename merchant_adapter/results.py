"""The outcome of each decision a write asked for.

A thousand results cost one parse; each becomes a value when it is asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

from google.protobuf.message import Message

from merchant_adapter import methods
from merchant_adapter.answers import Accepted, Enrolled, Linked
from merchant_adapter.channel import AnswerBytes, parse_answer, readable, unreadable
from merchant_adapter.errors import InvalidRequest, Refusal
from merchant_adapter.from_messages import (
    from_consent,
    from_enroll,
    from_link,
    from_pay_code,
    from_proof,
    from_unlink,
)
from merchant_adapter.points import POINTS_METHODS
from merchant_adapter.points_answers import PointsAnswer
from merchant_adapter.prepared import Prepared
from merchant_adapter.receipts import Receipt
from merchant_adapter.statuses import read_status
from tongdui.exchange.v1 import members_service_pb2 as members_pb2
from tongdui.exchange.v1.points_service_pb2 import PostBatchResponse

M = TypeVar("M", bound=Message)
A = TypeVar("A")
R = TypeVar("R", covariant=True)

Reader = Callable[[str, M, Receipt | None], A]
"""Makes the acceptance of (request id, message, receipt of this message alone)."""


class Results(Sequence[R]):
    """One outcome for each of `prepared.request_ids`, in that order: an acceptance or a `Refusal`.

    `receipt` is the hub's verified signature over all of them together. Reading an outcome raises
    OutcomeUnknown where the hub's answer is not one that this version understands.
    """

    def __init__(
        self,
        prepared: Prepared,
        answer: AnswerBytes,
        messages: Sequence[Message],
        read: Callable[[str, Any], R],
    ) -> None:
        if len(messages) != len(prepared.request_ids):
            detail = f"{len(messages)} results for {len(prepared.request_ids)} commands"
            raise unreadable(detail, prepared, answer)
        self.prepared = prepared
        self.receipt = answer.receipt
        self._answer = answer
        self._messages = messages
        self._read = read

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> list[R]: ...
    def __getitem__(self, index: int | slice) -> R | list[R]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        return self._outcome(self.prepared.request_ids[index], self._messages[index])

    def __iter__(self) -> Iterator[R]:
        return map(self._outcome, self.prepared.request_ids, self._messages)

    def _outcome(self, request_id: str, message: Message) -> R:
        with readable(self.prepared, self._answer):
            return self._read(request_id, message)


def read_one(prepared: Prepared, answer: AnswerBytes, kind: type[M], read: Reader[M, A]) -> A:
    """The acceptance in the answer to a single command; raises OutcomeUnknown where it is not one."""
    message = parse_answer(prepared, answer, kind)
    with readable(prepared, answer):
        return read(prepared.request_ids[0], message, answer.receipt)


def read_batch(prepared: Prepared, answer: AnswerBytes) -> Results[PointsAnswer | Refusal]:
    """The outcomes of `PostBatch`."""
    messages = parse_answer(prepared, answer, PostBatchResponse).results
    return Results(prepared, answer, messages, lambda request_id, one: _outcome(_POSTED, request_id, one))


def read_enrollments(prepared: Prepared, answer: AnswerBytes) -> Results[Enrolled | Refusal]:
    """The outcomes of `BatchEnrollMembers`."""
    readers: Mapping[str, Reader[Any, Enrolled]] = {"member": from_enroll}
    messages = parse_answer(prepared, answer, members_pb2.BatchEnrollMembersResponse).results
    return Results(prepared, answer, messages, lambda request_id, one: _outcome(readers, request_id, one))


def read_links(prepared: Prepared, answer: AnswerBytes) -> Results[Linked | Refusal]:
    """The outcomes of `BatchLinkAliases`."""
    readers: Mapping[str, Reader[Any, Linked]] = {"link": from_link}
    messages = parse_answer(prepared, answer, members_pb2.BatchLinkAliasesResponse).results
    return Results(prepared, answer, messages, lambda request_id, one: _outcome(readers, request_id, one))


def read_results(prepared: Prepared, answer: AnswerBytes) -> Sequence[Accepted | Refusal]:
    """The outcomes of any write of a partner, single or batch: one for each request id.

    Raises InvalidRequest for a `prepared` that is not such a write.
    """
    if prepared.path in _BATCHES:
        return _BATCHES[prepared.path](prepared, answer)
    if prepared.path not in _SINGLES:
        raise InvalidRequest.of_field("path", f"{prepared.path} is not a write of a partner")
    kind, read = _SINGLES[prepared.path]
    return (read_one(prepared, answer, kind, read),)


_POSTED: Mapping[str, Reader[Any, PointsAnswer]] = {one.name: one.read for one in POINTS_METHODS}

_BATCHES: Mapping[str, Callable[[Prepared, AnswerBytes], Sequence[Accepted | Refusal]]] = {
    methods.POST_BATCH: read_batch,
    methods.BATCH_ENROLL_MEMBERS: read_enrollments,
    methods.BATCH_LINK_ALIASES: read_links,
}

_SINGLES: Mapping[str, tuple[type[Message], Reader[Any, Accepted]]] = {
    **{one.path: (one.response, one.read) for one in POINTS_METHODS},
    methods.ENROLL_MEMBER: (members_pb2.EnrollMemberResponse, from_enroll),
    methods.LINK_ALIAS: (members_pb2.LinkAliasResponse, from_link),
    methods.SET_CONSENT: (members_pb2.SetConsentResponse, from_consent),
    methods.START_CONTACT_PROOF: (members_pb2.StartContactProofResponse, from_proof),
    methods.UNLINK_ALIAS: (members_pb2.UnlinkAliasResponse, from_unlink),
    methods.ISSUE_PAY_CODE: (members_pb2.IssuePayCodeResponse, from_pay_code),
}


def _outcome(readers: Mapping[str, Reader[Any, A]], request_id: str, result: Any) -> A | Refusal:
    kind = result.WhichOneof("result")
    if kind == "error":
        return read_status(result.error).with_request_id(request_id)
    if kind not in readers:
        raise ValueError("neither an acceptance known here nor a refusal")
    return readers[kind](request_id, getattr(result, kind), None)
