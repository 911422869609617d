"""The stream of entries: each once and in the ledger's order, as long as its reader keeps the cursor."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise

from merchant_adapter import methods
from merchant_adapter.answers import Entry
from merchant_adapter.channel import AnswerBytes, SignedChannel, parse_answer, prepare_call, readable
from merchant_adapter.errors import Busy, HubError, InvalidRequest, OutcomeUnknown
from merchant_adapter.from_messages import from_entry
from merchant_adapter.prepared import Prepared
from merchant_adapter.reasons import Reason
from tongdui.exchange.v1.journal_service_pb2 import EntryCursor, WatchEntriesRequest, WatchEntriesResponse

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0

_LOST_FOR_GOOD = ("", "UNIMPLEMENTED")
"""Codes of a NO_ANSWER that another try would meet again: what came can't be read, or it is no such hub."""


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the ledger's order."""

    batch_sequence: int
    entry_index: int

    @classmethod
    def of(cls, entry: Entry) -> "Cursor":
        """The place of an entry."""
        return cls(entry.batch_sequence, entry.entry_index)


@dataclass(frozen=True, slots=True)
class WatchedEntries:
    """The next entries, oldest first, and the place to go on from once they are kept.

    `entries` is empty where only the cursor moved on, past entries that are not the caller's.
    """

    entries: tuple[Entry, ...]
    cursor: Cursor


async def watch_entries(
    channel: SignedChannel, after: Cursor | None = None, *, give_up_seconds: float | None = None
) -> AsyncGenerator[WatchedEntries, None]:
    """Entries from after a place on, without end, across broken connections and restarts of the hub.

    The hub holds the next ones back until this is asked for more. Raises HubError for what another try would
    not mend, and the last failure once nothing has come through for `give_up_seconds`.
    """
    cursor = after or Cursor(0, 0)
    pause, heard = FIRST_PAUSE_SECONDS, time.monotonic()
    while True:
        prepared = prepare_call(methods.WATCH_ENTRIES, _request(cursor))
        try:
            async with aclosing(channel.stream(prepared)) as bodies:
                async for body in bodies:
                    page = _page(prepared, body, cursor)
                    cursor = page.cursor
                    yield page
                    pause, heard = FIRST_PAUSE_SECONDS, time.monotonic()
        except (OutcomeUnknown, Busy) as broken:
            silent_seconds = time.monotonic() - heard
            if not _may_pass(broken) or (give_up_seconds is not None and silent_seconds >= give_up_seconds):
                raise
        # Not all at once: every consumer of a hub that stopped comes back.
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # a pause is no secret
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _may_pass(broken: HubError) -> bool:
    if isinstance(broken, Busy) or broken.reason == Reason.HUB_UNAVAILABLE:
        return True
    return broken.reason == Reason.NO_ANSWER and broken.code not in _LOST_FOR_GOOD


def _request(after: Cursor) -> WatchEntriesRequest:
    try:
        place = EntryCursor(batch_sequence=after.batch_sequence, entry_index=after.entry_index)
    except (TypeError, ValueError) as error:
        raise InvalidRequest.of_field("after", str(error)) from error
    return WatchEntriesRequest(after=place)


def _page(prepared: Prepared, body: bytes, after: Cursor) -> WatchedEntries:
    answer = AnswerBytes(body, None)
    message = parse_answer(prepared, answer, WatchEntriesResponse)
    with readable(prepared, answer):
        entries = tuple(from_entry(entry) for entry in message.entries)
        cursor = Cursor(message.cursor.batch_sequence, message.cursor.entry_index)
        places = [after, *(Cursor.of(entry) for entry in entries)]
        in_order = all(place < following for place, following in pairwise(places))
        if not in_order or places[-1] > cursor:
            raise ValueError("entries are out of order")
    return WatchedEntries(entries, cursor)
