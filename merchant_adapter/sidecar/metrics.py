"""Figures of the sidecar for Prometheus. Labels are names of routes and states, never anybody's ids."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from merchant_adapter.outbox.dispatcher import Progress
from merchant_adapter.outbox.records import OutboxStatus
from merchant_adapter.sidecar.context import Figure
from merchant_adapter.sidecar.hub_watch import HubState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "POST"})


class Metrics:
    """One process's figures."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._waiting = Gauge(
            "tongdui_outbox_waiting",
            "Commands without a final answer, dead letters left out",
            registry=registry,
        )
        self._dead = Gauge("tongdui_outbox_dead", "Dead letters", registry=registry)
        self._stored = Gauge("tongdui_outbox_stored_bytes", "Messages of both", registry=registry)
        self._oldest = Gauge(
            "tongdui_outbox_oldest_seconds", "Age of the oldest that waits", registry=registry
        )
        self._settled = Counter(
            "tongdui_outbox_settled", "Commands that the dispatcher settled", ["outcome"], registry=registry
        )
        self._reachable = Gauge("tongdui_hub_reachable", "1: it answered when last asked", registry=registry)
        self._requests = Counter(
            "tongdui_sidecar_requests",
            "HTTP requests answered",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "tongdui_sidecar_request_seconds", "Time to the end of an answer", ["route"], registry=registry
        )
        self._further: dict[str, Gauge] = {}
        self._progress = Progress()

    def seen(self, method: str, route: str, status: int, seconds: float) -> None:
        """An HTTP request was answered."""
        # A method is any text that a caller likes.
        self._requests.labels(method if method in _METHODS else "other", route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def settled(self, progress: Progress) -> None:
        """The dispatcher came further."""
        before, self._progress = self._progress, progress
        for outcome in ("accepted", "refused", "dead"):
            self._settled.labels(outcome).inc(getattr(progress, outcome) - getattr(before, outcome))

    def text(self, status: OutboxStatus, hub: HubState, further: Iterable[Figure]) -> bytes:
        """All of it in Prometheus' text form, with `further` figures of parts that were added."""
        self._waiting.set(status.waiting)
        self._dead.set(status.dead)
        self._stored.set(status.stored_bytes)
        self._oldest.set(status.oldest_seconds)
        self._reachable.set(hub is HubState.REACHABLE)
        for one in further:
            if one.name not in self._further:
                self._further[one.name] = Gauge(one.name, one.about, registry=self._registry)
            self._further[one.name].set(one.value)
        return generate_latest(self._registry)
