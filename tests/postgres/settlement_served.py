"""Settlement served over a real connection: keys of everybody, signed calls of raw bytes, refusals taken apart."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, cast

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from google.type.date_pb2 import Date
from sqlalchemy import Engine

from settlement.daily_run import DailyRun
from settlement.rpc.keys import PrivateKey
from settlement.rpc.receipts import verify_close
from settlement.rpc.reconciliation_service import SERVICE_NAME as RECONCILIATION_NAME
from settlement.rpc.service import SERVICE_NAME
from settlement.rpc.uploads import UploadLimits
from settlement.server import Office, serve
from settlement.store import feed
from settlement.store.engine import exclusive_run
from tests.settlement_hub import AUDIENCE, DAY_1, DAY_2, DAY_3, HUB_KEYS, PeerHub, PostedLedger
from tests.waiting import WAIT_SECONDS
from tongdui.settlement.v1 import settlement_service_pb2
from tongdui.signing import content_digest, request_base, request_entries, request_params

PARTNER_A = PrivateKey("a", b"a" * 32)
PARTNER_B = PrivateKey("b", b"b" * 32)
SETTLEMENT_KEY = PrivateKey("operator", b"k" * 32)
AUDITOR = PrivateKey("operator", b"u" * 32)
REVOKED = PrivateKey("b", b"r" * 32)
REGISTERED = PrivateKey("b", b"n" * 32)
EXPIRED = PrivateKey("b", b"e" * 32)
ROLELESS = PrivateKey("operator", b"o" * 32)
STRANGER = PrivateKey("b", b"s" * 32)
Metadata = tuple[tuple[str, str], ...]
SETTLEMENT_METHODS = [
    it.name for it in settlement_service_pb2.DESCRIPTOR.services_by_name["SettlementService"].methods
]


def path_of(method: str) -> str:
    name = SERVICE_NAME if method in SETTLEMENT_METHODS else RECONCILIATION_NAME
    return f"/{name}/{method}"


@dataclass(frozen=True, slots=True)
class Service:
    address: str
    channel: grpc.Channel

    def signed(self, key: PrivateKey, method: str, body: bytes, **changes: Any) -> Metadata:
        created = changes.get("created", int(time.time()))
        params = request_params(created, created + changes.get("life", 120), key.key_id)
        digest = content_digest(changes.get("signed_body", body))
        audience = changes.get("audience", AUDIENCE)
        path = path_of(changes.get("signed_method", method))
        return request_entries(
            digest, audience, params, key.sign(request_base(path, digest, audience, params))
        )

    def send(self, method: str, body: bytes, metadata: Metadata) -> bytes:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(path_of(method))
        return call(body, metadata=metadata, timeout=WAIT_SECONDS)

    def upload(self, messages: Iterable[bytes], metadata: Metadata) -> Any:
        """An upload under way: `result()` gives the answer."""
        call: grpc.StreamUnaryMultiCallable[bytes, bytes] = self.channel.stream_unary(
            path_of("UploadPartnerFile")
        )
        return call.future(iter(messages), metadata=metadata, timeout=WAIT_SECONDS)

    def call(self, key: PrivateKey, method: str, request: Message, **changes: Any) -> bytes:
        body = request.SerializeToString()
        return self.send(method, body, self.signed(key, method, body, **changes))


@contextlib.contextmanager
def serving(
    engine: Engine, address: str, limits: UploadLimits | None = None, audience: str = AUDIENCE
) -> Iterator[None]:
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        office = Office(engine, audience, SETTLEMENT_KEY, limits or UploadLimits())
        await serve(office, address, None, stop, lambda _: started.set_result((loop, stop)))

    with ThreadPoolExecutor(max_workers=1) as threads:
        done = threads.submit(asyncio.run, run())
        loop, stop = started.result(timeout=WAIT_SECONDS)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            done.result(timeout=WAIT_SECONDS)


def register_keys(ledger: PostedLedger) -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    for key, roles, state, valid_until in (
        (PARTNER_A, ["partner"], "active", now + day),
        (PARTNER_B, ["partner"], "active", now + day),
        (AUDITOR, ["auditor"], "active", now + day),
        (REVOKED, ["partner"], "revoked", now + day),
        (REGISTERED, ["partner"], "registered", now + day),
        (EXPIRED, ["partner"], "active", now - day),
        (ROLELESS, [], "active", now + day),
    ):
        ledger.connection.execute(
            "INSERT INTO exchange.keys_v1 VALUES (%s, %s, '', %s, %s, %s, %s, %s)",
            (key.key_id, key.owner, key.public_key, roles, state, now - 2 * day, valid_until),
        )


def settle(engine: Engine, ledger: PostedLedger) -> None:
    verify, hub = partial(verify_close, hub_keys=HUB_KEYS, audience=AUDIENCE), PeerHub(ledger)
    with exclusive_run(engine) as connection:
        with connection.begin():
            run = DailyRun(connection, feed.read_ledger(connection))
        for day in (DAY_1, DAY_2):
            run.close(day, hub, verify)
            run.net(day)
            run.certify(day, AUDITOR, verify)
        run.close(DAY_3, hub, verify)


def to_date(day: date) -> Date:
    return Date(year=day.year, month=day.month, day=day.day)


def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, ErrorInfo, Status]:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    failure = cast("grpc.Call", raised.value)
    trailing = dict(failure.trailing_metadata() or ())
    status = Status.FromString(cast("bytes", trailing["grpc-status-details-bin"]))
    infos = [info for detail in status.details if detail.Unpack(info := ErrorInfo())]
    (info,) = infos
    assert info.domain == "tongdui"
    assert status.code == failure.code().value[0]
    return failure.code(), info, status
