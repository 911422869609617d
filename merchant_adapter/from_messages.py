"""From the contract's messages to the adapter's plain values.

Each function raises ValueError or OverflowError where a message lacks what every answer of its kind has, or
holds an impossible date. That matters: bytes of another kind of message often parse as an empty one.
"""

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, date, datetime
from operator import attrgetter
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from merchant_adapter.answers import (
    ConsentSet,
    Enrolled,
    Entry,
    EntryPage,
    ExpiringPoints,
    Ledger,
    Leg,
    Line,
    Linked,
    OwedPoints,
    PayCode,
    ProofStarted,
    Unlinked,
    Wallet,
    WalletLot,
)
from merchant_adapter.commands import Consent
from merchant_adapter.points_answers import PointsAnswer
from merchant_adapter.quotes import Quote
from merchant_adapter.receipts import Receipt
from tongdui.exchange.v1 import entries_pb2, journal_service_pb2, members_service_pb2
from tongdui.exchange.v1 import points_service_pb2 as points_pb2

A = TypeVar("A", bound=PointsAnswer)

_CLOCKS = {
    journal_service_pb2.GetLedgerResponse.CLOCK_SYSTEM: "system",
    journal_service_pb2.GetLedgerResponse.CLOCK_MANUAL: "manual",
}

_STATES = {
    points_pb2.GetWalletResponse.STATE_ACTIVE: "active",
    points_pb2.GetWalletResponse.STATE_FROZEN: "frozen",
    points_pb2.GetWalletResponse.STATE_CLOSED: "closed",
    points_pb2.GetWalletResponse.STATE_MERGED: "merged",
}


def reader_of(answer: type[A], response: type[Message]) -> Callable[[str, Any, Receipt | None], A]:
    """What reads the response to a command on points: each field into that of its name.

    The reader takes request id, message and receipt. A day may be absent, a time may not.
    """
    found = response.DESCRIPTOR.fields_by_name
    names = [one.name for one in fields(answer) if one.name not in ("request_id", "receipt")]
    times = [name for name in names if found[name].message_type == Timestamp.DESCRIPTOR]
    days = [name for name in names if found[name].message_type == Date.DESCRIPTOR]
    plain = [name for name in names if name not in times and name not in days]
    values = attrgetter(*plain)

    def read(request_id: str, message: Message, receipt: Receipt | None) -> A:
        known: dict[str, Any] = dict(zip(plain, values(message), strict=True))
        _required("entry_id", known["entry_id"])
        for name in times:
            known[name] = required_datetime(name, message)
        for name in days:
            known[name] = to_date(getattr(message, name)) if message.HasField(name) else None
        return answer(request_id=request_id, receipt=receipt, **known)

    return read


def from_quote(message: points_pb2.QuoteResponse) -> Quote:
    """A price."""
    if not message.quote:
        raise ValueError("quote is missing")
    return Quote(
        quote=message.quote,
        points=message.points,
        value_micros=message.value_micros,
        maximum_points=message.maximum_points,
        rate_version=message.rate_version,
        native_points=message.native_points,
        expire_time=required_datetime("expire_time", message),
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


def from_proof(
    request_id: str, message: members_service_pb2.StartContactProofResponse, receipt: Receipt | None
) -> ProofStarted:
    """The answer to the start of a proof."""
    return ProofStarted(
        request_id, _required("proof_id", message.proof_id), to_datetime(message.expire_time), receipt
    )


def from_unlink(
    request_id: str, message: members_service_pb2.UnlinkAliasResponse, receipt: Receipt | None
) -> Unlinked:
    """The answer to an undone link."""
    return Unlinked(request_id, _required("member_id", message.member_id), receipt)


def from_pay_code(
    request_id: str, message: members_service_pb2.IssuePayCodeResponse, receipt: Receipt | None
) -> PayCode:
    """The answer to the issue of a pay code."""
    return PayCode(
        request_id=request_id,
        code=_required("code", message.code),
        qr_text=_required("qr_text", message.qr_text),
        issue_time=to_datetime(message.issue_time),
        expire_time=to_datetime(message.expire_time),
        receipt=receipt,
    )


def from_wallet(message: points_pb2.GetWalletResponse) -> Wallet:
    """A member's account."""
    return Wallet(
        member_id=_required("member_id", message.member_id),
        available_points=message.available_points,
        pending_points=message.pending_points,
        held_points=message.held_points,
        deficit_points=message.deficit_points,
        lots=tuple(_lot(lot) for lot in message.lots),
        read_time=to_datetime(message.read_time),
        state=_STATES.get(message.state, str(int(message.state))),
        survivor_member_id=message.survivor_member_id,
        value_micros=message.value_micros if message.HasField("value_micros") else None,
        deficits=tuple(OwedPoints(owed.issuer_id, owed.points) for owed in message.deficits),
        expiry_forecast=tuple(
            ExpiringPoints(to_date(day.expiry_date), day.points) for day in message.expiry_forecast
        ),
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
        event_time=to_datetime(message.event_time),
        decided_time=to_datetime(message.decided_time),
        window_date=to_date(message.window_date),
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
        spend_minor=message.spend_minor,
        native_points=message.native_points,
        original_entry_id=message.original_entry_id,
        explanation=message.explanation,
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
        ledger_time=to_datetime(message.ledger_time),
        card_notice_seconds=message.card_notice_seconds,
        claw_back=message.claw_back,
        refund=message.refund,
        grace_days=message.grace_days,
        pending_days=message.pending_days,
        member_daily_burns=message.member_daily_burns,
        member_daily_points=message.member_daily_points,
        terminal_daily_burns=message.terminal_daily_burns,
        terminal_daily_points=message.terminal_daily_points,
        transfer_limit_points=message.transfer_limit_points,
        transfer_daily_points=message.transfer_daily_points,
    )


def _lot(message: points_pb2.WalletLot) -> WalletLot:
    return WalletLot(
        lot_sequence=message.lot_sequence,
        issuer_id=message.issuer_id,
        rate_version=message.rate_version,
        expiry_date=to_date(message.expiry_date) if message.HasField("expiry_date") else None,
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
        member_id=message.member_id,
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


def required_datetime(name: str, message: Message) -> datetime:
    """A time that has to be there. Raises ValueError."""
    if not message.HasField(name):
        raise ValueError(f"{name} is missing")
    return to_datetime(getattr(message, name))


def to_datetime(message: Timestamp) -> datetime:
    """In UTC, to the microsecond."""
    return message.ToDatetime(tzinfo=UTC)


def to_date(message: Date) -> date:
    """A calendar day. Raises ValueError."""
    return date(message.year, message.month, message.day)
