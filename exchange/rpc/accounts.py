"""AccountsService: what the operator does to members' accounts, and corrections by two people."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from exchange.batcher import Batcher
from exchange.core import commands as core
from exchange.core.commands import OperatorCommand
from exchange.core.ids import OPERATOR, RESERVED_PARTNER_IDS, member_number
from exchange.registrar import Registrar, Withdrawal, is_same_person
from exchange.rpc.calls import Incoming, Method
from exchange.rpc.commands import MAX_REASON, Asker, to_burn, to_claw_back_earn, to_earn, to_refund_burn
from exchange.rpc.directory import Directory
from exchange.rpc.errors import InvalidField, error
from exchange.rpc.expiries import ExpiryReader
from exchange.rpc.lanes import Lanes
from exchange.rpc.paging import number_in, page_limit, split_page, to_token
from exchange.rpc.points import decide_one
from exchange.rpc.quotes import QuoteBook
from exchange.rpc.registering import answered, to_actor, to_write
from exchange.rpc.translate import (
    check_range,
    check_request_id,
    check_text,
    from_timestamp,
    parse,
    to_timestamp,
)
from exchange.store.reads.adjustments import (
    Adjustment,
    adjustment_reference,
    find_adjustment,
    list_adjustments,
)
from exchange.store.reads.snapshots import Snapshots
from tongdui.exchange.v1 import accounts_service_pb2 as messages
from tongdui.signing import fingerprint

SERVICE: Final = "tongdui.exchange.v1.AccountsService"
MAX_MICROS: Final = 10**15
NO_MEMBER: Final = 0
"""The member of an entry that moves money alone."""

_OPERATOR: Final = frozenset({"operator"})
_MAKERS: Final = frozenset({"operator", "finance_maker"})
_CHECKERS: Final = frozenset({"operator", "finance_checker"})
"""Finance resolves differences with partners by corrections; who has both roles is still one person."""
_READERS: Final = frozenset({"operator", "auditor"})


class Desk(NamedTuple):
    """Who decides, who keeps proposals, who reads, and where."""

    batcher: Batcher
    registrar: Registrar
    snapshots: Snapshots
    directory: Directory
    quotes: QuoteBook
    lanes: Lanes


class AccountsService:
    """Turns the operator's calls into commands."""

    def __init__(self, desk: Desk) -> None:
        """Takes whom it works with."""
        self._desk = desk

    def methods(self) -> tuple[Method, ...]:
        """The rpcs of the service."""
        return (
            Method("FreezeMember", _OPERATOR, self._state("freeze"), is_write=True),
            Method("UnfreezeMember", _OPERATOR, self._state("unfreeze"), is_write=True),
            Method("CloseMember", _OPERATOR, self._state("close"), is_write=True),
            Method("MergeMembers", _OPERATOR, self._merge, is_write=True),
            Method("UnmergeMembers", _OPERATOR, self._unmerge, is_write=True),
            Method("UnlockTerminal", _OPERATOR, self._unlock, is_write=True),
            Method("ProposeAdjustment", _MAKERS, self._propose, is_write=True),
            Method("ApproveAdjustment", _CHECKERS, self._approve, is_write=True),
            Method("WithdrawAdjustment", _MAKERS | _CHECKERS, self._withdraw, is_write=True),
            Method("ListAdjustments", _READERS, self._list, is_write=False),
            *ExpiryReader(self._desk.snapshots, self._desk.lanes).methods(),
        )

    def _state(self, kind: Literal["freeze", "unfreeze", "close"]) -> Callable[[Incoming], Awaitable[bytes]]:
        request_type = {
            "freeze": messages.FreezeMemberRequest,
            "unfreeze": messages.UnfreezeMemberRequest,
            "close": messages.CloseMemberRequest,
        }[kind]

        async def handle(incoming: Incoming) -> bytes:
            request = parse(request_type, incoming.body)
            return await self._decide(core.ChangeState(*_common(kind, request), kind), incoming)

        return handle

    async def _merge(self, incoming: Incoming) -> bytes:
        request = parse(messages.MergeMembersRequest, incoming.body)
        into = member_number(check_text("into_member_id", request.into_member_id))
        return await self._decide(core.Merge(*_common("merge", request), into), incoming)

    async def _unmerge(self, incoming: Incoming) -> bytes:
        request = parse(messages.UnmergeMembersRequest, incoming.body)
        original = check_text("original_request_id", request.original_request_id)
        return await self._decide(core.Unmerge(*_common("unmerge", request), original), incoming)

    async def _decide(self, command: OperatorCommand, incoming: Incoming) -> bytes:
        return await decide_one(self._desk.batcher, command, incoming)

    async def _unlock(self, incoming: Incoming) -> bytes:
        request = parse(messages.UnlockTerminalRequest, incoming.body)
        write = to_write("unlock_terminal", request.request_id, request, incoming)
        till = (
            self._partner("partner_id", request.partner_id),
            check_text("store_id", request.store_id),
            check_text("terminal_id", request.terminal_id),
        )
        desk = self._desk
        return await answered(
            desk.lanes.writes, incoming, lambda: desk.registrar.unlock_terminal(write, till, _unlocked)
        )

    def _partner(self, field: str, code: str) -> int:
        partner_id = self._desk.directory.partner_ids.get(check_text(field, code), 0)
        if partner_id <= 0:
            raise error("PARTNER_UNKNOWN")
        return partner_id

    async def _propose(self, incoming: Incoming) -> bytes:
        request = parse(messages.ProposeAdjustmentRequest, incoming.body)
        write = to_write("propose_adjustment", request.request_id, request, incoming)
        check_text("reason", request.reason, MAX_REASON)
        self._subject(request)  # what is malformed is refused now, not when somebody approves it
        actor, proposal = to_actor(incoming.caller), incoming.body
        desk = self._desk
        return await answered(
            desk.lanes.writes,
            incoming,
            lambda: desk.registrar.propose_adjustment(write, proposal, actor, _proposed),
        )

    async def _approve(self, incoming: Incoming) -> bytes:
        request = parse(messages.ApproveAdjustmentRequest, incoming.body)
        request_id = check_request_id(request.request_id)
        number = check_range("adjustment_id", request.adjustment_id, 1, 2**63 - 1)
        desk = self._desk
        found = await desk.lanes.reads.run(
            lambda: desk.snapshots.read(lambda connection: find_adjustment(connection, number))
        )
        if found is None:
            raise error("ADJUSTMENT_UNKNOWN")
        if is_same_person(found.proposed_by, incoming.caller.person()):
            raise error("SAME_PERSON")
        proposal = messages.ProposeAdjustmentRequest.FromString(found.proposal)
        subject = self._subject(proposal)
        digest = fingerprint("adjust", request.SerializeToString(deterministic=True))
        if isinstance(subject, core.MoneyMove):
            when = from_timestamp("money.event_time", proposal.money.event_time)
            place = (NO_MEMBER, when, "", "")
        else:
            place = (subject.member_id, subject.event_time, subject.store_id, subject.terminal_id)
        reference = adjustment_reference(number)
        command = core.Adjust(
            OPERATOR, request_id, digest, *place, reference, proposal.reason, "", "", subject, number
        )
        return await self._decide(command, incoming)

    async def _withdraw(self, incoming: Incoming) -> bytes:
        request = parse(messages.WithdrawAdjustmentRequest, incoming.body)
        write = to_write("withdraw_adjustment", request.request_id, request, incoming)
        withdrawal = Withdrawal(
            check_range("adjustment_id", request.adjustment_id, 1, 2**63 - 1),
            check_text("reason", request.reason, MAX_REASON),
            may_approve=not _CHECKERS.isdisjoint(incoming.caller.roles),
        )
        actor, desk = to_actor(incoming.caller), self._desk
        return await answered(
            desk.lanes.writes,
            incoming,
            lambda: desk.registrar.withdraw_adjustment(write, withdrawal, actor, _withdrawn),
        )

    def _subject(
        self, proposal: messages.ProposeAdjustmentRequest
    ) -> core.Earn | core.ClawBackEarn | core.Burn | core.RefundBurn | core.MoneyMove:
        which = proposal.WhichOneof("subject")
        if which is None:
            raise InvalidField("subject", "exactly one subject must be set")
        if which == "money":
            return self._money(proposal.money)
        partner_id = self._partner("partner_id", proposal.partner_id)
        for field in ("quote", "pay_code"):
            if getattr(getattr(proposal, which), field, ""):
                raise InvalidField(f"{which}.{field}", "must not be set: a correction is the operator's own")
        asker = Asker(partner_id, proposal.partner_id, self._desk.quotes)
        if which == "earn":
            return to_earn(asker, proposal.earn)
        if which == "claw_back_earn":
            return to_claw_back_earn(asker, proposal.claw_back_earn)
        if which == "burn":
            return to_burn(asker, proposal.burn)
        return to_refund_burn(asker, proposal.refund_burn)

    def _money(self, money: messages.MoneyMove) -> core.MoneyMove:
        if not money.HasField("event_time"):
            raise InvalidField("money.event_time", "must be set")
        from_timestamp("money.event_time", money.event_time)
        payer, payee = (
            self._party("money.payer_id", money.payer_id),
            self._party("money.payee_id", money.payee_id),
        )
        if payer == payee:
            raise InvalidField("money.payee_id", "must be another than the payer")
        return core.MoneyMove(payer, payee, check_range("money.micros", money.micros, 1, MAX_MICROS))

    def _party(self, field: str, code: str) -> int:
        return OPERATOR if code == RESERVED_PARTNER_IDS[OPERATOR] else self._partner(field, code)

    async def _list(self, incoming: Incoming) -> bytes:
        request = parse(messages.ListAdjustmentsRequest, incoming.body)
        before, limit = number_in(request.page_token), page_limit(request.page_size)
        return await self._desk.lanes.reads.run(
            lambda: self._page(before, limit, open_only=request.open_only)
        )

    def _page(self, before: int | None, limit: int, *, open_only: bool) -> bytes:
        rows = self._desk.snapshots.read(
            lambda it: list_adjustments(it, before, limit + 1, open_only=open_only)
        )
        page, last = split_page(rows, limit)
        return messages.ListAdjustmentsResponse(
            adjustments=[_from_adjustment(row) for row in page],
            next_page_token=to_token(last.adjustment_id) if last else "",
        ).SerializeToString()


_Common = tuple[int, str, bytes, int, datetime, str, str, str, str, str, str]


def _common(kind: str, request: Any) -> _Common:
    """The eleven fields of an operator's command; it has no till and no order."""
    member_id = check_text("member_id", request.member_id)
    if not request.HasField("event_time"):
        raise InvalidField("event_time", "must be set")
    request_id = check_request_id(request.request_id)
    return (
        OPERATOR,
        request_id,
        fingerprint(kind, request.SerializeToString(deterministic=True)),
        member_number(member_id),
        from_timestamp("event_time", request.event_time),
        "",
        "",
        "",
        check_text("reason", request.reason, MAX_REASON),
        "",
        "",
    )


def _proposed(adjustment_id: int) -> bytes:
    made = messages.ProposeAdjustmentResponse(adjustment_id=adjustment_id)
    return made.SerializeToString(deterministic=True)


def _withdrawn(adjustment_id: int) -> bytes:
    made = messages.WithdrawAdjustmentResponse(adjustment_id=adjustment_id)
    return made.SerializeToString(deterministic=True)


def _unlocked(wrong_tries: int) -> bytes:
    return messages.UnlockTerminalResponse(wrong_tries=wrong_tries).SerializeToString(deterministic=True)


def _from_adjustment(row: Adjustment) -> messages.Adjustment:
    return messages.Adjustment(
        adjustment_id=row.adjustment_id,
        proposal=messages.ProposeAdjustmentRequest.FromString(row.proposal),
        proposed_by=row.proposed_by,
        propose_time=to_timestamp(row.propose_time),
        entry_id=row.entry_id,
        withdrawn_by=row.withdrawn_by or "",
        withdraw_reason=row.withdraw_reason or "",
        withdraw_time=to_timestamp(row.withdraw_time) if row.withdraw_time else None,
    )
