"""`tongdui-settle serve`: wires the service, standard health and reflection, and runs until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from settlement.rpc.admission import Admission, KeyBook
from settlement.rpc.service import SERVICE_NAME, Lane, SettlementService
from settlement.rpc.transport import SERVER_OPTIONS, ServerCertificate, bind
from settlement.store.reads import DatabaseUnavailable, Reads

WORKERS: Final = 8
MAX_WAITING_CALLS: Final = 64
PING_SECONDS: Final = 2.0
GRACE_SECONDS: Final = 5.0

_log = logging.getLogger("settlement.server")


async def serve(
    reads: Reads,
    audience: str,
    address: str,
    certificate: ServerCertificate | None,
    stop: asyncio.Event,
    ready: Callable[[int], None],
) -> None:
    """Serves until `stop` is set, telling by the health service whether the database answers.

    `ready` is told the port once calls are answered. On a loop rather than with a thread for each call, so that
    streams which nobody signed, of health and reflection, hold up no call that somebody did. Raises CannotListen.
    """
    with ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="read") as threads:
        server = grpc.aio.server(options=SERVER_OPTIONS)
        admission = Admission(audience, KeyBook(reads.keys).find)
        service = SettlementService(reads, admission, Lane(threads, MAX_WAITING_CALLS))
        server.add_generic_rpc_handlers((service.handler(),))
        standing = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(standing, server)
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        port = bind(server, address, certificate)
        await _tell_health(standing, reads)
        await server.start()
        ready(port)
        while not await _is_set_within(stop, PING_SECONDS):
            await _tell_health(standing, reads)
        await standing.enter_graceful_shutdown()
        await server.stop(GRACE_SECONDS)


async def _tell_health(standing: health.aio.HealthServicer, reads: Reads) -> None:
    state: int = health_pb2.HealthCheckResponse.SERVING
    try:
        await asyncio.to_thread(reads.ping)
    except DatabaseUnavailable as trouble:
        _log.warning("the database does not answer: %s", trouble)
        state = health_pb2.HealthCheckResponse.NOT_SERVING
    for name in ("", SERVICE_NAME):
        await standing.set(name, state)


async def _is_set_within(stop: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set. Only on the main thread's loop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
