"""`tongdui-settle serve`: wires the service, standard health and reflection, and runs until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from sqlalchemy import Engine

from settlement.partner_calls import PartnerCalls
from settlement.rpc import reconciliation_service
from settlement.rpc.admission import Admission, KeyBook
from settlement.rpc.calls import Gate, Lane
from settlement.rpc.keys import PrivateKey
from settlement.rpc.reconciliation_service import ReconciliationService
from settlement.rpc.service import SERVICE_NAME, SettlementService
from settlement.rpc.signed_answers import ReceiptSigner
from settlement.rpc.transport import SERVER_OPTIONS, ServerCertificate, bind
from settlement.rpc.uploads import UploadLimits, Uploads
from settlement.store.partner_reads import PartnerReads
from settlement.store.reads import DatabaseUnavailable, Reads

SERVICE_NAMES: Final = (SERVICE_NAME, reconciliation_service.SERVICE_NAME)
WORKERS: Final = 8
SPOOLERS: Final = 4
LOADERS: Final = 2
"""Files that are taken in at a time: each holds a connection for as long as its lines take."""
MAX_WAITING_CALLS: Final = 64
PING_SECONDS: Final = 2.0
GRACE_SECONDS: Final = 5.0

_log = logging.getLogger("settlement.server")


@dataclass(frozen=True, slots=True)
class Office:
    """What a server serves: a ledger's database, the name its requests are signed for, and the key of its answers."""

    engine: Engine
    audience: str
    key: PrivateKey
    limits: UploadLimits = field(default_factory=UploadLimits)


async def serve(
    office: Office,
    address: str,
    certificate: ServerCertificate | None,
    stop: asyncio.Event,
    ready: Callable[[int], None],
) -> None:
    """Serves until `stop` is set, telling by the health service whether the database answers.

    `ready` is told the port once calls are answered. On a loop rather than with a thread for each call, so that
    streams which nobody signed, of health and reflection, hold up no call that somebody did. Raises CannotListen.
    """
    reads = Reads(office.engine)
    with (
        _threads("read", WORKERS) as readers,
        _threads("spool", SPOOLERS) as spoolers,
        _threads("load", LOADERS) as loaders,
    ):
        server = grpc.aio.server(options=SERVER_OPTIONS)
        _add_services(server, office, reads, Workers(readers, spoolers, loaders))
        standing = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(standing, server)
        names = (*SERVICE_NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        port = bind(server, address, certificate)
        await _tell_health(standing, reads)
        await server.start()
        ready(port)
        while not await _is_set_within(stop, PING_SECONDS):
            await _tell_health(standing, reads)
        await standing.enter_graceful_shutdown()
        await server.stop(GRACE_SECONDS)


@dataclass(frozen=True, slots=True)
class Workers:
    """Threads by what they do, so that no kind of work waits behind another."""

    readers: ThreadPoolExecutor
    spoolers: ThreadPoolExecutor
    loaders: ThreadPoolExecutor


def _threads(name: str, most: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=most, thread_name_prefix=name)


def _add_services(server: grpc.aio.Server, office: Office, reads: Reads, workers: Workers) -> None:
    admission = Admission(office.audience, KeyBook(reads.keys).find)
    gate = Gate(admission, ReceiptSigner(office.key), Lane(workers.readers, MAX_WAITING_CALLS))
    partner_reads = PartnerReads(office.engine)
    settled = SettlementService(reads, partner_reads)
    reconciled = ReconciliationService(partner_reads, PartnerCalls(office.engine))
    loading = Lane(workers.loaders, office.limits.of_server)
    uploads = Uploads(admission, workers.spoolers, loading, reconciled.load_file, office.limits)
    server.add_generic_rpc_handlers(
        (
            gate.service(SERVICE_NAME, settled.methods()),
            gate.service(reconciliation_service.SERVICE_NAME, reconciled.methods(uploads)),
        )
    )


async def _tell_health(standing: health.aio.HealthServicer, reads: Reads) -> None:
    state: int = health_pb2.HealthCheckResponse.SERVING
    try:
        await asyncio.to_thread(reads.ping)
    except DatabaseUnavailable as trouble:
        _log.warning("the database does not answer: %s", trouble)
        state = health_pb2.HealthCheckResponse.NOT_SERVING
    for name in ("", *SERVICE_NAMES):
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
