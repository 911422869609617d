"""A coalition on a running hub, as the tests of the whole system meet it: processes, keys, and calls in the raw.

Partners `cafe`, `books` and `cinema` have one card each, in force since 1 January 2025 (a point per 1.00, F 10,000,
R 9,500, f 200 micros, all of F prefunded, points end with the twelfth month). `cafe` and `books` may attest for
members, `cinema` may not.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import grpc
import psycopg
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

from examples.coalition import (
    CardTerms,
    HubProcess,
    Operators,
    Site,
    open_hub,
    open_operators,
    operator_keys,
    timestamp,
)
from merchant_adapter import Hub, HubKeys, Key, Receipt, new_request_id, verify_receipt
from tests.waiting import WAIT_SECONDS
from tongdui.exchange.v1 import commands_pb2, members_service_pb2
from tongdui.signing import (
    DEFAULT_LIFE_SECONDS,
    RECEIPT_ENTRY_NAMES,
    content_digest,
    request_base,
    request_entries,
    request_params,
)

POINTS: Final = "/tongdui.exchange.v1.PointsService/"
MEMBERS: Final = "/tongdui.exchange.v1.MembersService/"
PARTNERS: Final = "/tongdui.exchange.v1.PartnersService/"
ACCOUNTS: Final = "/tongdui.exchange.v1.AccountsService/"
CARDS: Final = "/tongdui.exchange.v1.RateCardsService/"
JOURNAL: Final = "/tongdui.exchange.v1.JournalService/"
EARN: Final = POINTS + "Earn"
BURN: Final = POINTS + "Burn"
POST_BATCH: Final = POINTS + "PostBatch"

WIDE: Final = members_service_pb2.Consent(
    per_burn_limit_points=1_000_000_000, per_day_limit_points=1_000_000_000
)
CARDS_BEGIN: Final = datetime(2025, 1, 1, tzinfo=UTC)

Entries = tuple[tuple[str, str], ...]
_T = TypeVar("_T")
_Answer = TypeVar("_Answer", bound=Message)

_LEAKS: Final = re.compile(
    r"""Traceback|File\s"|\.py\b|\bline\s\d+,\sin|<class|\bobject\sat\s0x|[A-Za-z]Error\b|Exception
    |\b(?:SELECT|INSERT\sINTO|UPDATE|COPY|FROM)\s+exchange\b|psycopg|sqlalchemy|asyncio|protobuf
    |exchange\.(?:core|store|rpc|registrar|batcher|server|[a-z]+_v1|[a-z]+s\b)
    |/(?:usr|home|root|tmp|var|work|opt)/|site-packages|postgres|localhost|\.sock|_pkey|s_\w+_key\b|violates""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One call as it went by: what was sent, and the message or status that came back."""

    path: str
    request: bytes
    entries: Entries
    code: grpc.StatusCode
    text: str
    body: bytes
    """The response message's bytes, or those of the status; empty where gRPC itself answered."""
    trailing: tuple[tuple[str, str | bytes], ...]

    @property
    def status(self) -> status_pb2.Status:
        assert self.code is not grpc.StatusCode.OK
        return status_pb2.Status.FromString(self.body)

    @property
    def error_info(self) -> error_details_pb2.ErrorInfo:
        """The one ErrorInfo of an error of ours, which also says the same code and text as gRPC does."""
        status = self.status
        assert status.code == self.code.value[0]
        assert status.message == self.text
        return sole_error_info(status)

    @property
    def reason(self) -> str:
        return "" if self.code is grpc.StatusCode.OK else self.error_info.reason

    @property
    def fields(self) -> list[str]:
        """The fields that its BadRequest names."""
        return field_violations(self.status)

    def receipt(self, hub_keys: HubKeys) -> Receipt:
        """Its receipt, verified as an auditor would."""
        found = tuple(
            (name, value)
            for name, value in self.trailing
            if name in RECEIPT_ENTRY_NAMES and isinstance(value, str)
        )
        receipt = Receipt(self.path, self.request, self.entries, self.body, found)
        verify_receipt(receipt, hub_keys)
        return receipt

    @property
    def has_receipt(self) -> bool:
        return any(name in RECEIPT_ENTRY_NAMES for name, _ in self.trailing)

    def check_no_leak(self) -> None:
        """Neither text nor details show how the hub is made."""
        check_no_leak(self.text)
        if self.code is not grpc.StatusCode.OK and self.body:
            check_no_leak(str(self.status))


def sole_error_info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    name = error_details_pb2.ErrorInfo.DESCRIPTOR.full_name
    found = [detail for detail in status.details if detail.TypeName() == name]
    assert len(found) == 1, status
    info = error_details_pb2.ErrorInfo.FromString(found[0].value)
    assert info.domain == "tongdui"
    return info


def field_violations(status: status_pb2.Status) -> list[str]:
    names: list[str] = []
    for detail in status.details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            names += [violation.field for violation in bad.field_violations]
    return names


def check_no_leak(text: str) -> None:
    # The type of a standard detail and of a contract's message are public names.
    public = re.sub(r"type\.googleapis\.com/[\w.]+|tongdui\.exchange\.v1\.\w+", "", text)
    found = _LEAKS.search(public)
    assert found is None, f"{found} in {text!r}"


def signed(
    key: Key,
    path: str,
    body: bytes,
    audience: str,
    *,
    created: int | None = None,
    life: int = DEFAULT_LIFE_SECONDS,
    key_id: str | None = None,
) -> Entries:
    """The entries of a signed request, now and with the key's own id unless told otherwise."""
    begins = int(time.time()) if created is None else created
    params = request_params(begins, begins + life, key_id or key.key_id)
    digest = content_digest(body)
    return request_entries(digest, audience, params, key.sign(request_base(path, digest, audience, params)))


class Wire:
    """A connection of its own that sends what it is given, well-formed or not."""

    def __init__(self, address: str, audience: str) -> None:
        options = (
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", 64 * 1024),
        )
        self._channel = grpc.insecure_channel(address, options)
        self._audience = audience

    def send(
        self,
        path: str,
        body: bytes,
        entries: Iterable[tuple[str, str]] = (),
        *,
        seconds: float = WAIT_SECONDS,
        compression: grpc.Compression | None = None,
    ) -> Answer:
        """Sends these bytes with these entries."""
        sent = tuple(entries)
        stub: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)
        try:
            response, call = stub.with_call(body, metadata=sent, timeout=seconds, compression=compression)
        except grpc.RpcError as error:
            refused = cast("grpc.Call", error)  # which it is, for a call that was begun
            trailing = _pairs(refused.trailing_metadata())
            details = dict(trailing).get("grpc-status-details-bin", b"")
            assert isinstance(details, bytes)
            return Answer(path, body, sent, refused.code(), refused.details() or "", details, trailing)
        return Answer(
            path, body, sent, grpc.StatusCode.OK, "", bytes(response), _pairs(call.trailing_metadata())
        )

    def send_and_cancel(
        self, path: str, body: bytes, entries: Iterable[tuple[str, str]], *, after_seconds: float
    ) -> Answer | None:
        """Sends, and cancels the call after a while; None unless the answer came before that."""
        stub: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)
        sent = tuple(entries)
        call = stub.future(body, metadata=sent, timeout=WAIT_SECONDS)
        try:
            response = call.result(after_seconds)
        except grpc.FutureTimeoutError:
            call.cancel()
            return None
        return Answer(
            path, body, sent, grpc.StatusCode.OK, "", bytes(response), _pairs(call.trailing_metadata())
        )

    def call(self, key: Key, path: str, request: Message | bytes, *, seconds: float = WAIT_SECONDS) -> Answer:
        """Signs and sends."""
        body = request if isinstance(request, bytes) else request.SerializeToString()
        return self.send(path, body, signed(key, path, body, self._audience), seconds=seconds)

    def accepted(self, key: Key, path: str, request: Message, kind: type[_Answer]) -> _Answer:
        """The answer of a call that is to be accepted."""
        answer = self.call(key, path, request)
        assert answer.code is grpc.StatusCode.OK, (answer.code, answer.text)
        return kind.FromString(answer.body)

    def close(self) -> None:
        self._channel.close()


def _pairs(metadata: Iterable[Any] | None) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((entry[0], entry[1]) for entry in metadata or ())


@dataclass(slots=True)
class Coalition:
    """A site with its running hub, and everybody's keys."""

    site: Site
    hub: HubProcess
    people: Sequence[Key]
    database_url: str
    keys: dict[str, Key] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=lambda: count(1))
    _wire: Wire | None = None

    @property
    def hub_keys(self) -> HubKeys:
        return HubKeys.load(self.site.hub_keys_file)

    @property
    def wire(self) -> Wire:
        """A connection to the hub as it runs now."""
        if self._wire is None:
            self._wire = self.open_wire()
        return self._wire

    def open_wire(self, hub: HubProcess | None = None) -> Wire:
        """Another connection, to another hub where one is given."""
        return Wire((hub or self.hub).address, self.site.audience)

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def operate(self, work: Callable[[Operators], Coroutine[Any, Any, _T]]) -> _T:
        """What both operators do."""

        async def run() -> _T:
            operators = open_operators(self.site, self.hub.address, self.people)
            try:
                return await work(operators)
            finally:
                for person in (operators.first, operators.second):
                    await person.channel.close()

        return asyncio.run(run())

    def open_hub(self, code: str, *, address: str = "", seconds: float = WAIT_SECONDS) -> Hub:
        """A partner's adapter. Call it where an event loop runs."""
        return open_hub(self.site, address or self.hub.address, self.keys[code], seconds)

    def add_partner(self, code: str, *, attests: bool = True, cards: Sequence[CardTerms] = ()) -> Key:
        """A partner with an approved key, and these cards from `CARDS_BEGIN` on."""

        async def work(operators: Operators) -> Key:
            key = await operators.add_partner(code, code.capitalize(), attestation=attests)
            for terms in cards:
                await operators.add_card(code, CARDS_BEGIN, terms)
            return key

        self.keys[code] = self.operate(work)
        return self.keys[code]

    def member(self, *codes: str, points: int = 0) -> str:
        """A new member, linked to these partners with wide consent; `points` are earned at the first."""
        first, *others = codes
        customer_id = f"c-{next(self.numbers)}"
        enrolment = members_service_pb2.EnrollMemberRequest(
            request_id=new_request_id(), customer_id=customer_id, consent=WIDE
        )
        if first == "cinema":
            enrolment.ClearField("consent")
        kind = members_service_pb2.EnrollMemberResponse
        member_id = self.wire.accepted(self.keys[first], MEMBERS + "EnrollMember", enrolment, kind).member_id
        for code in others:
            link = members_service_pb2.LinkAliasRequest(
                request_id=new_request_id(), member_id=member_id, customer_id=customer_id, consent=WIDE
            )
            self.wire.accepted(
                self.keys[code], MEMBERS + "LinkAlias", link, members_service_pb2.LinkAliasResponse
            )
        if points:
            self.wire.accepted(
                self.keys[first], EARN, self.earn(member_id, points=points), commands_pb2.EarnResponse
            )
        return member_id

    def earn(self, member_id: str, /, **changes: Any) -> commands_pb2.EarnRequest:
        """An earn of 10 points that is to be accepted, but for the changes."""
        values = self._common(member_id) | {"points": 10} | changes
        if "eligible_spend_minor" in changes:
            del values["points"]
        return commands_pb2.EarnRequest(**values)

    def burn(self, member_id: str, /, **changes: Any) -> commands_pb2.BurnRequest:
        """A burn of 1 point that is to be accepted where the member has one, but for the changes."""
        return commands_pb2.BurnRequest(**(self._common(member_id) | {"points": 1} | changes))

    def _common(self, member_id: str) -> dict[str, Any]:
        return {
            "request_id": new_request_id(),
            "member_id": member_id,
            "event_time": timestamp(datetime.now(UTC)),
            "store_id": "store-1",
            "terminal_id": "till-1",
            "reference": f"order-{next(self.numbers)}",
        }

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What the database says, or does where it says nothing, seen by its owner."""
        with psycopg.connect(self.database_url) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def kept_port() -> Iterator[int]:
    """A port of 127.0.0.1 for a server that starts once or again: the kernel gives it to nobody else meanwhile.

    Whoever asks for it by number and sets SO_REUSEADDR gets it, as servers do, gRPC's too.
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))  # it never listens
        yield keeper.getsockname()[1]


@contextmanager
def running(site: Site, people: Sequence[Key], database_url: str) -> Iterator[Coalition]:
    """The coalition of an initialised site, as long as the context; its hub and connections end with it."""
    with kept_port() as port:
        coalition = Coalition(site, site.serve(port), people, database_url)
        try:
            yield coalition
        finally:
            coalition.close()
            coalition.hub.stop()


@contextmanager
def another_hub(coalition: Coalition, name: str = "hub-2") -> Iterator[HubProcess]:
    """A second hub process on the same database."""
    with kept_port() as port:
        hub = coalition.site.serve(port, name)
        try:
            yield hub
        finally:
            hub.stop()


def found_coalition(coalition: Coalition) -> None:
    """Makes the three partners."""
    for code in ("cafe", "books", "cinema"):
        coalition.add_partner(code, attests=code != "cinema", cards=[CardTerms()])


def new_site(directory: Path, environment: dict[str, str], *options: str) -> tuple[Site, list[Key]]:
    """`tongdui-hub init`, and the keys of the two operators."""
    site, people = Site(directory, environment=environment), operator_keys()
    site.initialise(people, *options)
    return site, people


def health(address: str, service: str = "") -> str:
    """What the standard health service says."""
    with grpc.insecure_channel(address) as channel:
        check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/grpc.health.v1.Health/Check"
        )
        asked = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        answer = health_pb2.HealthCheckResponse.FromString(check(asked, timeout=WAIT_SECONDS))
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def is_serving(address: str) -> bool:
    return health(address) == "SERVING"


def at_once(calls: Sequence[Callable[[], _T]]) -> list[_T]:
    """What the calls give, each made in a thread of its own and all begun together."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return [future.result() for future in [threads.submit(call) for call in calls]]
