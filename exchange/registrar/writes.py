"""Each write once, whoever repeats it: the answer is recorded in the transaction of the change it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import ARRAY, Connection, Engine, Text, any_, insert, literal, select, text

from exchange.core.evidence import Call
from exchange.store.save import NO_ENTRY, call_id_of
from exchange.store.tables import BATCH_IDS, CALLS, REQUESTS
from exchange.store.transactions import run_transaction

_T = TypeVar("_T")


class RegistrarRefusal(Exception):
    """The registrar says no; nothing was written and the request id stays free.

    `reason` is spelled as in `error_reason.proto`; `metadata` holds the figures that explain it.
    """

    def __init__(self, reason: str, **metadata: str) -> None:
        """Takes the reason and its figures as text."""
        super().__init__(reason)
        self.reason = reason
        self.metadata = metadata


class Asked(NamedTuple):
    """One decision asked for: its request id and the fingerprint of its fields."""

    request_id: str
    fingerprint: bytes


class Write(NamedTuple):
    """A write of one call: what kind it is, which decision it asks for, and the call as evidence."""

    kind: str
    asked: Asked
    call: Call


class Decided(NamedTuple):
    """A decision on record, with the bytes of its answer."""

    asked: Asked
    answer: bytes


class Answered(NamedTuple):
    """The bytes of an answer, and whether they were given before."""

    answer: bytes
    replayed: bool


def write_once(
    engine: Engine, write: Write, work: Callable[[Connection], _T], encode: Callable[[_T], bytes]
) -> Answered:
    """The answer: of `work`, done now and recorded with it, or of the first time it was asked.

    A repeat is answered before any rule is looked at. Raises `RegistrarRefusal` (REQUEST_ID_REUSED, or what
    `work` refuses), which is not recorded, or `StoreUnavailable`.
    """

    def attempt(connection: Connection) -> Answered:
        known = read_answer(connection, write)
        if known is not None:
            return known
        answer = encode(work(connection))
        record(connection, write.kind, write.call, [Decided(write.asked, answer)])
        return Answered(answer, replayed=False)

    return run_transaction(engine, attempt)


def read_answer(connection: Connection, write: Write) -> Answered | None:
    """The answer the write was given before, if it was. Raises REQUEST_ID_REUSED."""
    known = read_known(connection, write.call.partner_id, [write.asked.request_id])
    return find_answer(known, write.asked)


def find_answer(known: Mapping[str, Decided], asked: Asked) -> Answered | None:
    """The known answer to the same request, if there is one. Raises REQUEST_ID_REUSED."""
    decided = known.get(asked.request_id)
    if decided is None:
        return None
    if decided.asked != asked:
        raise RegistrarRefusal("REQUEST_ID_REUSED")
    return Answered(decided.answer, replayed=True)


def read_known(connection: Connection, partner_id: int, request_ids: Sequence[str]) -> dict[str, Decided]:
    """The decisions that these request ids were used for."""
    columns = REQUESTS.c
    rows = connection.execute(
        select(columns.request_id, columns.fingerprint, columns.answer).where(
            columns.partner_id == partner_id,
            columns.request_id == any_(literal(list(request_ids), ARRAY(Text))),
        )
    )
    return {row[0]: Decided(Asked(row[0], bytes(row[1])), bytes(row[2])) for row in rows}


_RECORD: Final = text(
    """
INSERT INTO exchange.requests (partner_id, request_id, fingerprint, accepted, batch_id, entry_index, call_id,
    kind, reference, part, answer)
SELECT :partner_id, request_id, fingerprint, true, :batch_id, :entry_index, :call_id, :kind, '', 0, answer
FROM unnest(CAST(:request_ids AS text[]), CAST(:fingerprints AS bytea[]), CAST(:answers AS bytea[]))
    AS new (request_id, fingerprint, answer)"""
)


def record(connection: Connection, kind: str, call: Call, decisions: Sequence[Decided]) -> None:
    """Records new decisions and the call that brought them, under a batch id that has no batch."""
    batch_id = connection.execute(select(BATCH_IDS.next_value())).scalar_one()
    call_id = call_id_of(batch_id, 0)
    connection.execute(insert(CALLS).values(call_id=call_id, **call._asdict()))
    ordered = sorted(decisions)  # two calls with the same ids meet at the first of them, not in a circle
    connection.execute(
        _RECORD,
        {
            "partner_id": call.partner_id,
            "batch_id": batch_id,
            "entry_index": NO_ENTRY,
            "call_id": call_id,
            "kind": kind,
            "request_ids": [it.asked.request_id for it in ordered],
            "fingerprints": [it.asked.fingerprint for it in ordered],
            "answers": [it.answer for it in ordered],
        },
    )
