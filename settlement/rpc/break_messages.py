"""Breaks, disputes, files and reconciliations as messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from settlement.core.break_state import BreakState, DisputeState
from settlement.core.break_types import Controls
from settlement.core.roles import Act
from settlement.rpc.admission import Caller
from settlement.rpc.fields import to_date
from settlement.store.partner_reads import (
    Break,
    BreakEvent,
    BreakHistory,
    Dispute,
    PartnerFile,
    Reconciled,
)
from tongdui.settlement.v1 import reconciliation_service_pb2 as wire

FINANCE: Final = "finance"
"""What partners are shown instead of the names of finance's people."""

BREAK_STATES: Final = {state: wire.Break.State.Value(f"STATE_{state.value}") for state in BreakState}
DISPUTE_STATES: Final = {state: wire.Dispute.State.Value(f"STATE_{state.value}") for state in DisputeState}

_SAID_BETWEEN: Final = frozenset(
    act.label for act in (Act.COMMENT_BREAK, Act.OPEN_DISPUTE, Act.ANSWER_DISPUTE, Act.DECIDE_DISPUTE)
)
"""Acts whose words are for the other side too; what finance writes on the others is its own."""

_TEXTS: Final = (
    "request_id",
    "kind",
    "reference",
    "member_id",
    "store_id",
    "terminal_id",
    "state",
    "entry_id",
)
_NUMBERS: Final = ("part", "points", "claimed_micros", "owed_micros", "rate_version", "line_number")


def to_time(moment: datetime) -> Timestamp:
    """A moment as a message."""
    made = Timestamp()
    made.FromDatetime(moment.astimezone(UTC))
    return made


def file_message(file: PartnerFile) -> wire.PartnerFile:
    """A partner's file."""
    return wire.PartnerFile(
        file_id=file.file_id,
        partner_id=file.partner_id,
        business_date=to_date(file.business_date),
        format=wire.FileFormat.Value(f"FILE_FORMAT_{file.format}"),
        sha256=bytes.fromhex(file.sha256),
        line_count=file.line_count,
        earned_points=file.totals.earned_points,
        burned_points=file.totals.burned_points,
        claimed_micros=file.totals.claimed_micros,
        owed_micros=file.totals.owed_micros,
        receive_time=to_time(file.received_time),
        state=wire.PartnerFile.State.Value(f"STATE_{file.state}"),
    )


def reconciliation_message(found: Reconciled) -> wire.GetReconciliationResponse:
    """A comparison with its four controls."""
    totals = (
        (wire.Control.TOTAL_EARNED_POINTS, "earned_points"),
        (wire.Control.TOTAL_BURNED_POINTS, "burned_points"),
        (wire.Control.TOTAL_CLAIMED_MICROS, "claimed_micros"),
        (wire.Control.TOTAL_OWED_MICROS, "owed_micros"),
    )
    return wire.GetReconciliationResponse(
        window_date=to_date(found.file.business_date),
        partner_id=found.file.partner_id,
        file=file_message(found.file),
        run_time=to_time(found.run_time),
        controls=[_control(found, total, name) for total, name in totals],
        unresolved_count=found.unresolved_count,
    )


def _control(found: Reconciled, total: wire.Control.Total.ValueType, name: str) -> wire.Control:
    def of(side: Controls) -> int:
        value: int = getattr(side, name)
        return value

    return wire.Control(
        total=total,
        partner=of(found.partner),
        hub=of(found.hub),
        difference=of(found.difference),
        classified=of(found.classified),
        unexplained=of(found.unexplained),
    )


def break_message(found: Break) -> wire.Break:
    """A break with both sides."""
    return wire.Break(
        break_id=found.break_id,
        partner_id=found.partner_id,
        window_date=to_date(found.window_date),
        type=found.type,
        state=BREAK_STATES[found.state],
        resolution=found.resolution or "",
        severity=found.severity,
        opened_date=to_date(found.opened_date),
        due_time=to_time(found.due_time),
        points_at_stake=found.points_at_stake,
        amount_at_stake_micros=found.amount_at_stake_micros,
        hub=_deal(found.hub),
        partner=_deal(found.partner),
    )


def history_message(history: BreakHistory, caller: Caller) -> wire.GetBreakResponse:
    """A break with its history as the caller may see it."""
    made = wire.GetBreakResponse(
        events=[_event(event, history.found.partner_id, caller) for event in history.events],
        disputes=[dispute_message(one) for one in history.disputes],
    )
    # A keyword of Python, so it is no attribute that can be written.
    getattr(made, "break").CopyFrom(break_message(history.found))
    return made


def dispute_message(found: Dispute) -> wire.Dispute:
    """A dispute."""
    return wire.Dispute(
        dispute_id=found.dispute_id,
        break_id=found.break_id,
        opened_by=found.opened_by,
        against=found.against,
        claim=found.claim,
        deadline_time=to_time(found.deadline),
        state=DISPUTE_STATES[DisputeState(found.state)],
        answer=found.answer or "",
        in_favour_of=found.in_favour_of or "",
        decision=found.decision or "",
    )


def _event(event: BreakEvent, partner_id: str, caller: Caller) -> wire.BreakEvent:
    shown = wire.BreakEvent(
        event_time=to_time(event.event_time), person=event.person, act=event.act, state=event.state_to
    )
    owner = event.key_id.partition(".")[0]
    if not caller.sees_all and owner == "operator":
        shown.person = FINANCE
    if caller.sees_all or event.act in _SAID_BETWEEN or owner == partner_id:
        shown.text = event.text
        for one in _evidence(event.evidence):
            shown.evidence.add(
                name=str(one["file_name"]),
                byte_count=int(one["byte_count"]),
                sha256=bytes.fromhex(one["sha256"]),
            )
    return shown


def _evidence(kept: Any) -> list[Mapping[str, Any]]:
    if not kept:
        return []
    return list(kept) if isinstance(kept, list) else [kept]


def _deal(side: Mapping[str, Any] | None) -> wire.RecordedDeal | None:
    if side is None:
        return None
    made = wire.RecordedDeal()
    for name in _TEXTS:
        if side.get(name):
            setattr(made, name, str(side[name]))
    for name in _NUMBERS:
        if side.get(name) is not None:
            setattr(made, name, int(side[name]))
    if side.get("event_time"):
        made.event_time.CopyFrom(to_time(datetime.fromisoformat(side["event_time"])))
    return made
