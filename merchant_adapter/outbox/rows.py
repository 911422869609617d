"""Rows of the tables as values, and values as rows."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from merchant_adapter.outbox.admission import Known
from merchant_adapter.outbox.errors import RECOVERY, OutboxDamaged
from merchant_adapter.outbox.frames import digest
from merchant_adapter.outbox.lanes import Waiting
from merchant_adapter.outbox.records import NewCommand, Queued
from merchant_adapter.outbox.tables import Database
from merchant_adapter.outbox.times import to_time
from merchant_adapter.receipts import Receipt

WAITING = """
SELECT number, request_id, member_id, kind, message, digest, attempts, due_ms, untrusted_ms, asked_ms,
    (follows <> '' AND EXISTS (SELECT 1 FROM queue o WHERE o.request_id = queue.follows AND o.state = 'dead'))
    OR EXISTS (SELECT 1 FROM queue d
        WHERE d.state = 'dead' AND d.member_id = queue.member_id AND d.holds_member = 1)
FROM queue WHERE state = 'waiting' AND
"""
"""What `waiting_of` takes; a condition follows."""


def row_of(one: NewCommand) -> dict[str, Any]:
    """The columns of a new command."""
    return {
        "request_id": one.request_id,
        "member_id": one.member_id,
        "kind": one.kind,
        "message": one.message,
        "follows": one.follows,
        "digest": one.digest,
        "accepted_ms": one.accepted_ms,
        "asked_ms": one.asked_ms,
    }


def queued_of(one: NewCommand, known: Mapping[str, Known]) -> Queued:
    """What is said to whoever handed a command in."""
    before = known.get(one.request_id)
    if before is None:
        return Queued(request_id=one.request_id, accepted_time=to_time(one.accepted_ms))
    return Queued(
        request_id=one.request_id,
        accepted_time=to_time(before.accepted_ms),
        state=before.state,
        is_repeat=True,
    )


def waiting_of(row: Iterable[Any]) -> Waiting:
    """A row that `WAITING` selected. Raises OutboxDamaged where its bytes are not those that were stored."""
    (
        number,
        request_id,
        member_id,
        kind,
        message,
        kept,
        attempts,
        due_ms,
        untrusted_ms,
        asked_ms,
        is_behind,
    ) = row
    if digest(kind, message) != kept:
        # SQLite has no checksums: a flipped byte in a message would be signed and posted.
        raise OutboxDamaged(f"{request_id}: the stored bytes are not those that were accepted. {RECOVERY}")
    return Waiting(
        number,
        request_id,
        member_id,
        kind,
        message,
        attempts,
        due_ms / 1000,
        None if untrusted_ms is None else untrusted_ms / 1000,
        bool(is_behind),
        asked_ms / 1000,
    )


def ms_of(seconds: float | None) -> int | None:
    """Unix seconds as the tables have them."""
    return None if seconds is None else int(seconds * 1000)


def receipts_of(database: Database, ids: Iterable[int]) -> Mapping[int, Receipt]:
    """The receipts of these ids."""
    rows = database.query(
        "SELECT id, path, request, request_entries, answer, answer_entries FROM receipts"
        " WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_each(:ids))",
        {"ids": json.dumps([str(one) for one in ids])},
    )
    return {
        number: Receipt(path, request, _entries(sent), answer, _entries(signed))
        for number, path, request, sent, answer, signed in rows
    }


def _entries(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in json.loads(text))
