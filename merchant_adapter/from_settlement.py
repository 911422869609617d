"""Settlement's messages as values. Raises ValueError for a message that makes no sense."""

from merchant_adapter.from_messages import required_datetime, to_date, to_datetime
from merchant_adapter.partner_file import FileFormat
from merchant_adapter.receipts import Receipt
from merchant_adapter.settlement_values import (
    Break,
    BreakEvent,
    BreakHistory,
    BreakPage,
    Control,
    Dispute,
    DisputePage,
    EvidenceName,
    PartnerFile,
    Reconciliation,
    RecordedDeal,
    SettledDay,
    SettledDayPage,
    Statement,
    StatementEntry,
    StatementEntryPage,
    StatementLine,
)
from tongdui.settlement.v1 import reconciliation_service_pb2 as reconciling
from tongdui.settlement.v1 import settlement_service_pb2 as settling


def from_days(message: settling.ListSettlementsResponse) -> SettledDayPage:
    """A page of days."""
    days = tuple(
        SettledDay(
            to_date(one.window_date),
            settling.Settlement.State.Name(one.state).removeprefix("STATE_"),
            one.payable_minor,
        )
        for one in message.settlements
    )
    return SettledDayPage(days, message.next_page_token)


def from_statement(message: settling.GetStatementResponse, receipt: Receipt | None = None) -> Statement:
    """A statement."""
    lines = tuple(
        StatementLine(
            component=one.component,
            exact_micros=one.exact_micros,
            amount_minor=one.amount_minor,
            line_count=one.line_count,
            exact_to_date_micros=one.exact_to_date_micros,
            amount_to_date_minor=one.amount_to_date_minor,
        )
        for one in message.lines
    )
    return Statement(
        window_date=to_date(message.window_date),
        partner_id=message.partner_id,
        opening_minor=message.opening_minor,
        lines=lines,
        net_minor=message.net_minor,
        closing_minor=message.closing_minor,
        exact_micros=message.exact_micros,
        certificate_sha256=message.certificate_sha256.hex(),
        receipt=receipt,
    )


def from_statement_entries(message: settling.ListStatementEntriesResponse) -> StatementEntryPage:
    """A page of entries."""
    return StatementEntryPage(tuple(map(_statement_entry, message.entries)), message.next_page_token)


def _statement_entry(message: settling.StatementEntry) -> StatementEntry:
    return StatementEntry(
        entry_id=message.entry_id,
        batch_sequence=message.batch_sequence,
        entry_index=message.entry_index,
        kind=message.kind,
        request_id=message.request_id,
        reference=message.reference,
        store_id=message.store_id,
        terminal_id=message.terminal_id,
        member_id=message.member_id,
        event_time=required_datetime("event_time", message),
        points=message.points,
        rate_version=message.rate_version,
        amount_micros=message.amount_micros,
    )


def from_file(message: reconciling.PartnerFile) -> PartnerFile:
    """A partner's file."""
    return PartnerFile(
        file_id=message.file_id,
        partner_id=message.partner_id,
        business_date=to_date(message.business_date),
        format=FileFormat(reconciling.FileFormat.Name(message.format).removeprefix("FILE_FORMAT_")),
        sha256=message.sha256.hex(),
        line_count=message.line_count,
        earned_points=message.earned_points,
        burned_points=message.burned_points,
        claimed_micros=message.claimed_micros,
        owed_micros=message.owed_micros,
        receive_time=required_datetime("receive_time", message),
        state=reconciling.PartnerFile.State.Name(message.state).removeprefix("STATE_"),
    )


def from_reconciliation(message: reconciling.GetReconciliationResponse) -> Reconciliation:
    """A reconciliation."""
    return Reconciliation(
        window_date=to_date(message.window_date),
        partner_id=message.partner_id,
        file=from_file(message.file),
        run_time=required_datetime("run_time", message),
        controls=tuple(map(_control, message.controls)),
        unresolved_count=message.unresolved_count,
    )


def _control(message: reconciling.Control) -> Control:
    return Control(
        total=reconciling.Control.Total.Name(message.total).removeprefix("TOTAL_"),
        partner=message.partner,
        hub=message.hub,
        difference=message.difference,
        classified=message.classified,
        unexplained=message.unexplained,
    )


def from_breaks(message: reconciling.ListBreaksResponse) -> BreakPage:
    """A page of breaks."""
    return BreakPage(tuple(map(from_break, message.breaks)), message.next_page_token)


def from_break(message: reconciling.Break) -> Break:
    """A break."""
    return Break(
        break_id=message.break_id,
        partner_id=message.partner_id,
        window_date=to_date(message.window_date),
        type=message.type,
        state=reconciling.Break.State.Name(message.state).removeprefix("STATE_"),
        resolution=message.resolution,
        severity=message.severity,
        opened_date=to_date(message.opened_date),
        due_time=required_datetime("due_time", message),
        points_at_stake=message.points_at_stake,
        amount_at_stake_micros=message.amount_at_stake_micros,
        hub=_deal(message.hub) if message.HasField("hub") else None,
        partner=_deal(message.partner) if message.HasField("partner") else None,
    )


def _deal(message: reconciling.RecordedDeal) -> RecordedDeal:
    return RecordedDeal(
        request_id=message.request_id,
        kind=message.kind,
        reference=message.reference,
        part=message.part,
        event_time=to_datetime(message.event_time) if message.HasField("event_time") else None,
        member_id=message.member_id,
        store_id=message.store_id,
        terminal_id=message.terminal_id,
        points=message.points,
        claimed_micros=message.claimed_micros,
        owed_micros=message.owed_micros,
        rate_version=message.rate_version,
        state=message.state,
        entry_id=message.entry_id,
        line_number=message.line_number,
    )


def from_history(message: reconciling.GetBreakResponse) -> BreakHistory:
    """A break with its history."""
    return BreakHistory(
        found=break_of(message),
        events=tuple(map(_event, message.events)),
        disputes=tuple(map(from_dispute, message.disputes)),
    )


def break_of(message: reconciling.GetBreakResponse | reconciling.CommentOnBreakResponse) -> Break:
    """The break in an answer; the field's name is a keyword of Python."""
    found: reconciling.Break = getattr(message, "break")
    return from_break(found)


def _event(message: reconciling.BreakEvent) -> BreakEvent:
    return BreakEvent(
        event_time=required_datetime("event_time", message),
        person=message.person,
        act=message.act,
        state=message.state,
        text=message.text,
        evidence=tuple(EvidenceName(one.name, one.byte_count, one.sha256.hex()) for one in message.evidence),
    )


def from_disputes(message: reconciling.ListDisputesResponse) -> DisputePage:
    """A page of disputes."""
    return DisputePage(tuple(map(from_dispute, message.disputes)), message.next_page_token)


def from_dispute(message: reconciling.Dispute) -> Dispute:
    """A dispute."""
    return Dispute(
        dispute_id=message.dispute_id,
        break_id=message.break_id,
        opened_by=message.opened_by,
        against=message.against,
        claim=message.claim,
        deadline_time=required_datetime("deadline_time", message),
        state=reconciling.Dispute.State.Name(message.state).removeprefix("STATE_"),
        answer=message.answer,
        in_favour_of=message.in_favour_of,
        decision=message.decision,
    )
