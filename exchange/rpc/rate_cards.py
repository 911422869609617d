"""RateCardsService: what partners' points cost and bring."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from exchange.registrar import Actor, Answered, Registrar, Write, preview_rate_card
from exchange.rpc.calls import Incoming, Method
from exchange.rpc.card_messages import from_card, to_new_card, to_state
from exchange.rpc.card_preview import from_preview
from exchange.rpc.errors import error
from exchange.rpc.lanes import Lanes
from exchange.rpc.paging import number_in, page_limit, split_page, to_token
from exchange.rpc.registering import answered, in_thread, is_staff, own_partner, to_actor, to_write
from exchange.rpc.translate import check_range, check_text, from_timestamp, parse
from exchange.store.reads.ledger import read_clock
from exchange.store.reads.pages import Card, find_card, find_card_in_force, list_cards, partner_id_of
from exchange.store.reads.snapshots import Snapshots
from tongdui.exchange.v1 import rate_cards_service_pb2 as messages

SERVICE: Final = "tongdui.exchange.v1.RateCardsService"

MAX_VERSION: Final = 2**31 - 1

_OPERATOR: Final = frozenset({"operator"})
_READERS: Final = frozenset({"partner", "operator", "auditor"})

_Decide = Callable[[Write, Actor, str, int, Callable[[Card], bytes]], Answered]
_Decision = messages.ApproveRateCardRequest | messages.WithdrawRateCardRequest


class RateCardsService:
    """Proposes, previews, approves, withdraws and lists rate cards."""

    def __init__(self, registrar: Registrar, snapshots: Snapshots, lanes: Lanes) -> None:
        """Takes who writes, who reads, and where."""
        self._registrar = registrar
        self._snapshots = snapshots
        self._lanes = lanes

    def methods(self) -> tuple[Method, ...]:
        """The rpcs of the service."""
        return (
            Method("ProposeRateCard", _OPERATOR, self._propose, is_write=True),
            Method("ApproveRateCard", _OPERATOR, self._approve, is_write=True),
            Method("WithdrawRateCard", _OPERATOR, self._withdraw, is_write=True),
            Method("PreviewRateCard", _READERS, self._preview, is_write=False),
            Method("GetRateCard", _READERS, self._get, is_write=False),
            Method("ListRateCards", _READERS, self._list, is_write=False),
        )

    async def _propose(self, incoming: Incoming) -> bytes:
        request = parse(messages.ProposeRateCardRequest, incoming.body)
        write = to_write("propose_rate_card", request.request_id, request, incoming)
        new = to_new_card(request)
        actor = to_actor(incoming.caller)
        return await answered(
            self._lanes.writes,
            incoming,
            lambda: self._registrar.propose_rate_card(write, actor, new, _proposed),
        )

    async def _approve(self, incoming: Incoming) -> bytes:
        request = parse(messages.ApproveRateCardRequest, incoming.body)
        write = to_write("approve_rate_card", request.request_id, request, incoming)
        return await self._decide(incoming, request, write, self._registrar.approve_rate_card, _approved)

    async def _withdraw(self, incoming: Incoming) -> bytes:
        request = parse(messages.WithdrawRateCardRequest, incoming.body)
        write = to_write("withdraw_rate_card", request.request_id, request, incoming)
        return await self._decide(incoming, request, write, self._registrar.withdraw_rate_card, _withdrawn)

    async def _decide(
        self,
        incoming: Incoming,
        request: _Decision,
        write: Write,
        decide: _Decide,
        encode: Callable[[Card], bytes],
    ) -> bytes:
        code = check_text("partner_id", request.partner_id)
        version = check_range("version", request.version, 1, MAX_VERSION)
        actor = to_actor(incoming.caller)
        return await answered(
            self._lanes.writes, incoming, lambda: decide(write, actor, code, version, encode)
        )

    async def _preview(self, incoming: Incoming) -> bytes:
        request = parse(messages.PreviewRateCardRequest, incoming.body)
        code = own_partner("partner_id", request.partner_id, incoming.caller)
        version = check_range("version", request.version, 1, MAX_VERSION)
        for_staff = is_staff(incoming.caller)

        def read() -> bytes:
            preview = self._snapshots.read(lambda it: preview_rate_card(it, code, version))
            return from_preview(preview, for_staff=for_staff).SerializeToString()

        return await in_thread(self._lanes.reads, read)

    async def _get(self, incoming: Incoming) -> bytes:
        request = parse(messages.GetRateCardRequest, incoming.body)
        code = own_partner("partner_id", request.partner_id, incoming.caller)
        which = request.WhichOneof("which")
        version = check_range("version", request.version, 1, MAX_VERSION) if which == "version" else None
        moment = from_timestamp("in_force_at", request.in_force_at) if which == "in_force_at" else None
        return await self._lanes.reads.run(lambda: self._find(code, version, moment))

    def _find(self, code: str, version: int | None, moment: datetime | None) -> bytes:
        """The card of a version, or the one in force at a moment, which is now where neither is named."""
        partner_id = self._partner(code)
        if version is not None:
            card = self._snapshots.read(lambda it: find_card(it, code, partner_id, version))
        else:
            card = self._snapshots.read(
                lambda it: find_card_in_force(it, code, partner_id, moment or read_clock(it).ledger_time)
            )
        if card is None:
            raise error("RATE_CARD_UNKNOWN")
        return messages.GetRateCardResponse(rate_card=from_card(card)).SerializeToString()

    async def _list(self, incoming: Incoming) -> bytes:
        request = parse(messages.ListRateCardsRequest, incoming.body)
        code = own_partner("partner_id", request.partner_id, incoming.caller)
        before, limit = number_in(request.page_token), page_limit(request.page_size)
        state = to_state(request.state)
        return await self._lanes.reads.run(lambda: self._page(code, before, limit, state))

    def _page(self, code: str, before: int | None, limit: int, state: str | None) -> bytes:
        partner_id = self._partner(code)
        rows = self._snapshots.read(lambda it: list_cards(it, code, partner_id, before, limit + 1, state))
        page, last = split_page(rows, limit)
        return messages.ListRateCardsResponse(
            rate_cards=[from_card(row) for row in page],
            next_page_token=to_token(last.version) if last else "",
        ).SerializeToString()

    def _partner(self, code: str) -> int:
        partner_id = self._snapshots.read(lambda it: partner_id_of(it, code))
        if partner_id is None:
            raise error("PARTNER_UNKNOWN")
        return partner_id


def _proposed(card: Card) -> bytes:
    return messages.ProposeRateCardResponse(rate_card=from_card(card)).SerializeToString(deterministic=True)


def _approved(card: Card) -> bytes:
    return messages.ApproveRateCardResponse(rate_card=from_card(card)).SerializeToString(deterministic=True)


def _withdrawn(card: Card) -> bytes:
    return messages.WithdrawRateCardResponse(rate_card=from_card(card)).SerializeToString(deterministic=True)
