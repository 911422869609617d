"""Makes commands of every kind for tests: what all have in common, then what one says besides."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from exchange.core.commands import Asked
from exchange.core.ids import OPERATOR
from tests.builders import M1, NOON, A, fingerprint

LATEST_FIELDS: dict[str, dict[str, Any]] = {
    "Earn": {"points": 0, "spend_minor": 0, "expiry_date": None},
    "ClawBackEarn": {"part": 0, "points": 0, "refunded_spend_minor": 0},
    "RefundBurn": {"part": 0},
    "ExchangeIn": {"expiry_date": None},
}
"""What may be left out of a command although it has no default."""


def ask(
    what: type[Any],
    request_id: str,
    *,
    partner_id: int = A,
    member_id: int = M1,
    event_time: datetime = NOON,
    terminal_id: str = "t-1",
    reference: str | None = None,
    **fields: Any,
) -> Any:
    """A command of that class; its reference is its request id unless told otherwise."""
    common = (partner_id, request_id, b"", member_id, event_time, "s-1", terminal_id)
    said = {**LATEST_FIELDS.get(what.__name__, {}), **fields}
    command = what(*common, reference or request_id, "", "", "", **said)
    return sealed(command)


def ask_operator(what: type[Any], request_id: str, **fields: Any) -> Any:
    """The same, of the operator."""
    return ask(what, request_id, partner_id=OPERATOR, **fields)


def sealed(command: Any) -> Any:
    """The command with the fingerprint of its fields."""
    asked: Asked = command
    return replace(asked, fingerprint=fingerprint(asked))
