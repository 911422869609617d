"""Settlement's calls to the hub, each signed; the signed answers are kept as evidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Self, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from google.type.date_pb2 import Date

from settlement.core.window import HubReceipt
from settlement.rpc.keys import PrivateKey
from settlement.rpc.receipts import CLOSE_WINDOW_PATH, SETTLE_WINDOW_PATH
from settlement.rpc.transport import open_channel
from tongdui.exchange.v1.journal_service_pb2 import CloseWindowRequest, SettleWindowRequest
from tongdui.signing import (
    DEFAULT_LIFE_SECONDS,
    RECEIPT_ENTRY_NAMES,
    checked_audience,
    content_digest,
    request_base,
    request_entries,
    request_params,
)

TIMEOUT_SECONDS = 60.0
"""The hub may have much to post before a window can close."""

_DETAILS_ENTRY = "grpc-status-details-bin"
_UNDECIDED = ("HUB_BUSY", "HUB_UNAVAILABLE", "INTERNAL")
"""Reasons with which the hub says that nothing is known to be decided."""


class HubUnreachable(Exception):
    """No answer, or none that says what was decided. Closing the same window again is always right."""


class HubRefused(Exception):
    """The hub said no. `reason` is the stable name from `error_reason.proto`, `metadata` what comes with it."""

    def __init__(self, reason: str, message: str, metadata: Mapping[str, str]) -> None:
        super().__init__(f"the hub refused: {message} ({reason})")
        self.reason = reason
        self.metadata = dict(metadata)


class HubClient:
    """Signs calls with one finance key. Not for several threads; close it, or use it with `with`."""

    def __init__(
        self,
        channel: grpc.Channel,
        key: PrivateKey,
        audience: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`key` is registered at the hub with a finance role; `now` gives Unix seconds."""
        self._channel = channel
        self._key = key
        self._audience = checked_audience(audience)
        self._now = now

    @classmethod
    def open(
        cls, address: str, key: PrivateKey, audience: str, root_certificates: bytes | None = None
    ) -> Self:
        """A client of the hub at `host:port` or `unix:` address; it connects when first used."""
        return cls(open_channel(address, root_certificates), key, audience)

    def close_window(self, window_date: date) -> HubReceipt:
        """Asks the hub to fix a window's watermark. The receipt is not verified here.

        The request id follows from the day, so any repeat, from any process, is the same decision.
        Raises HubRefused, HubUnreachable.
        """
        message = CloseWindowRequest(request_id=f"close-{window_date}", window_date=_wire_date(window_date))
        return self.ask(CLOSE_WINDOW_PATH, message.SerializeToString())

    def settle_window(self, window_date: date, certificate_sha256: str) -> HubReceipt:
        """Tells the hub that a window's payments are final. The receipt is not verified here.

        The request id follows from the day. Raises HubRefused, HubUnreachable.
        """
        message = SettleWindowRequest(
            request_id=f"settle-{window_date}",
            window_date=_wire_date(window_date),
            certificate_sha256=bytes.fromhex(certificate_sha256),
        )
        return self.ask(SETTLE_WINDOW_PATH, message.SerializeToString())

    def ask(self, path: str, request: bytes) -> HubReceipt:
        """Signs and sends one message of one method, and keeps the answer. Raises HubRefused, HubUnreachable."""
        metadata = self._signed(path, request)
        # No serialiser on either side: both signatures are over exactly these bytes.
        method: grpc.UnaryUnaryMultiCallable[bytes, Any] = self._channel.unary_unary(path)
        try:
            response, call = method.with_call(request, metadata=metadata, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as failure:
            raise _failure(cast("grpc.Call", failure)) from None  # a call's error is the call
        trailing = call.trailing_metadata() or ()
        return HubReceipt(
            path=path,
            request=request,
            request_metadata=metadata,
            response=response,
            receipt_metadata=tuple(
                (name, value)
                for name, value in trailing
                if name in RECEIPT_ENTRY_NAMES and isinstance(value, str)
            ),
        )

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _signed(self, path: str, body: bytes) -> tuple[tuple[str, str], ...]:
        digest, created = content_digest(body), int(self._now())
        params = request_params(created, created + DEFAULT_LIFE_SECONDS, self._key.key_id)
        signature = self._key.sign(request_base(path, digest, self._audience, params))
        return request_entries(digest, self._audience, params, signature)


def _wire_date(day: date) -> Date:
    return Date(year=day.year, month=day.month, day=day.day)


def _failure(failure: grpc.Call) -> HubRefused | HubUnreachable:
    message, info = failure.details() or failure.code().name, _error_info(failure)
    # An error without a reason of ours was made by gRPC or a proxy; behind it the hub may have decided.
    if not info.reason or info.reason in _UNDECIDED:
        return HubUnreachable(f"the hub did not answer: {message}")
    return HubRefused(info.reason, message, info.metadata)


def _error_info(failure: grpc.Call) -> ErrorInfo:
    """What the hub says of its refusal; an empty one where it says nothing that can be read."""
    for name, value in failure.trailing_metadata() or ():
        if name == _DETAILS_ENTRY and isinstance(value, bytes):
            return _error_info_in(value)
    return ErrorInfo()


def _error_info_in(details: bytes) -> ErrorInfo:
    info = ErrorInfo()
    try:
        found = any(detail.Unpack(info) for detail in Status.FromString(details).details)
    except DecodeError:
        found = False
    return info if found else ErrorInfo()
