"""Corrections at the hub: proposed with one person's key, posted or withdrawn with another's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from settlement.core.adjusting import BURN, CLAW_BACK, EARN, MONEY, REFUND, Posting
from settlement.core.certificate import receipt_content
from settlement.core.window import HubReceipt, ReceiptInvalid
from settlement.rpc.hub_client import HubClient
from settlement.rpc.keys import HubKeys
from settlement.rpc.receipts import verify_answer
from tongdui.exchange.v1.accounts_service_pb2 import (
    ApproveAdjustmentRequest,
    ApproveAdjustmentResponse,
    MoneyMove,
    ProposeAdjustmentRequest,
    ProposeAdjustmentResponse,
    WithdrawAdjustmentRequest,
)
from tongdui.exchange.v1.commands_pb2 import BurnRequest, ClawBackEarnRequest, EarnRequest, RefundBurnRequest

SERVICE = "/tongdui.exchange.v1.AccountsService"
PROPOSE_PATH = f"{SERVICE}/ProposeAdjustment"
APPROVE_PATH = f"{SERVICE}/ApproveAdjustment"
WITHDRAW_PATH = f"{SERVICE}/WithdrawAdjustment"

_COMMANDS: dict[str, Any] = {
    EARN: EarnRequest,
    BURN: BurnRequest,
    CLAW_BACK: ClawBackEarnRequest,
    REFUND: RefundBurnRequest,
}


class HubCorrections:
    """Asks a hub, and checks the receipt of every answer."""

    def __init__(self, hub: HubClient, hub_keys: HubKeys, audience: str) -> None:
        """`hub` signs with the key of the person who acts."""
        self._hub = hub
        self._hub_keys = hub_keys
        self._audience = audience

    def propose_adjustment(self, request_id: str, posting: Posting, reason: str) -> int:
        """Proposes a correction; gives its number. Raises HubRefused, HubUnreachable, ReceiptInvalid."""
        request = proposal(request_id, posting, reason)
        receipt = self._asked(PROPOSE_PATH, request.SerializeToString())
        try:
            return ProposeAdjustmentResponse.FromString(receipt.response).adjustment_id
        except DecodeError as error:
            raise ReceiptInvalid("receipt: the answer is not a proposed correction") from error

    def approve_adjustment(self, request_id: str, adjustment_id: int) -> tuple[str, dict[str, object]]:
        """Has a correction posted; gives its entry's id and the hub's signed receipt as plain data.

        Raises HubRefused, HubUnreachable, ReceiptInvalid.
        """
        request = ApproveAdjustmentRequest(request_id=request_id, adjustment_id=adjustment_id)
        receipt = self._asked(APPROVE_PATH, request.SerializeToString())
        try:
            entry_id = ApproveAdjustmentResponse.FromString(receipt.response).entry_id
        except DecodeError as error:
            raise ReceiptInvalid("receipt: the answer is not a posted correction") from error
        return entry_id, receipt_content(receipt)

    def withdraw_adjustment(self, request_id: str, adjustment_id: int, reason: str) -> dict[str, object]:
        """Takes a correction that is not posted back; gives the hub's signed receipt as plain data.

        Raises HubRefused, HubUnreachable, ReceiptInvalid.
        """
        request = WithdrawAdjustmentRequest(request_id=request_id, adjustment_id=adjustment_id, reason=reason)
        return receipt_content(self._asked(WITHDRAW_PATH, request.SerializeToString()))

    def _asked(self, path: str, request: bytes) -> HubReceipt:
        receipt = self._hub.ask(path, request)
        verify_answer(receipt, path, self._hub_keys, self._audience)
        return receipt


def proposal(request_id: str, posting: Posting, reason: str) -> ProposeAdjustmentRequest:
    """The message that asks for a posting."""
    if posting.kind == MONEY:
        money = MoneyMove(
            payer_id=posting.payer_id,
            payee_id=posting.payee_id,
            micros=posting.micros,
            event_time=_timestamp(posting.event_time),
        )
        return ProposeAdjustmentRequest(request_id=request_id, reason=reason, money=money)
    fields: dict[str, Any] = {
        "request_id": request_id,
        "member_id": posting.member_id,
        "event_time": _timestamp(posting.event_time),
        "store_id": posting.store_id,
        "terminal_id": posting.terminal_id,
        "reference": posting.reference,
        "points": posting.points,
    }
    if posting.kind in (CLAW_BACK, REFUND):
        fields |= {"original_request_id": posting.original_request_id, "part": posting.part}
    subject = {posting.kind: _COMMANDS[posting.kind](**fields)}
    return ProposeAdjustmentRequest(
        request_id=request_id, reason=reason, partner_id=posting.partner_id, **subject
    )


def _timestamp(text: str) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(datetime.fromisoformat(text))
    return moment
