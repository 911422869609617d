"""A peer of the adapter that behaves as a test tells it to: real gRPC, real signatures, no ledger behind it."""

from __future__ import annotations  # the types of grpc are generic only in their stubs

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from merchant_adapter import HubKeys, Key
from merchant_adapter.keys import verifies
from tongdui.signing import (
    SignedRequest,
    content_digest,
    parse_request,
    receipt_base,
    receipt_entries,
    receipt_params,
)

AUDIENCE = "hub.example/test"
HUB_KEY = Key("hub", bytes(range(32)))
HUB_KEYS = HubKeys({HUB_KEY.key_id: HUB_KEY.public_key})
CAFE_KEY = Key("cafe", bytes(range(1, 33)))

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the hub received it, its signature verified."""

    path: str
    body: bytes
    signed: SignedRequest


@dataclass(frozen=True, slots=True)
class Reply:
    """What the hub does: accepts with `body`, or refuses with `code` and the status bytes `details`.

    `spoil` is what becomes of the trailing metadata on their way.
    """

    body: bytes = b""
    code: grpc.StatusCode = grpc.StatusCode.OK
    details: bytes | None = None
    has_receipt: bool = True
    spoil: Callable[[Metadata], Metadata] = field(default=lambda entries: entries)


def accepted(message: Message) -> Reply:
    return Reply(body=message.SerializeToString())


def refused(code: grpc.StatusCode, reason: str, **metadata: str) -> Reply:
    return Reply(code=code, details=status(code, reason, **metadata).SerializeToString())


def status(code: grpc.StatusCode, reason: str, **metadata: str) -> Status:
    made = Status(code=code.value[0], message=f"the hub says {reason}")
    add_detail(made, ErrorInfo(reason=reason, domain="tongdui", metadata=metadata))
    return made


def add_detail(made: Status, detail: Message) -> None:
    packed = Any()
    packed.Pack(detail)
    made.details.append(packed)


def receipt_for(call: Call, answer: bytes, key: Key = HUB_KEY) -> Metadata:
    digest, created = content_digest(answer), call.signed.created + 1
    params = receipt_params(created, key.key_id)
    base = receipt_base(digest, call.path, call.signed.digest_text, call.signed.params_text, params)
    return receipt_entries(digest, params, key.sign(base))


class FakeHub:
    """Verifies each call's signature, as a hub does, and answers what `reply` says. `calls` keeps them."""

    def __init__(self, reply: Callable[[Call], Reply], partner_key: Key = CAFE_KEY) -> None:
        self.reply = reply
        self.calls: list[Call] = []
        self.address = ""
        self._partner_key = partner_key

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        def answer(body: bytes, context: grpc.ServicerContext) -> bytes:
            return self._answer(details.method, body, context)

        return grpc.unary_unary_rpc_method_handler(answer)

    def _answer(self, path: str, body: bytes, context: grpc.ServicerContext) -> bytes:
        signed = parse_request(tuple(context.invocation_metadata()))
        assert signed.audience == AUDIENCE
        assert signed.digest_text == content_digest(body)
        assert signed.key_id == self._partner_key.key_id
        assert verifies(self._partner_key.public_key, signed.signature, signed.base(path))
        call = Call(path, body, signed)
        self.calls.append(call)
        reply = self.reply(call)
        trailing: Metadata = ()
        if reply.details is not None:
            trailing += (("grpc-status-details-bin", reply.details),)
        if reply.has_receipt:
            trailing += receipt_for(call, reply.body if reply.details is None else reply.details)
        context.set_trailing_metadata(reply.spoil(trailing))
        if reply.code is not grpc.StatusCode.OK:
            context.set_code(reply.code)
            context.set_details("as the hub's gRPC library puts it")
        return reply.body


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return self._hub.service(details)


@contextlib.contextmanager
def fake_hub(
    reply: Callable[[Call], Reply] | Reply,
    credentials: grpc.ServerCredentials | None = None,
    path: Path | None = None,
    max_streams: int = 1024,
) -> Iterator[FakeHub]:
    """A hub on a free loopback port, or on the unix socket `path`, until the context ends.

    `max_streams` is what it allows side by side on one connection; 1,024 is the real hub's.
    """
    hub = FakeHub(reply if callable(reply) else lambda _call: reply)
    options = (("grpc.max_concurrent_streams", max_streams),)
    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=options)
    server.add_generic_rpc_handlers((_Handler(hub),))
    listen = "127.0.0.1:0" if path is None else f"unix:{path}"
    port = (
        server.add_insecure_port(listen)
        if credentials is None
        else server.add_secure_port(listen, credentials)
    )
    hub.address = f"127.0.0.1:{port}" if path is None else listen
    server.start()
    try:
        yield hub
    finally:
        server.stop(grace=None).wait()
