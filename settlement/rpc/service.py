"""`tongdui.settlement.v1.SettlementService`: statements and certificates, to those who may see them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from settlement.core.drill_down import LineEntry, Place
from settlement.core.rounding import StatementLine
from settlement.core.run_state import WindowState
from settlement.rpc.admission import Caller, Incoming
from settlement.rpc.calls import Answered, Method
from settlement.rpc.errors import CallError, invalid_field
from settlement.rpc.fields import from_date, invalid_page_token, page_size, parsed, to_date, whose
from settlement.store.partner_reads import PartnerReads
from settlement.store.reads import Reads
from tongdui.settlement.v1 import settlement_service_pb2 as wire

SERVICE_NAME: Final = "tongdui.settlement.v1.SettlementService"

_COMPONENT: Final = re.compile(r"[A-Z][A-Za-z0-9_:.-]{0,63}", re.ASCII)
_PLACE: Final = re.compile(r"[0-9]{1,18}\.[0-9]{1,9}", re.ASCII)
_STATES: Final = {state: wire.Settlement.State.Value(f"STATE_{state.value}") for state in WindowState}


@dataclass(frozen=True, slots=True)
class SettlementService:
    """The methods, over raw bytes: the signature is checked before a message exists."""

    reads: Reads
    partner_reads: PartnerReads

    def methods(self) -> tuple[Method, ...]:
        """What a `Gate` takes."""
        return (
            Method("ListSettlements", self.list_settlements),
            Method("GetStatement", self.get_statement, has_receipt=True),
            Method("ListStatementEntries", self.list_statement_entries),
            Method("GetCertificate", self.get_certificate),
        )

    def list_settlements(self, incoming: Incoming) -> Answered:
        """Business days, newest first. The page token is the last day shown."""
        request = parsed(wire.ListSettlementsRequest, incoming.body)
        size = page_size(request.page_size)
        days = self.reads.days_before(_token_date(request.page_token), size + 1)
        answer = wire.ListSettlementsResponse()
        for day in days[:size]:
            answer.settlements.add(
                window_date=to_date(day.window.window_date),
                state=_STATES[day.state],
                # Every party's figures together tell a partner of its competitors.
                payable_minor=day.payable_minor if incoming.caller.sees_all else 0,
            )
        if len(days) > size:
            answer.next_page_token = days[size - 1].window.window_date.isoformat()
        return Answered(answer.SerializeToString())

    def get_statement(self, incoming: Incoming) -> Answered:
        """One partner's statement; a partner's own only."""
        request = parsed(wire.GetStatementRequest, incoming.body)
        window_date = from_date("window_date", request)
        partner_id = whose(incoming.caller, request.partner_id)
        found = self.reads.stated_day(window_date, partner_id)
        if found is None:
            raise CallError("SETTLEMENT_UNKNOWN")
        statement = found.statement
        answer = wire.GetStatementResponse(
            window_date=to_date(statement.window_date),
            partner_id=statement.party_id,
            opening_minor=statement.opening_minor,
            lines=[_line_message(line) for line in statement.lines],
            net_minor=statement.net_minor,
            closing_minor=statement.closing_minor,
            exact_micros=statement.exact_micros,
            certificate_sha256=bytes.fromhex(found.certificate_sha256),
        )
        return Answered(answer.SerializeToString())

    def list_statement_entries(self, incoming: Incoming) -> Answered:
        """The entries behind one line. The page token is the place of the last one shown."""
        request = parsed(wire.ListStatementEntriesRequest, incoming.body)
        window_date = from_date("window_date", request)
        partner_id = whose(incoming.caller, request.partner_id)
        if _COMPONENT.fullmatch(request.component) is None:
            raise invalid_field("component", "required, such as BURN_REIMBURSE")
        size, after = page_size(request.page_size), _token_place(request.page_token)
        entries = self.partner_reads.statement_entries(
            window_date, partner_id, request.component, after, size + 1
        )
        if entries is None:
            raise CallError("SETTLEMENT_UNKNOWN")
        answer = wire.ListStatementEntriesResponse(
            entries=[_entry_message(entry, incoming.caller) for entry in entries[:size]]
        )
        if len(entries) > size:
            answer.next_page_token = str(entries[size - 1].place)
        return Answered(answer.SerializeToString())

    def get_certificate(self, incoming: Incoming) -> Answered:
        """The certificate, byte for byte. It states every party's figures, so no partner reads it."""
        if not incoming.caller.sees_all:
            raise CallError("ROLE_REQUIRED")
        request = parsed(wire.GetCertificateRequest, incoming.body)
        window_date = from_date("window_date", request)
        certificate = self.reads.certificate(window_date)
        if certificate is None:
            raise CallError("SETTLEMENT_UNKNOWN")
        answer = wire.GetCertificateResponse(certificate=certificate.document)
        return Answered(answer.SerializeToString())


def _line_message(line: StatementLine) -> wire.StatementLine:
    return wire.StatementLine(
        component=line.component,
        exact_micros=line.exact_micros,
        amount_minor=line.amount_minor,
        line_count=line.line_count,
        exact_to_date_micros=line.exact_to_date_micros,
        amount_to_date_minor=line.amount_to_date_minor,
    )


def _entry_message(entry: LineEntry, caller: Caller) -> wire.StatementEntry:
    shown = wire.StatementEntry(
        entry_id=entry.entry_id,
        batch_sequence=entry.place.batch_sequence,
        entry_index=entry.place.entry_index,
        kind=entry.kind,
        points=entry.points,
        rate_version=entry.rate_version,
        amount_micros=entry.micros,
    )
    shown.event_time.FromDatetime(entry.event_time)
    if caller.sees_all or entry.partner_id == caller.owner:
        # Whose deal it was is between its partner and its member; to others it is an amount.
        shown.request_id, shown.reference = entry.request_id, entry.reference
        shown.store_id, shown.terminal_id = entry.store_id, entry.terminal_id
        shown.member_id = entry.member_id
    return shown


def _token_date(token: str) -> date | None:
    if not token:
        return None
    try:
        return date.fromisoformat(token)
    except ValueError:
        raise invalid_page_token() from None


def _token_place(token: str) -> Place:
    if not token:
        return Place(0, 0)
    if _PLACE.fullmatch(token) is None:
        raise invalid_page_token()
    return Place.parse(token)
