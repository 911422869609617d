"""From the contract's messages to the adapter's plain values.

Each function raises ValueError or OverflowError where a message lacks what every answer of its kind has, or
holds an impossible date. That matters: bytes of another kind of message often parse as an empty one.
"""

from datetime import UTC, date, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from merchant_adapter.answers import (
    Burned,
    ConsentSet,
    Earned,
    Enrolled,
    Entry,
    EntryPage,
    Ledger,
    Leg,
    Line,
    Linked,
    Wallet,
    WalletLot,
)
from merchant_adapter.commands import Consent
from merchant_adapter.receipts import Receipt
from tongdui.exchange.v1 import commands_pb2, entries_pb2, journal_service_pb2, members_service_pb2
from tongdui.exchange.v1 import points_service_pb2 as points_pb2

_CLOCKS = {
    journal_service_pb2.GetLedgerResponse.CLOCK_SYSTEM: "system",
    journal_service_pb2.GetLedgerResponse.CLOCK_MANUAL: "manual",
}


def from_earn(request_id: str, message: commands_pb2.EarnResponse, receipt: Receipt | None) -> Earned:
    """The answer to an accepted earn."""
    return Earned(
        request_id=request_id,
        entry_id=_required("entry_id", message.entry_id),
        points=message.points,
        available_points=message.available_points,
        rate_version=message.rate_version,
        expiry_date=_date(message.expiry_date) if message.HasField("expiry_date") else None,
        decided_time=_time(message.decided_time),
        receipt=receipt,
    )


def from_burn(request_id: str, message: commands_pb2.BurnResponse, receipt: Receipt | None) -> Burned:
    """The answer to an accepted burn."""
    return Burned(
        request_id=request_id,
        entry_id=_required("entry_id", message.entry_id),
        points=message.points,
        available_points=message.available_points,
        rate_version=message.rate_version,
        value_micros=message.value_micros,
        reimbursement_micros=message.reimbursement_micros,
        decided_time=_time(message.decided_time),
        receipt=receipt,
    )


def from_enroll(
    request_id: str, message: members_service_pb2.EnrollMemberResponse, receipt: Receipt | None
) -> Enrolled:
    """The answer to an enrolment."""
    return Enrolled(request_id, _required("member_id", message.member_id), receipt)


def from_link(
    request_id: str, message: members_service_pb2.LinkAliasResponse, receipt: Receipt | None
) -> Linked:
    """The answer to a link."""
    return Linked(request_id, _required("member_id", message.member_id), receipt)


def from_consent(
    request_id: str, message: members_service_pb2.SetConsentResponse, receipt: Receipt | None
) -> ConsentSet:
    """The answer to a change of consent."""
    if not message.HasField("consent"):
        raise ValueError("consent is missing")
    consent = Consent(
        per_burn_limit_points=message.consent.per_burn_limit_points,
        per_day_limit_points=message.consent.per_day_limit_points,
    )
    return ConsentSet(request_id, consent, receipt)


def from_wallet(message: points_pb2.GetWalletResponse) -> Wallet:
    """A member's account."""
    return Wallet(
        member_id=_required("member_id", message.member_id),
        available_points=message.available_points,
        pending_points=message.pending_points,
        held_points=message.held_points,
        deficit_points=message.deficit_points,
        lots=tuple(_lot(lot) for lot in message.lots),
        read_time=_time(message.read_time),
    )


def from_entries(message: points_pb2.ListEntriesResponse) -> EntryPage:
    """A page of the journal."""
    return EntryPage(tuple(from_entry(entry) for entry in message.entries), message.next_page_token)


def from_entry(message: entries_pb2.Entry) -> Entry:
    """One entry of the journal."""
    return Entry(
        entry_id=_required("entry_id", message.entry_id),
        batch_sequence=message.batch_sequence,
        entry_index=message.entry_index,
        kind=message.kind,
        partner_id=message.partner_id,
        request_id=message.request_id,
        member_id=message.member_id,
        event_time=_time(message.event_time),
        decided_time=_time(message.decided_time),
        window_date=_date(message.window_date),
        store_id=message.store_id,
        terminal_id=message.terminal_id,
        reference=message.reference,
        reason=message.reason,
        campaign_id=message.campaign_id,
        channel=message.channel,
        points=message.points,
        rate_version=message.rate_version,
        legs=tuple(_leg(leg) for leg in message.legs),
        lines=tuple(_line(line) for line in message.lines),
    )


def from_ledger(message: journal_service_pb2.GetLedgerResponse) -> Ledger:
    """A ledger's constants."""
    return Ledger(
        audience=_required("audience", message.audience),
        currency_code=message.currency_code,
        minor_unit_digits=message.minor_unit_digits,
        time_zone=message.time_zone,
        cut_off_seconds=message.cut_off_seconds,
        late_limit_seconds=message.late_limit_seconds,
        clock=_CLOCKS.get(message.clock, str(int(message.clock))),
        ledger_time=_time(message.ledger_time),
    )


def _lot(message: points_pb2.WalletLot) -> WalletLot:
    return WalletLot(
        lot_sequence=message.lot_sequence,
        issuer_id=message.issuer_id,
        rate_version=message.rate_version,
        expiry_date=_date(message.expiry_date) if message.HasField("expiry_date") else None,
        open_points=message.open_points,
        held_points=message.held_points,
    )


def _leg(message: entries_pb2.Leg) -> Leg:
    return Leg(
        lot_sequence=message.lot_sequence,
        issuer_id=message.issuer_id,
        rate_version=message.rate_version,
        from_account=message.from_account,
        to_account=message.to_account,
        points=message.points,
    )


def _line(message: entries_pb2.Line) -> Line:
    return Line(
        payer_id=message.payer_id,
        payer_component=message.payer_component,
        payee_id=message.payee_id,
        payee_component=message.payee_component,
        micros=message.micros,
    )


def _required(name: str, text: str) -> str:
    if not text:
        raise ValueError(f"{name} is missing")
    return text


def _time(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)


def _date(message: Date) -> date:
    return date(message.year, message.month, message.day)
