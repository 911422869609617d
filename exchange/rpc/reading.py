"""Reading members' accounts and the journal's entries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from exchange.core.ids import entry_text, member_number, member_text
from exchange.rpc.calls import Incoming
from exchange.rpc.errors import error
from exchange.rpc.explaining import explain
from exchange.rpc.lanes import Lanes
from exchange.rpc.paging import from_token, page_limit, split_page, to_token
from exchange.rpc.registering import is_staff
from exchange.rpc.signatures import Caller
from exchange.rpc.translate import check_optional_text, check_text, parse, to_date, to_timestamp
from exchange.store.reads.accounts import (
    EntryFilter,
    FullEntry,
    Place,
    is_member,
    list_entries,
)
from exchange.store.reads.explanations import read_bases
from exchange.store.reads.snapshots import Snapshots
from exchange.store.reads.wallets import WalletState, read_wallet
from tongdui.exchange.v1 import entries_pb2, points_service_pb2

MAX_ENTRY_INDEX: Final = 2**31 - 1
FORECAST_DAYS: Final = 90

_WALLET: Final = points_service_pb2.GetWalletResponse
_STATES: Final = {
    "active": _WALLET.STATE_ACTIVE,
    "frozen": _WALLET.STATE_FROZEN,
    "closed": _WALLET.STATE_CLOSED,
    "merged": _WALLET.STATE_MERGED,
}


class WalletReader:
    """Answers `GetWallet` and `ListEntries`. A partner sees members linked to it and entries it posted."""

    def __init__(self, snapshots: Snapshots, lanes: Lanes) -> None:
        """Takes who reads, and where."""
        self._snapshots = snapshots
        self._lane = lanes.reads

    async def get_wallet(self, incoming: Incoming) -> bytes:
        """A member's account. Raises MEMBER_UNKNOWN."""
        request = parse(points_service_pb2.GetWalletRequest, incoming.body)
        member_id = member_number(check_text("member_id", request.member_id))
        linked_to = seen_by(incoming.caller)
        return await self._lane.run(lambda: self._wallet(member_id, linked_to))

    def _wallet(self, member_id: int, linked_to: int | None) -> bytes:
        wallet = self._snapshots.read(lambda it: read_wallet(it, member_id, linked_to))
        if wallet is None:
            raise error("MEMBER_UNKNOWN")
        return from_wallet(wallet).SerializeToString()

    async def list_entries(self, incoming: Incoming) -> bytes:
        """A page of entries, newest first. Raises MEMBER_UNKNOWN."""
        request = parse(points_service_pb2.ListEntriesRequest, incoming.body)
        before, limit = place_in(request.page_token), page_limit(request.page_size)
        member = check_optional_text("member_id", request.member_id)
        reader_id = seen_by(incoming.caller)
        wanted = EntryFilter(reader_id, member_number(member) if member else None)
        return await self._lane.run(lambda: self._page(wanted, before, limit))

    def _page(self, wanted: EntryFilter, before: Place | None, limit: int) -> bytes:
        rows = self._list(wanted, before, limit + 1)
        page, last = split_page(rows, limit)
        token = to_token(last.entry.batch_sequence, last.entry.entry_index) if last else ""
        return points_service_pb2.ListEntriesResponse(
            entries=self._explained(page), next_page_token=token
        ).SerializeToString()

    def _explained(self, page: Sequence[FullEntry]) -> list[entries_pb2.Entry]:
        bases = self._snapshots.read(lambda it: read_bases(it, page))
        return [from_entry(row, explain(row, basis)) for row, basis in zip(page, bases, strict=True)]

    def _list(self, wanted: EntryFilter, before: Place | None, limit: int) -> list[FullEntry]:
        member_id = wanted.member_id
        if member_id is not None and not self._snapshots.read(
            lambda it: is_member(it, member_id, wanted.partner_id)
        ):
            raise error("MEMBER_UNKNOWN")
        return self._snapshots.read(lambda it: list_entries(it, wanted, before, limit))


def seen_by(caller: Caller) -> int | None:
    """The partner that what is read must belong to, or None for the operator's people, who see all."""
    return None if is_staff(caller) else caller.partner_id


def place_in(token: str) -> Place | None:
    """The place in a page token of entries; None without one. Raises `InvalidField`."""
    key = from_token(token, int, int)
    return None if key is None else Place(int(key[0]), min(int(key[1]), MAX_ENTRY_INDEX))


def from_wallet(wallet: WalletState) -> points_service_pb2.GetWalletResponse:
    """An account for the wire."""
    lots = [
        points_service_pb2.WalletLot(
            lot_sequence=lot.lot_sequence,
            issuer_id=lot.issuer_code,
            rate_version=lot.rate_version,
            expiry_date=to_date(lot.expiry_date),
            open_points=lot.open_points,
            held_points=lot.held_points,
        )
        for lot in wallet.lots
    ]
    values = {} if wallet.face_value_micros is None else {"value_micros": _value(wallet)}
    return points_service_pb2.GetWalletResponse(
        member_id=member_text(wallet.member_id),
        available_points=wallet.available_points,
        pending_points=wallet.pending_points,
        held_points=wallet.held_points,
        deficit_points=wallet.deficit_points,
        lots=lots,
        read_time=to_timestamp(wallet.read_time),
        state=_STATES[wallet.state],
        survivor_member_id=member_text(wallet.survivor_id) if wallet.survivor_id else "",
        deficits=[
            points_service_pb2.OwedPoints(issuer_id=owed.issuer_code, points=owed.points)
            for owed in wallet.deficits
        ],
        expiry_forecast=[
            points_service_pb2.ExpiringPoints(expiry_date=to_date(day), points=points)
            for day, points in _forecast(wallet)
        ],
        **values,
    )


def _value(wallet: WalletState) -> int:
    """What the available points buy at the reader's checkout, in micros."""
    assert wallet.face_value_micros is not None, "only a partner with a card is told a value"
    return wallet.available_points * wallet.face_value_micros


def _forecast(wallet: WalletState) -> list[tuple[date, int]]:
    """Points by their last usable day, for the next days; what is held or pending is in none."""
    last = wallet.today + timedelta(days=FORECAST_DAYS - 1)
    days: dict[date, int] = {}
    for lot in wallet.lots:
        if lot.open_points and lot.expiry_date <= last:
            days[lot.expiry_date] = days.get(lot.expiry_date, 0) + lot.open_points
    return sorted(days.items())


def from_entry(full: FullEntry, explanation: str = "") -> entries_pb2.Entry:
    """An entry for the wire, with why its numbers are what they are where somebody asks."""
    entry = full.entry
    return entries_pb2.Entry(
        entry_id=entry_text(entry.batch_id, entry.entry_index),
        batch_sequence=entry.batch_sequence,
        entry_index=entry.entry_index,
        kind=entry.kind,
        partner_id=entry.partner_code,
        request_id=entry.request_id,
        member_id=member_text(entry.member_id),
        event_time=to_timestamp(entry.event_time),
        decided_time=to_timestamp(entry.decided_time),
        window_date=to_date(entry.window_date),
        store_id=entry.store_id,
        terminal_id=entry.terminal_id,
        reference=entry.reference,
        reason=entry.reason,
        campaign_id=entry.campaign_id,
        channel=entry.channel,
        points=entry.points,
        rate_version=entry.rate_version,
        legs=[
            entries_pb2.Leg(
                lot_sequence=leg.lot_sequence,
                issuer_id=leg.issuer_code,
                rate_version=leg.rate_version,
                from_account=leg.from_account,
                to_account=leg.to_account,
                points=leg.points,
                member_id=member_text(leg.member_id),
            )
            for leg in full.legs
        ],
        lines=[
            entries_pb2.Line(
                payer_id=line.payer_code,
                payer_component=line.payer_component,
                payee_id=line.payee_code,
                payee_component=line.payee_component,
                micros=line.micros,
            )
            for line in full.lines
        ],
        spend_minor=entry.spend_minor,
        native_points=entry.native_points,
        original_entry_id=(
            entry_text(entry.original_batch_id, entry.original_entry_index) if entry.original_batch_id else ""
        ),
        explanation=explanation,
    )
