"""What the machine can do without us: pgbench on the same server, a bare gRPC echo, bare COPY and UPDATE."""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

import grpc.aio
import psycopg

from benchmarks.pace import Latencies, at_rate, flat_out
from exchange.store.embedded import EmbeddedPostgres

ECHO_PATH: Final = "/tongdui.bench.Echo/Echo"
ECHO_RESPONSE_BYTES: Final = 48


def pgbench_tps(cluster: EmbeddedPostgres, seconds: int, runs: int, scale: int = 50) -> float:
    """TPC-B transactions a second, simple protocol, 8 clients: the median of `runs` runs."""
    url = cluster.url_of("pgbench")
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS pgbench")
        connection.execute("CREATE DATABASE pgbench")
    program = str(cluster.binary("pgbench"))
    subprocess.run([program, "-i", "-q", "-s", str(scale), url], check=True, capture_output=True)
    rates = []
    for _ in range(runs):
        command = [program, "-M", "simple", "-c", "8", "-j", "2", "-T", str(seconds), url]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = re.search(r"tps = ([\d.]+)", printed)
        if found is None:
            raise RuntimeError(f"pgbench printed no tps: {printed}")
        rates.append(float(found[1]))
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE pgbench")
    return statistics.median(rates)


class EchoServer:
    """A bare grpc.aio unary server in a process of its own: bytes in, as many bytes out as a Burn's answer."""

    def __enter__(self) -> EchoServer:
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


async def echo_rate(
    address: str, body: bytes, metadata: tuple[tuple[str, str], ...], in_flight: int, seconds: float
) -> float:
    """Echoes a second with `in_flight` calls under way, each with a Burn's bytes and metadata."""
    async with grpc.aio.insecure_channel(address) as channel:
        return await flat_out(_echo(channel, body, metadata), in_flight, seconds)


async def echo_latencies(
    address: str, body: bytes, metadata: tuple[tuple[str, str], ...], rate: float, seconds: float
) -> Latencies:
    """Latencies of echoes sent at a fixed rate."""
    async with grpc.aio.insecure_channel(address) as channel:
        return await at_rate(_echo(channel, body, metadata), rate, seconds)


def _echo(
    channel: grpc.aio.Channel, body: bytes, metadata: tuple[tuple[str, str], ...]
) -> Callable[[], Awaitable[object]]:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(ECHO_PATH)

    async def once() -> object:
        return await call(body, metadata=metadata)

    return once


async def _serve_echo() -> None:
    answer = bytes(ECHO_RESPONSE_BYTES)
    trailing: tuple[tuple[str, str], ...] = (
        ("content-digest", "x" * 55),
        ("signature-input", "x" * 190),
        ("signature", "x" * 94),
    )

    async def echo(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        context.set_trailing_metadata(trailing)
        return answer

    service, method = ECHO_PATH.strip("/").split("/")
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(echo)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)  # the parent reads the port here
    await server.wait_for_termination()


if __name__ == "__main__":
    started = time.monotonic()
    asyncio.run(_serve_echo())
