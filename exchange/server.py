"""Runs a hub from the first check of its database to the last answer."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from exchange.metrics import Metrics
from exchange.rpc.calls import MAX_BATCH_MESSAGE
from exchange.rpc.lanes import HubLanes, open_lanes
from exchange.settings import Address, CannotListen, Settings
from exchange.store.embedded import Keeper
from exchange.store.engine import check_durability, migrate, open_engine
from exchange.store.failures import without_values
from exchange.wiring import Database, wire

STOP_SECONDS: Final = 10.0
"""How long running calls may take to finish when the hub stops."""

PROBE_SECONDS: Final = 1.0

EMBEDDED_SECONDS: Final = 0.5
"""How often the embedded server is looked after."""

MAX_ANSWER: Final = 16 * 1024 * 1024
"""What an adapter takes: room for a full page of entries with many legs each."""

SWITCH_SECONDS: Final = 0.0005
"""How long a batch's thread may keep the interpreter from the loop that answers: a tenth of the default."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_BATCH_MESSAGE + 4096),
    ("grpc.max_send_message_length", MAX_ANSWER),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # identity alone: digests are over uncompressed bytes
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.max_concurrent_streams", 1024),
    ("grpc.enable_channelz", 0),  # kept for every call, and no service here shows it
    ("grpc.so_reuseport", 0),  # two hubs on one port by mistake must fail, not share
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)

_log = logging.getLogger(__name__)


async def serve(
    settings: Settings, database_url: str, embedded: Keeper | None, ready: Callable[[str], None]
) -> None:
    """Runs the hub until SIGTERM or SIGINT. `ready` is told the address once calls are answered.

    An `embedded` server that ends meanwhile is started again; raises `EmbeddedPostgresError` where it can't be.
    """
    stop = _stop_asked()
    await asyncio.to_thread(check_durability, database_url)
    await asyncio.to_thread(migrate, database_url)
    if stop.is_set():
        return
    engine = open_engine(database_url)
    lanes = open_lanes()
    try:
        await _serve(Database(database_url, engine, embedded), settings, lanes, stop, ready)
    finally:
        lanes.close()
        engine.dispose()


async def _serve(
    database: Database,
    settings: Settings,
    lanes: HubLanes,
    stop: asyncio.Event,
    ready: Callable[[str], None],
) -> None:
    metrics = Metrics()
    hub = await asyncio.to_thread(wire, database, settings, lanes, metrics)
    await hub.directory.renew()
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers(tuple(hub.gate.service(name, it) for name, it in hub.services.items()))
    standing = _Standing(tuple(hub.services))
    health_pb2_grpc.add_HealthServicer_to_server(standing.servicer, server)
    reflection.enable_server_reflection((*hub.services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    if settings.metrics_listen is not None:
        _serve_metrics(metrics, settings.metrics_listen)
    port = _listen(server, settings)
    await server.start()
    await standing.set(True)
    _tune_interpreter()
    ready(f"{settings.listen.host}:{port}")
    background = [
        asyncio.create_task(hub.directory.keep_current()),
        asyncio.create_task(hub.housekeeper.run()),
        asyncio.create_task(hub.watch.run()),
        asyncio.create_task(standing.watch(lambda: lanes.probe.run(hub.probe))),
    ]
    try:
        await _stop_or_loss(stop, database.embedded)
    finally:
        _log.info("stopping")
        await standing.set(False)
        hub.watch.stop()
        await server.stop(STOP_SECONDS)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await hub.batcher.stop()
        _log.info("stopped")


def _tune_interpreter() -> None:
    """Large batches make tens of thousands of objects that die with them, and no cycles worth looking for often."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def _serve_metrics(metrics: Metrics, address: Address) -> None:
    try:
        metrics.serve(address)
    except OSError as failure:
        raise CannotListen(f"{address}: {failure.strerror}") from failure


def _listen(server: grpc.aio.Server, settings: Settings) -> int:
    try:
        return _bind(server, settings)
    except RuntimeError as failure:
        tls = "" if settings.certificate is None else ", or the certificate and its key are none"
        raise CannotListen(f"{settings.listen}: taken or not an address of this machine{tls}") from failure


def _bind(server: grpc.aio.Server, settings: Settings) -> int:
    if settings.certificate is None or settings.certificate_key is None:
        return server.add_insecure_port(str(settings.listen))
    authority = settings.client_authority
    credentials = grpc.ssl_server_credentials(
        [(settings.certificate_key.read_bytes(), settings.certificate.read_bytes())],
        None if authority is None else authority.read_bytes(),
        authority is not None,
    )
    return server.add_secure_port(str(settings.listen), credentials)


def _stop_asked() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second ends the process as if there were no hub."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def ask() -> None:
        asked.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, ask)
    return asked


async def _stop_or_loss(stop: asyncio.Event, embedded: Keeper | None) -> None:
    """Returns when asked to stop, and until then keeps the embedded server running."""
    while not stop.is_set():
        if embedded is not None and not embedded.running:
            await asyncio.to_thread(embedded.revive)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), EMBEDDED_SECONDS)


class _Standing:
    """What the standard health service says: SERVING while the database answers."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.servicer = health.aio.HealthServicer()
        self._names = ("", *names)
        self._serving: bool | None = None

    async def set(self, serving: bool) -> None:
        if serving == self._serving:
            return
        self._serving = serving
        response = health_pb2.HealthCheckResponse
        state = response.SERVING if serving else response.NOT_SERVING
        for name in self._names:
            await self.servicer.set(name, state)

    async def watch(self, probe: Callable[[], Awaitable[object]]) -> None:
        """Asks the database every second."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await asyncio.wait_for(probe(), 2 * PROBE_SECONDS)
                await self.set(True)
            except Exception as failure:  # noqa: BLE001  # whatever it is, the database does not answer
                if self._serving:
                    _log.warning("the database does not answer: %s", without_values(failure))
                await self.set(False)
