"""`tongdui.settlement.v1.SettlementService`: statements and certificates, to those who may see them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.type.date_pb2 import Date

from settlement.core.run_state import WindowState
from settlement.rpc.admission import ROLE_PARTNER, Admission, Caller
from settlement.rpc.errors import CallError, internal, invalid_field, unavailable
from settlement.store.reads import DatabaseUnavailable, Reads
from tongdui.settlement.v1 import settlement_service_pb2 as wire

SERVICE_NAME: Final = "tongdui.settlement.v1.SettlementService"
MAX_PAGE_SIZE: Final = 1_000
DEFAULT_PAGE_SIZE: Final = 100

_PARTNER_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_STATES: Final = {
    WindowState.CLOSED: wire.Settlement.STATE_CLOSED,
    WindowState.COMPUTED: wire.Settlement.STATE_COMPUTED,
    WindowState.CERTIFIED: wire.Settlement.STATE_CERTIFIED,
}
_log = logging.getLogger("settlement.rpc")

T = TypeVar("T", bound=Message)
Metadata = tuple[tuple[str, str | bytes], ...]
Context = grpc.aio.ServicerContext[bytes, bytes]


class Lane:
    """Threads for the calls' reads, and a bound on how many calls wait for one."""

    def __init__(self, threads: ThreadPoolExecutor, most_calls: int) -> None:
        """`most_calls` running and waiting."""
        self._threads = threads
        self._free = most_calls

    async def run(self, work: Callable[[], bytes]) -> bytes:
        """What `work` gives, done in a thread. Raises CallError at once where too many wait already."""
        if self._free == 0:
            raise unavailable()
        self._free -= 1
        done = asyncio.get_running_loop().run_in_executor(self._threads, work)
        done.add_done_callback(self._give_back)  # with the thread's end, which a caller may not wait for
        return await done

    def _give_back(self, _: Awaitable[bytes]) -> None:
        self._free += 1


@dataclass(frozen=True, slots=True)
class SettlementService:
    """The methods, over raw bytes: the signature is checked before a message exists."""

    reads: Reads
    admission: Admission
    lane: Lane

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server takes."""
        methods = {
            "ListSettlements": self._method("ListSettlements", self.list_settlements),
            "GetStatement": self._method("GetStatement", self.get_statement),
            "GetCertificate": self._method("GetCertificate", self.get_certificate),
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)

    def list_settlements(self, caller: Caller, body: bytes) -> Message:
        """Business days, newest first. The page token is the last day shown."""
        _require_role(caller)
        request = _parsed(wire.ListSettlementsRequest, body)
        if not 0 <= request.page_size <= MAX_PAGE_SIZE:
            raise invalid_field("page_size", f"expected 1 to {MAX_PAGE_SIZE}, or none")
        size = request.page_size or DEFAULT_PAGE_SIZE
        days = self.reads.days_before(_token_date(request.page_token), size + 1)
        answer = wire.ListSettlementsResponse()
        for day in days[:size]:
            answer.settlements.add(
                window_date=_to_date(day.window.window_date),
                state=_STATES[day.state],
                # Every party's figures together tell a partner of its competitors.
                payable_minor=day.payable_minor if caller.sees_all else 0,
            )
        if len(days) > size:
            answer.next_page_token = days[size - 1].window.window_date.isoformat()
        return answer

    def get_statement(self, caller: Caller, body: bytes) -> Message:
        """One partner's statement; a partner's own only."""
        _require_role(caller)
        request = _parsed(wire.GetStatementRequest, body)
        window_date = _from_date(request.window_date, request.HasField("window_date"))
        partner_id = _whose(caller, request.partner_id)
        statement = self.reads.statement(window_date, partner_id)
        if statement is None:
            raise CallError("SETTLEMENT_UNKNOWN")
        return wire.GetStatementResponse(
            window_date=_to_date(statement.window_date),
            partner_id=statement.party_id,
            opening_minor=statement.opening_minor,
            lines=[
                wire.StatementLine(
                    component=line.component, exact_micros=line.exact_micros, amount_minor=line.amount_minor
                )
                for line in statement.lines
            ],
            net_minor=statement.net_minor,
            closing_minor=statement.closing_minor,
        )

    def get_certificate(self, caller: Caller, body: bytes) -> Message:
        """The certificate, byte for byte. It states every party's figures, so no partner reads it."""
        if not caller.sees_all:
            raise CallError("ROLE_REQUIRED")
        request = _parsed(wire.GetCertificateRequest, body)
        window_date = _from_date(request.window_date, request.HasField("window_date"))
        certificate = self.reads.certificate(window_date)
        if certificate is None:
            raise CallError("SETTLEMENT_UNKNOWN")
        return wire.GetCertificateResponse(certificate=certificate.document)

    def _method(
        self, name: str, answer: Callable[[Caller, bytes], Message]
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        path = f"/{SERVICE_NAME}/{name}"

        def read(metadata: Metadata, body: bytes) -> bytes:
            return answer(self.admission.admit(path, metadata, body), body).SerializeToString()

        async def handle(body: bytes, context: Context) -> bytes:
            metadata: Metadata = tuple(context.invocation_metadata() or ())
            try:
                return await self.lane.run(partial(read, metadata, body))
            except CallError as error:
                problem = error
            except DatabaseUnavailable:
                _log.warning("%s: the database does not answer", name)
                problem = unavailable()
            except Exception:  # noqa: BLE001 - gRPC would send the exception's text to the caller
                problem, incident_id = internal()
                _log.exception("%s: incident %s", name, incident_id)
            await _refuse(context, problem)
            raise AssertionError("abort raises")

        # No serialisers: bytes in, bytes out.
        return grpc.unary_unary_rpc_method_handler(handle)


async def _refuse(context: Context, problem: CallError) -> None:
    context.set_trailing_metadata((("grpc-status-details-bin", problem.status.SerializeToString()),))
    await context.abort(problem.code, problem.status.message)


def _require_role(caller: Caller) -> None:
    if not caller.sees_all and ROLE_PARTNER not in caller.roles:
        raise CallError("ROLE_REQUIRED")


def _whose(caller: Caller, partner_id: str) -> str:
    """The partner whose statement is asked for; a partner can only mean itself, whoever else it names."""
    if not caller.sees_all:
        if partner_id not in ("", caller.owner):
            raise CallError("ROLE_REQUIRED")
        return caller.owner
    if _PARTNER_ID.fullmatch(partner_id) is None:
        raise invalid_field("partner_id", "required, the id of a partner")
    return partner_id


def _parsed(message_type: type[T], body: bytes) -> T:
    try:
        message = message_type.FromString(body)
    except DecodeError:
        raise invalid_field("request", f"not a {message_type.DESCRIPTOR.name}") from None
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        raise invalid_field("request", "has a field this version does not know")
    return message


def _from_date(day: Date, given: bool) -> date:
    if not given:
        raise invalid_field("window_date", "required")
    try:
        return date(day.year, day.month, day.day)
    except (ValueError, OverflowError):
        raise invalid_field("window_date", "not a calendar day") from None


def _to_date(day: date) -> Date:
    return Date(year=day.year, month=day.month, day=day.day)


def _token_date(token: str) -> date | None:
    if not token:
        return None
    try:
        return date.fromisoformat(token)
    except ValueError:
        raise invalid_field("page_token", "not a token of an earlier page") from None
