"""Commands of partners between wire and core: one function a kind, and the table that names them all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message

from exchange.core import commands as core
from exchange.core.commands import Authority, PartnerCommand, Quote
from exchange.core.ids import member_number
from exchange.core.points import MAX_POINTS, MAX_SPEND_MINOR
from exchange.rpc.errors import InvalidField
from exchange.rpc.quotes import QuoteBook, Quoted
from exchange.rpc.translate import (
    check_optional_text,
    check_range,
    check_request_id,
    check_text,
    from_date,
    from_timestamp,
)
from tongdui.exchange.v1 import commands_pb2
from tongdui.signing import fingerprint

MAX_REASON: Final = 200
MAX_PART: Final = 1_000_000
MAX_HOLD_SECONDS: Final = 7 * 86_400
PAY_CODE_DIGITS: Final = 20
PAY_CODE_PREFIX: Final = "TONGDUI:"
"""What a scanned code may begin with."""

_Common = tuple[str, bytes, int, datetime, str, str, str, str, str, str]


class Asker(NamedTuple):
    """Who asks: the partner's number and code, and who checks its quotes."""

    partner_id: int
    partner: str
    quotes: QuoteBook

    def quote(self, request: Any, operation: str, amount: int) -> Quote | None:
        """The quote that a request carries, if any."""
        if not request.quote:
            return None
        return self.quotes.check(request.quote, Quoted(request.member_id, self.partner, operation, amount))


def to_earn(asker: Asker, request: commands_pb2.EarnRequest) -> core.Earn:
    """An earn of the calling partner."""
    basis = request.WhichOneof("basis")
    points = spend = native = 0
    if basis == "points":
        points = check_range("points", request.points, 1, MAX_POINTS)
    elif basis == "eligible_spend_minor":
        spend = check_range("eligible_spend_minor", request.eligible_spend_minor, 1, MAX_SPEND_MINOR)
    elif basis == "native_points":
        native = check_range("native_points", request.native_points, 1, MAX_POINTS)
    else:
        raise InvalidField(
            "basis", "exactly one of points, eligible_spend_minor and native_points must be set"
        )
    common = _common("earn", request)
    if not (native or request.pending or request.once_rule or request.quote):
        return core.Earn(asker.partner_id, *common, points, spend, _own_expiry(request))
    return core.Earn(
        asker.partner_id,
        *common,
        points,
        spend,
        _own_expiry(request),
        native,
        request.pending,
        check_optional_text("once_rule", request.once_rule),
        asker.quote(request, _EARN_QUOTES[basis], points or spend or native),
    )


_EARN_QUOTES: Final = {
    "points": "earn_points",
    "eligible_spend_minor": "earn_spend_minor",
    "native_points": "earn_native_points",
}


def to_burn(asker: Asker, request: commands_pb2.BurnRequest) -> core.Burn:
    """A burn at the calling partner."""
    points = check_range("points", request.points, 1, MAX_POINTS)
    if not (request.pay_code or request.quote):
        return core.Burn(asker.partner_id, *_common("burn", request), points)
    authority = _authority(asker, request, "burn_points", points)
    return core.Burn(asker.partner_id, *_common("burn", request), points, authority)


def _confirm_earn(asker: Asker, request: commands_pb2.ConfirmEarnRequest) -> core.ConfirmEarn:
    return core.ConfirmEarn(asker.partner_id, *_common("confirm_earn", request), _original(request))


def _cancel_earn(asker: Asker, request: commands_pb2.CancelEarnRequest) -> core.CancelEarn:
    return core.CancelEarn(asker.partner_id, *_common("cancel_earn", request), _original(request))


def to_claw_back_earn(asker: Asker, request: commands_pb2.ClawBackEarnRequest) -> core.ClawBackEarn:
    """A claw back by the calling partner."""
    basis = request.WhichOneof("basis")
    points = spend = 0
    if basis == "points":
        points = check_range("points", request.points, 1, MAX_POINTS)
    elif basis == "refunded_spend_minor":
        spend = check_range("refunded_spend_minor", request.refunded_spend_minor, 1, MAX_SPEND_MINOR)
    else:
        raise InvalidField("basis", "exactly one of points and refunded_spend_minor must be set")
    common = _common("claw_back_earn", request)
    return core.ClawBackEarn(asker.partner_id, *common, _original(request), _part(request), points, spend)


def _authorize_burn(asker: Asker, request: commands_pb2.AuthorizeBurnRequest) -> core.AuthorizeBurn:
    points = check_range("points", request.points, 1, MAX_POINTS)
    seconds = check_range("hold_seconds", request.hold_seconds, 0, MAX_HOLD_SECONDS)
    authority = _authority(asker, request, "burn_points", points)
    common = _common("authorize_burn", request)
    return core.AuthorizeBurn(asker.partner_id, *common, points, seconds, authority)


def _extend_hold(asker: Asker, request: commands_pb2.ExtendHoldRequest) -> core.ExtendHold:
    seconds = check_range("hold_seconds", request.hold_seconds, 1, MAX_HOLD_SECONDS)
    return core.ExtendHold(asker.partner_id, *_common("extend_hold", request), _original(request), seconds)


def _capture_burn(asker: Asker, request: commands_pb2.CaptureBurnRequest) -> core.CaptureBurn:
    points = check_range("points", request.points, 0, MAX_POINTS)
    return core.CaptureBurn(asker.partner_id, *_common("capture_burn", request), _original(request), points)


def _void_burn(asker: Asker, request: commands_pb2.VoidBurnRequest) -> core.VoidBurn:
    return core.VoidBurn(asker.partner_id, *_common("void_burn", request), _original(request))


def to_refund_burn(asker: Asker, request: commands_pb2.RefundBurnRequest) -> core.RefundBurn:
    """A refund by the calling partner."""
    points = check_range("points", request.points, 1, MAX_POINTS)
    common = _common("refund_burn", request)
    return core.RefundBurn(asker.partner_id, *common, _original(request), _part(request), points)


def _exchange_in(asker: Asker, request: commands_pb2.ExchangeInRequest) -> core.ExchangeIn:
    native = check_range("native_points", request.native_points, 1, MAX_POINTS)
    quote = asker.quote(request, "exchange_in_native_points", native)
    common = _common("exchange_in", request)
    return core.ExchangeIn(asker.partner_id, *common, native, _own_expiry(request), quote)


def _exchange_out(asker: Asker, request: commands_pb2.ExchangeOutRequest) -> core.ExchangeOut:
    points = check_range("points", request.points, 1, MAX_POINTS)
    authority = _authority(asker, request, "exchange_out_points", points)
    return core.ExchangeOut(asker.partner_id, *_common("exchange_out", request), points, authority)


def _confirm_exchange_out(
    asker: Asker, request: commands_pb2.ConfirmExchangeOutRequest
) -> core.ConfirmExchangeOut:
    common = _common("confirm_exchange_out", request)
    return core.ConfirmExchangeOut(asker.partner_id, *common, _original(request))


def _refuse_exchange_out(
    asker: Asker, request: commands_pb2.RefuseExchangeOutRequest
) -> core.RefuseExchangeOut:
    common = _common("refuse_exchange_out", request)
    return core.RefuseExchangeOut(asker.partner_id, *common, _original(request))


def _transfer(asker: Asker, request: commands_pb2.TransferRequest) -> core.Transfer:
    receiver = member_number(check_text("to_member_id", request.to_member_id))
    points = check_range("points", request.points, 1, MAX_POINTS)
    authority = Authority(_pay_code(request.pay_code))
    return core.Transfer(asker.partner_id, *_common("transfer", request), receiver, points, authority)


class Kind(NamedTuple):
    """A kind of command: its request's class, and what makes the core's command of it."""

    message: type[Message]
    to_command: Callable[[Asker, Any], PartnerCommand]


KINDS: Final[dict[str, Kind]] = {
    "earn": Kind(commands_pb2.EarnRequest, to_earn),
    "burn": Kind(commands_pb2.BurnRequest, to_burn),
    "confirm_earn": Kind(commands_pb2.ConfirmEarnRequest, _confirm_earn),
    "cancel_earn": Kind(commands_pb2.CancelEarnRequest, _cancel_earn),
    "claw_back_earn": Kind(commands_pb2.ClawBackEarnRequest, to_claw_back_earn),
    "authorize_burn": Kind(commands_pb2.AuthorizeBurnRequest, _authorize_burn),
    "extend_hold": Kind(commands_pb2.ExtendHoldRequest, _extend_hold),
    "capture_burn": Kind(commands_pb2.CaptureBurnRequest, _capture_burn),
    "void_burn": Kind(commands_pb2.VoidBurnRequest, _void_burn),
    "refund_burn": Kind(commands_pb2.RefundBurnRequest, to_refund_burn),
    "exchange_in": Kind(commands_pb2.ExchangeInRequest, _exchange_in),
    "exchange_out": Kind(commands_pb2.ExchangeOutRequest, _exchange_out),
    "confirm_exchange_out": Kind(commands_pb2.ConfirmExchangeOutRequest, _confirm_exchange_out),
    "refuse_exchange_out": Kind(commands_pb2.RefuseExchangeOutRequest, _refuse_exchange_out),
    "transfer": Kind(commands_pb2.TransferRequest, _transfer),
}
"""Every kind a partner can ask for, by its field in `Command`."""


def to_command(asker: Asker, command: commands_pb2.Command) -> PartnerCommand:
    """A command of a batch."""
    which = command.WhichOneof("command")
    if which == "earn":
        return to_earn(asker, command.earn)
    if which == "burn":
        return to_burn(asker, command.burn)
    if which is None:
        raise InvalidField("command", "exactly one command must be set")
    return KINDS[which].to_command(asker, getattr(command, which))


def _common(kind: str, request: Any) -> _Common:
    member_id = check_text("member_id", request.member_id)
    if not request.HasField("event_time"):
        raise InvalidField("event_time", "must be set")
    return (
        check_request_id(request.request_id),
        fingerprint(kind, request.SerializeToString(deterministic=True)),
        member_number(member_id),
        from_timestamp("event_time", request.event_time),
        check_text("store_id", request.store_id),
        check_text("terminal_id", request.terminal_id),
        check_text("reference", request.reference),
        check_optional_text("reason", request.reason, MAX_REASON),
        check_optional_text("campaign_id", request.campaign_id),
        check_optional_text("channel", request.channel),
    )


def _original(request: Any) -> str:
    value: str = request.original_request_id
    if not value.isascii():
        raise InvalidField("original_request_id", "must be ASCII")
    return check_text("original_request_id", value)


def _part(request: Any) -> int:
    return check_range("part", request.part, 0, MAX_PART)


def _own_expiry(request: Any) -> date | None:
    return from_date("expiry_date", request.expiry_date) if request.HasField("expiry_date") else None


def _authority(asker: Asker, request: Any, operation: str, points: int) -> Authority:
    return Authority(_pay_code(request.pay_code), asker.quote(request, operation, points))


def _pay_code(code: str) -> bytes:
    """What the ledger knows of a pay code; nothing for none."""
    digits = code.removeprefix(PAY_CODE_PREFIX)
    if code and not (len(digits) == PAY_CODE_DIGITS and digits.isascii() and digits.isdecimal()):
        raise InvalidField("pay_code", f"must be {PAY_CODE_DIGITS} digits")
    return sha256(digits.encode()).digest() if code else b""
