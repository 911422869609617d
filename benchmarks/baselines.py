"""What the machine can do without us: pgbench on the same server, a bare gRPC echo, bare COPY and UPDATE."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Self

import grpc.aio
import psycopg

from benchmarks.pace import Latencies, at_rate, flat_out
from exchange.store.embedded import EmbeddedPostgres
from tongdui.signing import HUB_OWNER, key_id, receipt_params

ECHO_PATH: Final = "/tongdui.bench.Echo/Echo"
ECHO_RESPONSE_BYTES: Final = 48
ECHO_TIMEOUT_SECONDS: Final = 30.0

EchoRequests = Iterator[tuple[bytes, tuple[tuple[str, str], ...]]]
"""Messages and metadata of real Burns: every call has its own digest and signature, as signed calls have."""


class Pgbench:
    """TPC-B of pgbench in a database of its own on the same server, while it is open: simple protocol, 8 clients."""

    def __init__(self, cluster: EmbeddedPostgres, scale: int = 50) -> None:
        """`scale` is pgbench's: 100,000 accounts each."""
        self._cluster = cluster
        self._url = cluster.url_of("pgbench")
        self._scale = scale

    def __enter__(self) -> Self:
        """Fills the database."""
        with psycopg.connect(self._cluster.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE pgbench")
        self._run("-i", "-q", "-s", str(self._scale))
        return self

    def __exit__(self, *_: object) -> None:
        """Drops the database."""
        with psycopg.connect(self._cluster.url, autocommit=True) as connection:
            connection.execute("DROP DATABASE pgbench")

    def tps(self, seconds: int) -> float:
        """Transactions a second, over so many."""
        printed = self._run("-M", "simple", "-c", "8", "-j", "2", "-T", str(seconds))
        found = re.search(r"tps = ([\d.]+)", printed)
        if found is None:
            raise RuntimeError(f"pgbench printed no tps: {printed}")
        return float(found[1])

    def _run(self, *arguments: str) -> str:
        command = [str(self._cluster.binary("pgbench")), *arguments, self._url]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class EchoServer:
    """A bare grpc.aio unary server in a process of its own: bytes in, as many bytes out as a Burn's answer."""

    def __enter__(self) -> Self:
        """Starts it and waits for its port."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.baselines"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait()


async def echo_rate(address: str, requests: EchoRequests, in_flight: int, seconds: float) -> float:
    """Echoes a second with `in_flight` calls under way."""
    async with grpc.aio.insecure_channel(address) as channel:
        return await flat_out(_echo(channel, requests), in_flight, seconds)


async def echo_latencies(address: str, requests: EchoRequests, rate: float, seconds: float) -> Latencies:
    """Latencies of echoes sent at a fixed rate."""
    async with grpc.aio.insecure_channel(address) as channel:
        return await at_rate(_echo(channel, requests), rate, seconds)


def _echo(channel: grpc.aio.Channel, requests: EchoRequests) -> Callable[[], Awaitable[object]]:
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(ECHO_PATH)

    async def once() -> object:
        body, metadata = next(requests)
        call = method(body, metadata=metadata, timeout=ECHO_TIMEOUT_SECONDS)
        answer = await call
        await call.trailing_metadata()  # a receipt has to be read as well
        return answer

    return once


async def _serve_echo() -> None:
    answer = bytes(ECHO_RESPONSE_BYTES)
    receipts = itertools.cycle([_receipt_like() for _ in range(5_000)])

    async def echo(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        context.set_trailing_metadata(next(receipts))
        return answer

    service, method = ECHO_PATH.strip("/").split("/")
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(echo)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)  # the parent reads the port here
    await server.wait_for_termination()


def _receipt_like() -> tuple[tuple[str, str], ...]:
    """Trailing metadata of a receipt's size: a digest and a signature that no header compression knows."""
    digest, signature = (base64.b64encode(os.urandom(size)).decode() for size in (32, 64))
    params = receipt_params(1_767_225_600, key_id(HUB_OWNER, bytes(32)))
    return (
        ("content-digest", f"sha-256=:{digest}:"),
        ("signature-input", f"hub={params}"),
        ("signature", f"hub=:{signature}:"),
    )


if __name__ == "__main__":
    asyncio.run(_serve_echo())
