"""Decisions become the bytes that are recorded, signed and sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from exchange.batcher import Answer
from exchange.core.book import Book
from exchange.core.commands import Command
from exchange.core.decisions import Accepted, Decision, Refused, Rejected, Repeated, RepeatedHere
from exchange.core.ids import entry_text
from exchange.rpc.errors import refusal_status
from exchange.rpc.translate import to_date, to_timestamp
from tongdui.exchange.v1 import commands_pb2

_RESULT_TAG: Final = b"\x0a"  # PostBatchResponse.results, field 1, length-delimited
_RESULT_FIELDS: Final = {"earn": b"\x0a", "burn": b"\x12"}  # CommandResult.earn, .burn
_ERROR_FIELD: Final = b"\x7a"  # CommandResult.error, field 15


def encode(commands: Sequence[Command], decisions: Sequence[Decision], book: Book) -> list[Answer]:
    """One answer a decision, in order."""
    decided_time = to_timestamp(book.decided_time)
    answers: list[Answer] = []
    for command, decision in zip(commands, decisions, strict=True):
        if isinstance(decision, Accepted):
            answer = Answer(command.kind, True, False, _accepted(decision, decided_time, book))
        elif isinstance(decision, Repeated):
            answer = Answer(command.kind, decision.accepted, True, decision.answer)
        elif isinstance(decision, RepeatedHere):
            answer = answers[decision.first]._replace(replayed=True)
        elif isinstance(decision, (Refused, Rejected)):
            status = refusal_status(decision.refusal).SerializeToString(deterministic=True)
            answer = Answer(command.kind, False, False, status)
        else:
            answer = Answer(command.kind, True, False, b"")
        answers.append(answer)
    return answers


def _accepted(decision: Accepted, decided_time: Timestamp, book: Book) -> bytes:
    entry = decision.entry
    if entry.command.kind == "earn":
        earned = commands_pb2.EarnResponse(
            entry_id=entry_text(book.batch_id, decision.entry_index),
            points=entry.points,
            available_points=decision.available_points,
            rate_version=entry.rate_version,
            expiry_date=None if decision.expiry_date is None else to_date(decision.expiry_date),
            decided_time=decided_time,
        )
        return earned.SerializeToString(deterministic=True)
    burned = commands_pb2.BurnResponse(
        entry_id=entry_text(book.batch_id, decision.entry_index),
        points=entry.points,
        available_points=decision.available_points,
        rate_version=entry.rate_version,
        value_micros=decision.value_micros,
        decided_time=decided_time,
        reimbursement_micros=decision.reimbursement_micros,
    )
    return burned.SerializeToString(deterministic=True)


def result_bytes(answer: Answer) -> bytes:
    """One `CommandResult` of a `PostBatchResponse`, written by hand: answers are not parsed again to be sent."""
    tag = _RESULT_FIELDS[answer.kind] if answer.accepted else _ERROR_FIELD
    inner = tag + _varint(len(answer.body)) + answer.body
    return _RESULT_TAG + _varint(len(inner)) + inner


def _varint(number: int) -> bytes:
    if number < 128:
        return bytes((number,))
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)
