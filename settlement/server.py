"""`tongdui-settle serve`: wires the service, standard health and reflection, and runs until it is told to stop."""

from __future__ import annotations

import logging
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from settlement.rpc.admission import Admission
from settlement.rpc.service import SERVICE_NAME, SettlementService
from settlement.rpc.transport import SERVER_OPTIONS, ServerCertificate, bind
from settlement.store.reads import DatabaseUnavailable, Reads

WORKERS: Final = 8
MAX_WAITING_CALLS: Final = 64
PING_SECONDS: Final = 2.0
GRACE_SECONDS: Final = 5.0

_log = logging.getLogger("settlement.server")


class Server:
    """The gRPC server; a context manager that stops it."""

    def __init__(
        self, reads: Reads, audience: str, address: str, certificate: ServerCertificate | None
    ) -> None:
        """Binds the address. Raises CannotListen."""
        self._reads = reads
        self._health = health.HealthServicer()
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=WORKERS),
            options=SERVER_OPTIONS,
            maximum_concurrent_rpcs=MAX_WAITING_CALLS,
        )
        service = SettlementService(reads, Admission(audience, reads.key))
        self._server.add_generic_rpc_handlers([service.handler()])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        bind(self._server, address, certificate)

    def run(self, stop: threading.Event) -> None:
        """Serves until `stop` is set, telling by the health service whether the database answers."""
        while not stop.wait(PING_SECONDS):
            self._tell_health()

    def _tell_health(self) -> None:
        state: int = health_pb2.HealthCheckResponse.SERVING
        try:
            self._reads.ping()
        except DatabaseUnavailable as trouble:
            _log.warning("the database does not answer: %s", trouble)
            state = health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", SERVICE_NAME):
            self._health.set(name, state)

    def __enter__(self) -> Self:
        self._tell_health()
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._health.enter_graceful_shutdown()
        self._server.stop(GRACE_SECONDS).wait()


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set. Only from the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
