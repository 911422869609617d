"""JournalService: the ledger clock, the chain of batches, the windows."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import date
from functools import partial
from typing import Final

from exchange.batcher import QueueFull
from exchange.registrar import Registrar
from exchange.rpc.calls import ANYONE, Incoming, Method
from exchange.rpc.errors import CallError, InvalidField, error
from exchange.rpc.explaining import explain
from exchange.rpc.lanes import Lanes
from exchange.rpc.paging import number_in, page_limit, split_page, to_token
from exchange.rpc.reading import MAX_ENTRY_INDEX, from_entry, seen_by
from exchange.rpc.registering import answered, in_thread, noted, to_write
from exchange.rpc.translate import (
    check_range,
    check_text,
    from_date,
    from_timestamp,
    parse,
    to_date,
    to_timestamp,
)
from exchange.store.reads.accounts import read_entry
from exchange.store.reads.explanations import read_bases
from exchange.store.reads.ledger import Ledger, read_clock
from exchange.store.reads.pages import Batch, Window, list_batches, list_windows
from exchange.store.reads.snapshots import Snapshots
from tongdui.exchange.v1 import journal_service_pb2 as messages

SERVICE: Final = "tongdui.exchange.v1.JournalService"

MAX_SEQUENCE: Final = 2**63 - 1
SHA256_BYTES: Final = 32

_OPERATOR: Final = frozenset({"operator"})
_FINANCE: Final = frozenset({"operator", "finance_maker", "finance_checker"})
_READERS: Final = _FINANCE | {"auditor"}
_ENTRY_ID: Final = re.compile(r"(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,9})", re.ASCII)
_CLOCKS: Final[dict[str, messages.GetLedgerResponse.Clock.ValueType]] = {
    "system": messages.GetLedgerResponse.CLOCK_SYSTEM,
    "manual": messages.GetLedgerResponse.CLOCK_MANUAL,
}


class JournalService:
    """Moves the clock, closes and settles windows, shows the chain."""

    def __init__(
        self,
        audience: str,
        registrar: Registrar,
        snapshots: Snapshots,
        lanes: Lanes,
        sweeping: Callable[[], AbstractAsyncContextManager[Callable[[], Awaitable[int]]]],
    ) -> None:
        """Takes the hub's name, who writes, who reads, where, and what lets it alone post everything that fell due."""
        self._lanes = lanes
        self._audience = audience
        self._registrar = registrar
        self._snapshots = snapshots
        self._sweeping = sweeping

    def methods(self) -> tuple[Method, ...]:
        """The rpcs of the service."""
        return (
            Method("GetLedger", ANYONE, self._get_ledger, is_write=False),
            Method("SetLedgerTime", _OPERATOR, self._set_ledger_time, is_write=True),
            Method("CloseWindow", _FINANCE, self._close_window, is_write=True),
            Method("SettleWindow", _FINANCE, self._settle_window, is_write=True),
            Method("ListWindows", _READERS, self._list_windows, is_write=False),
            Method("ListBatches", _READERS, self._list_batches, is_write=False),
            Method("GetEntry", ANYONE, self._get_entry, is_write=False),
        )

    async def _get_ledger(self, incoming: Incoming) -> bytes:
        parse(messages.GetLedgerRequest, incoming.body)
        return await self._lanes.reads.run(
            lambda: from_ledger(self._snapshots.read(read_clock)).SerializeToString()
        )

    async def _set_ledger_time(self, incoming: Incoming) -> bytes:
        """Moves, sweeps, then records the answer, which counts what was swept (`Registrar.move_clock`)."""
        request = parse(messages.SetLedgerTimeRequest, incoming.body)
        write = to_write("set_ledger_time", request.request_id, request, incoming)
        if not request.HasField("ledger_time"):
            raise InvalidField("ledger_time", "must be set")
        ledger_time = from_timestamp("ledger_time", request.ledger_time)
        writes = self._lanes.writes
        async with self._sweeping() as sweep:  # before the move: nobody else is to count what falls due by it
            known = await in_thread(writes, lambda: self._registrar.move_clock(write, ledger_time))
            if known is not None:
                return noted(incoming, known)
            with _busy_is_unknown():
                woken = await sweep()
                answer = messages.SetLedgerTimeResponse(
                    ledger_time=to_timestamp(ledger_time), woken_member_count=woken
                ).SerializeToString(deterministic=True)
                record = partial(self._registrar.record_clock_move, write, answer)
                return await answered(writes, incoming, record)

    async def _close_window(self, incoming: Incoming) -> bytes:
        request = parse(messages.CloseWindowRequest, incoming.body)
        write = to_write("close_window", request.request_id, request, incoming)
        if not request.HasField("window_date"):
            raise InvalidField("window_date", "must be set")
        window_date = from_date("window_date", request.window_date)
        return await answered(
            self._lanes.writes,
            incoming,
            lambda: self._registrar.close_window(write, window_date, self._closed),
        )

    def _closed(self, window: Window) -> bytes:
        # As it was closed, whatever has become of it: the same bytes whenever it is asked again.
        as_closed = window._replace(settled_time=None, certificate_sha256=None)
        made = messages.CloseWindowResponse(window=self._from_window(as_closed))
        return made.SerializeToString(deterministic=True)

    async def _settle_window(self, incoming: Incoming) -> bytes:
        request = parse(messages.SettleWindowRequest, incoming.body)
        write = to_write("settle_window", request.request_id, request, incoming)
        if not request.HasField("window_date"):
            raise InvalidField("window_date", "must be set")
        window_date = from_date("window_date", request.window_date)
        certificate = request.certificate_sha256
        if len(certificate) != SHA256_BYTES:
            raise InvalidField("certificate_sha256", f"must be {SHA256_BYTES} bytes")
        return await answered(
            self._lanes.writes,
            incoming,
            lambda: self._registrar.settle_window(write, window_date, certificate, self._settled),
        )

    def _settled(self, window: Window) -> bytes:
        made = messages.SettleWindowResponse(window=self._from_window(window))
        return made.SerializeToString(deterministic=True)

    async def _list_windows(self, incoming: Incoming) -> bytes:
        request = parse(messages.ListWindowsRequest, incoming.body)
        before, limit = _date_in(request.page_token), page_limit(request.page_size)
        return await self._lanes.reads.run(lambda: self._windows_page(before, limit))

    def _windows_page(self, before: date | None, limit: int) -> bytes:
        rows = self._snapshots.read(lambda it: list_windows(it, before, limit + 1))
        page, last = split_page(rows, limit)
        return messages.ListWindowsResponse(
            windows=[self._from_window(row) for row in page],
            next_page_token=to_token(last.window_date.toordinal()) if last else "",
        ).SerializeToString()

    async def _list_batches(self, incoming: Incoming) -> bytes:
        request = parse(messages.ListBatchesRequest, incoming.body)
        first = check_range("first_sequence", request.first_sequence, 0, MAX_SEQUENCE)
        after, limit = number_in(request.page_token), page_limit(request.page_size)
        if after is not None:
            first = max(first, min(after + 1, MAX_SEQUENCE))
        return await self._lanes.reads.run(lambda: self._batches_page(first, limit))

    def _batches_page(self, first: int, limit: int) -> bytes:
        rows = self._snapshots.read(lambda it: list_batches(it, first, limit + 1))
        page, last = split_page(rows, limit)
        return messages.ListBatchesResponse(
            batches=[from_batch(row) for row in page], next_page_token=to_token(last.sequence) if last else ""
        ).SerializeToString()

    async def _get_entry(self, incoming: Incoming) -> bytes:
        request = parse(messages.GetEntryRequest, incoming.body)
        named = _ENTRY_ID.fullmatch(check_text("entry_id", request.entry_id))
        if named is None:  # ids are opaque to callers: one the hub never gave out names nothing
            raise error("ENTRY_UNKNOWN")
        batch_id, entry_index = int(named[1]), int(named[2])
        if batch_id > MAX_SEQUENCE or entry_index > MAX_ENTRY_INDEX:
            raise error("ENTRY_UNKNOWN")
        posted_by = seen_by(incoming.caller)
        return await self._lanes.reads.run(lambda: self._entry(batch_id, entry_index, posted_by))

    def _entry(self, batch_id: int, entry_index: int, posted_by: int | None) -> bytes:
        found = self._snapshots.read(lambda it: read_entry(it, batch_id, entry_index, posted_by))
        if found is None:
            raise error("ENTRY_UNKNOWN")
        (basis,) = self._snapshots.read(lambda it: read_bases(it, [found]))
        entry = from_entry(found, explain(found, basis))
        return messages.GetEntryResponse(entry=entry).SerializeToString()

    def _from_window(self, window: Window) -> messages.Window:
        return messages.Window(
            window_date=to_date(window.window_date),
            first_sequence=window.first_sequence,
            last_sequence=window.last_sequence,
            last_hash=window.last_hash,
            entry_count=window.entry_count,
            close_time=to_timestamp(window.close_time),
            audience=self._audience,
            settled_time=to_timestamp(window.settled_time) if window.settled_time else None,
            certificate_sha256=window.certificate_sha256 or b"",
        )


@contextmanager
def _busy_is_unknown() -> Iterator[None]:
    """After the clock moved, a full queue is no longer "nothing was decided": the same request goes on."""
    try:
        yield
    except QueueFull as full:
        raise error("HUB_UNAVAILABLE") from full
    except CallError as refused:
        if refused.reason != "HUB_BUSY":
            raise
        raise error("HUB_UNAVAILABLE") from refused


def _date_in(token: str) -> date | None:
    number = number_in(token)
    if number is None:
        return None
    if not 1 <= number <= date.max.toordinal():
        raise InvalidField("page_token", "must be the next_page_token of the page before")
    return date.fromordinal(number)


_TERMS: Final = (
    *("card_notice_seconds", "claw_back", "refund", "grace_days", "pending_days"),
    *("member_daily_burns", "member_daily_points", "terminal_daily_burns", "terminal_daily_points"),
    *("transfer_limit_points", "transfer_daily_points"),
)
"""Constants that have the same name in the database and on the wire."""


def from_ledger(ledger: Ledger) -> messages.GetLedgerResponse:
    """The ledger's constants for the wire."""
    return messages.GetLedgerResponse(
        audience=ledger.audience,
        currency_code=ledger.currency_code,
        minor_unit_digits=ledger.minor_unit_digits,
        time_zone=ledger.time_zone,
        cut_off_seconds=ledger.cut_off_seconds,
        late_limit_seconds=ledger.late_limit_seconds,
        clock=_CLOCKS[ledger.clock],
        ledger_time=to_timestamp(ledger.ledger_time),
        **{name: getattr(ledger, name) for name in _TERMS},
    )


def from_batch(batch: Batch) -> messages.Batch:
    """A link of the chain for the wire."""
    return messages.Batch(
        sequence=batch.sequence,
        batch_id=batch.batch_id,
        digest=batch.digest,
        hash=batch.hash,
        entry_count=batch.entry_count,
        decided_time=to_timestamp(batch.decided_time),
        window_date=to_date(batch.window_date),
    )
