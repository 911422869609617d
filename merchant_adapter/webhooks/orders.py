"""What an order of a shop asks of the ledger: pure rules from an order, as of a version, to commands on points.

An order only grows: what a version says, a later one says too, and adds to it. So do its commands, each with a request
id made of the order's own names. Whichever versions arrive, and how often, the commands of the newest are those of all.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TypedDict

from merchant_adapter.points_commands import (
    CancelEarnCommand,
    CaptureBurnCommand,
    ClawBackEarnCommand,
    ConfirmEarnCommand,
    EarnCommand,
    PointsCommand,
    RefundBurnCommand,
    VoidBurnCommand,
)
from merchant_adapter.request_ids import derived_request_id
from merchant_adapter.webhooks.order_event import OrderEvent, OrderPolicy, OrderRefund, OrderState


class OrderChanged(Exception):
    """A version contradicts one that commands were made from; a person decides what becomes of it."""


def commands_of(
    event: OrderEvent, applied: OrderEvent | None, policy: OrderPolicy, source: str, member_id: str
) -> list[PointsCommand[Any]]:
    """The commands that an order asks for, less those made from the version `applied` before; in order.

    `source` names the partner and the platform: the same order of another one is another order. Raises OrderChanged.
    """
    if applied is None or not applied.customer_id:
        return list(_Order(event, policy, source, member_id).commands())
    if applied.customer_id != event.customer_id:
        raise OrderChanged("customer_id: the points of this order went to another customer")
    if applied.state is OrderState.CANCELLED:
        if event.state is not OrderState.CANCELLED:
            raise OrderChanged(f"state: the order was cancelled, and is {event.state.value} now")
        return []  # everything was taken back; what is told of it later changes nothing
    before = list(_Order(applied, policy, source, member_id).commands())
    known = frozenset(refund.refund_id for refund in applied.refunds)
    now = {one.request_id: one for one in _Order(event, policy, source, member_id, known).commands()}
    for made in before:
        _check_same(made, now.pop(made.request_id, None))
    return list(now.values())


def _check_same(made: PointsCommand[Any], now: PointsCommand[Any] | None) -> None:
    kind = type(made).__name__.removesuffix("Command")
    if now is None:
        raise OrderChanged(f"{kind} at {made.event_time.isoformat()} was asked for before, and is not now")
    for name in made.__dataclass_fields__:
        was, found = getattr(made, name), getattr(now, name)
        if was != found:
            raise OrderChanged(f"{kind}: {name} was {was} before, and is {found} now")


class _Common(TypedDict):
    member_id: str
    store_id: str
    terminal_id: str


class _Order:
    """One order, walked through from its payment to its end."""

    def __init__(
        self,
        event: OrderEvent,
        policy: OrderPolicy,
        source: str,
        member_id: str,
        known_refunds: frozenset[str] = frozenset(),
    ) -> None:
        """`known_refunds` are of a version before, and count although the order is cancelled as of a time before."""
        self._event = event
        self._known_refunds = known_refunds
        self._policy = policy
        self._source = source
        self._where = _Common(
            member_id=member_id,
            store_id=event.store_id or policy.store_id,
            terminal_id=event.terminal_id or policy.terminal_id,
        )
        paid = _eligible(event.paid_minor, event, policy)
        self._left_minor = 0 if event.paid_time is None else paid
        self._is_pending = policy.confirm_on is OrderState.COMPLETED
        self._has_earn = self._left_minor > 0
        self._points_left = event.points_paid
        self._burn_id = event.burn_request_id
        self._waiting_refunds: list[OrderRefund] = []

    def commands(self) -> Iterator[PointsCommand[Any]]:
        """All that the order asks for: a later version of it asks for the same, and then more."""
        if not self._event.customer_id:
            return
        if self._event.paid_time is not None:
            yield from self._pay(self._event.paid_time)
        for time, fact in _facts(self._event, self._known_refunds):
            match fact:
                case OrderRefund():
                    yield from self._refund(fact)
                case OrderState.COMPLETED:
                    yield from self._complete(time)
                case _:
                    yield from self._cancel(time)
                    return

    def _pay(self, time: datetime) -> Iterator[PointsCommand[Any]]:
        if self._has_earn:
            yield EarnCommand(
                **self._where,
                event_time=time,
                reference=self._event.order_id,
                request_id=self._id("earn"),
                eligible_spend_minor=self._left_minor,
                pending=self._is_pending,
            )
        if self._policy.capture_on is OrderState.PAID:
            yield from self._capture(time)

    def _complete(self, time: datetime) -> Iterator[PointsCommand[Any]]:
        if self._has_earn and self._is_pending:
            self._is_pending = False
            yield ConfirmEarnCommand(
                **self._where,
                event_time=time,
                reference=self._event.order_id,
                request_id=self._id("confirm_earn"),
                original_request_id=self._id("earn"),
            )
        yield from self._capture(time)

    def _refund(self, refund: OrderRefund) -> Iterator[PointsCommand[Any]]:
        spend = min(_eligible(refund.refunded_minor, refund, self._policy), self._left_minor)
        if spend:
            yield self._claw_back(spend, refund.time, refund.refund_id)
        if self._burn_id:
            yield from self._refund_burn(refund.points, refund.time, refund.refund_id)
        else:  # a refund follows a burn: until the hold is captured there is none
            self._waiting_refunds.append(refund)

    def _cancel(self, time: datetime) -> Iterator[PointsCommand[Any]]:
        if self._has_earn and self._is_pending:
            yield CancelEarnCommand(
                **self._where,
                event_time=time,
                reference=self._event.order_id,
                request_id=self._id("cancel_earn"),
                original_request_id=self._id("earn"),
            )
        elif self._left_minor:
            yield self._claw_back(self._left_minor, time)
        if self._burn_id:
            yield from self._refund_burn(self._points_left, time)
        elif self._event.hold_request_id:
            yield VoidBurnCommand(
                **self._where,
                event_time=time,
                reference=self._event.order_id,
                request_id=self._id("void_burn"),
                original_request_id=self._event.hold_request_id,
            )

    def _capture(self, time: datetime) -> Iterator[PointsCommand[Any]]:
        if self._burn_id or not self._event.hold_request_id:
            return
        # All of it, also where goods came back before: then what was captured is refunded, and a later version
        # never has to change what an earlier one asked for.
        self._burn_id = self._id("capture_burn")
        yield CaptureBurnCommand(
            **self._where,
            event_time=time,
            reference=self._event.order_id,
            request_id=self._burn_id,
            original_request_id=self._event.hold_request_id,
            points=self._event.points_paid,
        )
        for refund in self._waiting_refunds:
            yield from self._refund_burn(refund.points, max(refund.time, time), refund.refund_id)

    def _claw_back(self, spend_minor: int, time: datetime, refund_id: str = "") -> ClawBackEarnCommand:
        self._left_minor -= spend_minor
        return ClawBackEarnCommand(
            **self._where,
            event_time=time,
            reference=self._reference(refund_id),
            request_id=self._id("claw_back_earn", refund_id),
            original_request_id=self._id("earn"),
            refunded_spend_minor=spend_minor,
        )

    def _refund_burn(self, points: int, time: datetime, refund_id: str = "") -> Iterator[PointsCommand[Any]]:
        points = min(points, self._points_left)
        if points:
            self._points_left -= points
            yield RefundBurnCommand(
                **self._where,
                event_time=time,
                reference=self._reference(refund_id),
                request_id=self._id("refund_burn", refund_id),
                original_request_id=self._burn_id,
                points=points,
            )

    def _reference(self, refund_id: str) -> str:
        # Neither id has a space, so no two refunds of a partner have the same reference.
        return f"{self._event.order_id} {refund_id}" if refund_id else self._event.order_id

    def _id(self, step: str, refund_id: str = "") -> str:
        return derived_request_id(self._source, self._event.order_id, step, refund_id)


def _facts(
    event: OrderEvent, known_refunds: frozenset[str]
) -> Sequence[tuple[datetime, OrderState | OrderRefund]]:
    """What became of an order after it was paid, by time; where times are equal, the end comes last."""
    facts: list[tuple[datetime, int, str, OrderState | OrderRefund]] = []
    for refund in event.refunds:
        is_late = event.cancelled_time is not None and refund.time > event.cancelled_time
        counts = is_late and refund.refund_id in known_refunds
        time = event.cancelled_time if counts and event.cancelled_time is not None else refund.time
        facts.append((time, 1, refund.refund_id, refund))
    if event.completed_time is not None:
        facts.append((event.completed_time, 0, "", OrderState.COMPLETED))
    if event.cancelled_time is not None:
        facts.append((event.cancelled_time, 2, "", OrderState.CANCELLED))
    return [(time, fact) for time, _, _, fact in sorted(facts, key=lambda it: it[:3])]


def _eligible(total_minor: int, parts: OrderEvent | OrderRefund, policy: OrderPolicy) -> int:
    """What earns points: the total, less what the policy excludes, less the value paid with points."""
    left_out = parts.points_value_minor
    left_out += parts.tax_minor if policy.exclude_tax else 0
    left_out += parts.shipping_minor if policy.exclude_shipping else 0
    return max(0, total_minor - left_out)
