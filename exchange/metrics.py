"""Prometheus metrics: how much, how fast, how it ended. No ids, no bodies."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from exchange.batcher import BatchFigures
from exchange.rpc.calls import CallFigures
from exchange.settings import Address

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The hub's figures, in a registry of its own."""

    def __init__(self) -> None:
        """Starts at zero."""
        self.registry = CollectorRegistry()
        registry = self.registry
        self._calls = Counter(
            "tongdui_calls", "Calls by method and outcome", ["method", "outcome"], registry=registry
        )
        self._children: dict[CallFigures, Counter] = {}
        self._commands = Counter("tongdui_commands", "Commands decided", registry=registry)
        self._entries = Counter("tongdui_entries", "Entries posted", registry=registry)
        self._retries = Counter("tongdui_batch_retries", "Batches repeated after a race", registry=registry)
        self._size = Histogram(
            "tongdui_batch_commands",
            "Commands of a batch",
            buckets=(1, 3, 10, 30, 100, 300, 1000),
            registry=registry,
        )
        self._waited = Histogram(
            "tongdui_batch_wait_seconds", "Wait of a batch's first call", buckets=_SECONDS, registry=registry
        )
        self._took = Histogram(
            "tongdui_batch_seconds",
            "Load, plan, save and commit of a batch",
            buckets=_SECONDS,
            registry=registry,
        )

    def call(self, figures: CallFigures) -> None:
        """Counts a call."""
        child = self._children.get(figures)
        if child is None:  # finding it costs more than counting; there are as many as methods times outcomes
            child = self._children[figures] = self._calls.labels(figures.path, figures.outcome)
        child.inc()

    def batch(self, figures: BatchFigures) -> None:
        """Counts a batch."""
        self._commands.inc(figures.command_count)
        self._entries.inc(figures.entry_count)
        self._retries.inc(figures.retry_count)
        self._size.observe(figures.command_count)
        self._waited.observe(figures.waited_seconds)
        self._took.observe(figures.took_seconds)

    def serve(self, address: Address) -> None:
        """Answers GET /metrics from a thread of its own."""
        start_http_server(address.port, address.host, self.registry)
