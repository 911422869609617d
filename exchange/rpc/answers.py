"""Decisions become the bytes that are recorded, signed and sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, Final

from google.type import date_pb2

from exchange.batch import Answer
from exchange.core.book import NO_DEADLINE, Book
from exchange.core.commands import Command
from exchange.core.decisions import Accepted, Decision, Refused, Rejected, Repeated, RepeatedHere
from exchange.core.ids import entry_text
from exchange.rpc.errors import refusal_status
from exchange.rpc.translate import to_date, to_timestamp
from tongdui.exchange.v1 import accounts_service_pb2, commands_pb2

_RESULT_TAG: Final = b"\x0a"  # PostBatchResponse.results, field 1, length-delimited
_ERROR_FIELD: Final = b"\x7a"  # CommandResult.error, field 15


def encode(commands: Sequence[Command], decisions: Sequence[Decision], book: Book) -> list[Answer]:
    """One answer a decision, in order."""
    accepted = _Accepted(book)
    answers: list[Answer] = []
    for command, decision in zip(commands, decisions, strict=True):
        if isinstance(decision, Accepted):
            answer = Answer(command.kind, True, False, accepted.body(decision))
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


class _Accepted:
    """Writes a batch's accepted answers. The two messages of the hot path are made once and filled anew for each."""

    def __init__(self, book: Book) -> None:
        self._batch_id = book.batch_id
        self._decided_time = to_timestamp(book.decided_time)
        self._earned = commands_pb2.EarnResponse(decided_time=self._decided_time)
        self._burned = commands_pb2.BurnResponse(decided_time=self._decided_time)
        self._earned_day: date | None = None

    def body(self, decision: Accepted) -> bytes:
        kind = decision.entry.command.kind
        if kind == "earn":
            return self._earn(decision)
        if kind == "burn":
            return self._burn(decision)
        message, more = _OTHERS[kind]
        answer = message(
            entry_id=entry_text(self._batch_id, decision.entry_index),
            points=decision.entry.points,
            available_points=decision.available_points,
            decided_time=self._decided_time,
            **more(decision),
        )
        data: bytes = answer.SerializeToString(deterministic=True)
        return data

    def _earn(self, decision: Accepted) -> bytes:
        """Sets every field but the time, so that nothing of the answer before is left."""
        entry, index, available_points, expiry_date, *_ = decision
        earned = self._earned
        earned.entry_id = entry_text(self._batch_id, index)
        earned.points = entry.points
        earned.available_points = available_points
        earned.rate_version = entry.rate_version
        earned.pending = not entry.legs
        if expiry_date != self._earned_day:
            self._earned_day = expiry_date
            earned.ClearField("expiry_date")
            earned.MergeFrom(commands_pb2.EarnResponse(expiry_date=_expiry_date(decision)))
        return earned.SerializeToString()

    def _burn(self, decision: Accepted) -> bytes:
        """The same."""
        entry, index, available_points, _, value_micros, reimbursement_micros, _ = decision
        burned = self._burned
        burned.entry_id = entry_text(self._batch_id, index)
        burned.points = entry.points
        burned.available_points = available_points
        burned.rate_version = entry.rate_version
        burned.value_micros = value_micros
        burned.reimbursement_micros = reimbursement_micros
        return burned.SerializeToString()


def _expiry_date(decision: Accepted) -> date_pb2.Date | None:
    return None if decision.expiry_date is None else to_date(decision.expiry_date)


_More = Callable[[Accepted], dict[str, Any]]


def _nothing(_: Accepted) -> dict[str, Any]:
    return {}


def _issued(decision: Accepted) -> dict[str, Any]:
    return {"rate_version": decision.entry.rate_version, "expiry_date": _expiry_date(decision)}


def _exchanged_in(decision: Accepted) -> dict[str, Any]:
    return _issued(decision) | {"native_points": decision.entry.native_points}


def _clawed_back(decision: Accepted) -> dict[str, Any]:
    figures = decision.figures
    return {"remaining_points": figures.remaining_points, "deficit_points": figures.deficit_points}


def _held(decision: Accepted) -> dict[str, Any]:
    return {
        "rate_version": decision.entry.rate_version,
        "value_micros": decision.value_micros,
        **_deadline(decision),
    }


def _deadline(decision: Accepted) -> dict[str, Any]:
    deadline = decision.figures.deadline
    lapses = deadline is not None and deadline != NO_DEADLINE
    return {"expire_time": to_timestamp(deadline) if lapses and deadline else None}


def _captured(decision: Accepted) -> dict[str, Any]:
    return {
        "rate_version": decision.entry.rate_version,
        "value_micros": decision.value_micros,
        "reimbursement_micros": decision.reimbursement_micros,
        "released_points": decision.figures.released_points,
    }


def _refunded(decision: Accepted) -> dict[str, Any]:
    return {
        "remaining_points": decision.figures.remaining_points,
        "reimbursement_micros": decision.reimbursement_micros,
    }


def _exchanging_out(decision: Accepted) -> dict[str, Any]:
    return {
        "rate_version": decision.entry.rate_version,
        "native_points": decision.figures.native_points or decision.entry.native_points,
    }


def _exchanged_out(decision: Accepted) -> dict[str, Any]:
    return _exchanging_out(decision) | {"reimbursement_micros": decision.reimbursement_micros}


def _adjusted(decision: Accepted) -> dict[str, Any]:
    return {"deficit_points": decision.figures.deficit_points}


_OTHERS: Final[dict[str, tuple[Callable[..., Any], _More]]] = {
    "confirm_earn": (commands_pb2.ConfirmEarnResponse, _issued),
    "cancel_earn": (commands_pb2.CancelEarnResponse, _nothing),
    "claw_back_earn": (commands_pb2.ClawBackEarnResponse, _clawed_back),
    "authorize_burn": (commands_pb2.AuthorizeBurnResponse, _held),
    "extend_hold": (commands_pb2.ExtendHoldResponse, _deadline),
    "capture_burn": (commands_pb2.CaptureBurnResponse, _captured),
    "void_burn": (commands_pb2.VoidBurnResponse, _nothing),
    "refund_burn": (commands_pb2.RefundBurnResponse, _refunded),
    "exchange_in": (commands_pb2.ExchangeInResponse, _exchanged_in),
    "exchange_out": (commands_pb2.ExchangeOutResponse, _exchanging_out),
    "confirm_exchange_out": (commands_pb2.ConfirmExchangeOutResponse, _exchanged_out),
    "refuse_exchange_out": (commands_pb2.RefuseExchangeOutResponse, _nothing),
    "transfer": (commands_pb2.TransferResponse, _nothing),
    "adjust": (accounts_service_pb2.ApproveAdjustmentResponse, _adjusted),
    "freeze": (accounts_service_pb2.FreezeMemberResponse, _nothing),
    "unfreeze": (accounts_service_pb2.UnfreezeMemberResponse, _nothing),
    "close": (accounts_service_pb2.CloseMemberResponse, _nothing),
    "merge": (accounts_service_pb2.MergeMembersResponse, _nothing),
    "unmerge": (accounts_service_pb2.UnmergeMembersResponse, _nothing),
}
"""The answer of each kind but the two of the hot path, and what it says besides entry, points and time."""


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


_RESULT_FIELDS: Final = {
    field.name: _varint(field.number << 3 | 2) for field in commands_pb2.CommandResult.DESCRIPTOR.fields
}
"""The tag of each kind's answer in `CommandResult`."""
