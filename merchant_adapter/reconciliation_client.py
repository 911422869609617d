"""The asynchronous methods of `ReconciliationService`: a partner's files, what differs, and disputes about it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from google.protobuf.message import Message

from merchant_adapter import methods
from merchant_adapter.channel import AnswerBytes, SignedChannel, parse_answer, prepare_call, readable
from merchant_adapter.errors import InvalidRequest
from merchant_adapter.from_settlement import (
    break_of,
    from_breaks,
    from_dispute,
    from_disputes,
    from_file,
    from_history,
    from_reconciliation,
)
from merchant_adapter.keys import FilePath
from merchant_adapter.partner_file import FileFormat
from merchant_adapter.prepared import Prepared
from merchant_adapter.receipts import Receipt
from merchant_adapter.request_ids import new_request_id
from merchant_adapter.settlement_values import (
    BreakHistory,
    BreakPage,
    Commented,
    Disputed,
    DisputePage,
    Evidence,
    FileAccepted,
    Reconciliation,
)
from merchant_adapter.to_settlement import measured, message_of, to_date, to_evidence, upload_messages
from tongdui.settlement.v1 import reconciliation_service_pb2 as reconciling

UPLOAD_TIMEOUT_SECONDS = 900.0
"""For a whole file, and for settlement to take it in."""

T = TypeVar("T", bound=Message)
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class BreakQuery:
    """Which breaks: all that are set must fit. `state` and `type` as `Break` has them."""

    window_date: date | None = None
    partner_id: str = ""
    state: str = ""
    type: str = ""
    unresolved: bool = False


class ReconciliationCalls:
    """What `Settlement` says to `ReconciliationService`, and how it says anything."""

    def __init__(self, channel: SignedChannel) -> None:
        self.channel = channel

    async def upload_partner_file(
        self,
        file: bytes | FilePath,
        business_date: date,
        file_format: FileFormat = FileFormat.CSV,
        *,
        control: bytes = b"",
        request_id: str = "",
        deadline_seconds: float = UPLOAD_TIMEOUT_SECONDS,
    ) -> FileAccepted:
        """Hands in the partner's record of one business day, from memory or from a file on disk.

        A file is read twice: for its SHA-256, which is signed, and to be sent. The file that counts, sent again, gets
        the same answer; another one takes its place as long as the day's window is not certified. `control` is the
        control record of a mapped file. Raises OSError where a file cannot be read.
        """
        byte_count, sha256 = await asyncio.to_thread(measured, file)
        request_id = request_id or new_request_id()
        header = message_of(
            reconciling.UploadHeader,
            request_id=request_id,
            business_date=to_date(business_date),
            format=reconciling.FileFormat.Value(f"FILE_FORMAT_{FileFormat(file_format)}"),
            byte_count=byte_count,
            sha256=sha256,
            control=control,
        )
        first = reconciling.UploadPartnerFileRequest(header=header)
        prepared = Prepared(methods.UPLOAD_PARTNER_FILE, first.SerializeToString(), (request_id,))
        answer = await self.channel.upload(prepared, upload_messages(file), deadline_seconds=deadline_seconds)
        message = parse_answer(prepared, answer, reconciling.UploadPartnerFileResponse)
        with readable(prepared, answer):
            return FileAccepted(message.request_id, from_file(message.file), answer.receipt)

    async def reconciliation(self, window_date: date, *, partner_id: str = "") -> Reconciliation:
        """How the partner's file of a day compares with the hub's journal."""
        request = message_of(
            reconciling.GetReconciliationRequest, window_date=to_date(window_date), partner_id=partner_id
        )
        return await self._read(
            methods.GET_RECONCILIATION, request, reconciling.GetReconciliationResponse, from_reconciliation
        )

    async def breaks(
        self, query: BreakQuery | None = None, *, page_size: int = 100, page_token: str = ""
    ) -> BreakPage:
        """A page (1 to 1,000) of breaks, oldest first."""
        wanted = query or BreakQuery()
        state = f"STATE_{wanted.state or 'UNSPECIFIED'}"
        if state not in reconciling.Break.State.keys():  # noqa: SIM118 - not a dict
            raise InvalidRequest.of_field("state", "not a state of a break")
        request = message_of(
            reconciling.ListBreaksRequest,
            partner_id=wanted.partner_id,
            window_date=to_date(wanted.window_date) if wanted.window_date else None,
            state=reconciling.Break.State.Value(state),
            type=wanted.type,
            unresolved=wanted.unresolved,
            page_size=page_size,
            page_token=page_token,
        )
        return await self._read(methods.LIST_BREAKS, request, reconciling.ListBreaksResponse, from_breaks)

    async def break_history(self, break_id: int) -> BreakHistory:
        """A break with all that was done about it."""
        request = message_of(reconciling.GetBreakRequest, break_id=break_id)
        return await self._read(methods.GET_BREAK, request, reconciling.GetBreakResponse, from_history)

    async def comment(
        self, break_id: int, text: str, *, evidence: Evidence | None = None, request_id: str = ""
    ) -> Commented:
        """Comments on one of the partner's breaks."""
        request = message_of(
            reconciling.CommentOnBreakRequest,
            request_id=request_id or new_request_id(),
            break_id=break_id,
            text=text,
            evidence=to_evidence(evidence),
        )

        def read(message: reconciling.CommentOnBreakResponse, receipt: Receipt | None) -> Commented:
            return Commented(message.request_id, break_of(message), receipt)

        return await self._proven(methods.COMMENT_ON_BREAK, request, reconciling.CommentOnBreakResponse, read)

    async def open_dispute(
        self,
        break_id: int,
        against: str,
        claim: str,
        *,
        evidence: Evidence | None = None,
        request_id: str = "",
    ) -> Disputed:
        """Makes one of the partner's breaks a dispute with another partner."""
        request = message_of(
            reconciling.OpenDisputeRequest,
            request_id=request_id or new_request_id(),
            break_id=break_id,
            against=against,
            claim=claim,
            evidence=to_evidence(evidence),
        )
        return await self._proven(methods.OPEN_DISPUTE, request, reconciling.OpenDisputeResponse, _disputed)

    async def answer_dispute(
        self, dispute_id: int, text: str, *, evidence: Evidence | None = None, request_id: str = ""
    ) -> Disputed:
        """Answers a dispute that was opened against the partner, before its deadline."""
        request = message_of(
            reconciling.AnswerDisputeRequest,
            request_id=request_id or new_request_id(),
            dispute_id=dispute_id,
            text=text,
            evidence=to_evidence(evidence),
        )
        return await self._proven(
            methods.ANSWER_DISPUTE, request, reconciling.AnswerDisputeResponse, _disputed
        )

    async def disputes(self, *, state: str = "", page_size: int = 100, page_token: str = "") -> DisputePage:
        """A page (1 to 1,000) of the disputes that the partner opened or that are against it, oldest first."""
        name = f"STATE_{state or 'UNSPECIFIED'}"
        if name not in reconciling.Dispute.State.keys():  # noqa: SIM118 - not a dict
            raise InvalidRequest.of_field("state", "not a state of a dispute")
        request = message_of(
            reconciling.ListDisputesRequest,
            state=reconciling.Dispute.State.Value(name),
            page_size=page_size,
            page_token=page_token,
        )
        return await self._read(
            methods.LIST_DISPUTES, request, reconciling.ListDisputesResponse, from_disputes
        )

    async def _read(self, path: str, request: Message, kind: type[T], read: Callable[[T], A]) -> A:
        prepared = prepare_call(path, request)
        answer = await self.channel.send(prepared)
        return _value(prepared, answer, kind, read)

    async def _proven(
        self, path: str, request: Message, kind: type[T], read: Callable[[T, Receipt | None], A]
    ) -> A:
        prepared = prepare_call(path, request)
        answer = await self.channel.send(prepared)
        return _value(prepared, answer, kind, lambda message: read(message, answer.receipt))


def _value(prepared: Prepared, answer: AnswerBytes, kind: type[T], read: Callable[[T], A]) -> A:
    message = parse_answer(prepared, answer, kind)
    with readable(prepared, answer):
        return read(message)


def _disputed(
    message: reconciling.OpenDisputeResponse | reconciling.AnswerDisputeResponse, receipt: Receipt | None
) -> Disputed:
    return Disputed(message.request_id, from_dispute(message.dispute), receipt)
