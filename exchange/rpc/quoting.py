"""PointsService.Quote: a price before anything happens."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from exchange.core import quoting
from exchange.core.ids import member_number
from exchange.core.points import MAX_POINTS, MAX_SPEND_MINOR
from exchange.core.refusals import Refusal
from exchange.rpc.calls import Incoming
from exchange.rpc.errors import InvalidField, error
from exchange.rpc.lanes import Lanes
from exchange.rpc.quotes import QuoteBook, Quoted
from exchange.rpc.translate import check_range, check_text, parse, to_timestamp
from exchange.store.reads.quoting import Stall, read_stall
from exchange.store.reads.snapshots import Snapshots
from tongdui.exchange.v1 import points_service_pb2

LIFE: Final = timedelta(minutes=10)
"""How long a quote holds: long enough for a checkout, short enough that prices stay what cards say."""


class Quoter:
    """Answers `Quote`. Reads only; a quote is a promise that the hub signs and forgets."""

    def __init__(self, snapshots: Snapshots, lanes: Lanes, quotes: QuoteBook) -> None:
        """Takes who reads, where, and who signs."""
        self._snapshots = snapshots
        self._lane = lanes.reads
        self._quotes = quotes

    async def quote(self, incoming: Incoming) -> bytes:
        """A signed price. Raises MEMBER_UNKNOWN, NO_RATE_CARD, or what the command would be refused for."""
        request = parse(points_service_pb2.QuoteRequest, incoming.body)
        member = check_text("member_id", request.member_id)
        operation = request.WhichOneof("operation")
        if operation is None:
            raise InvalidField("operation", "exactly one operation must be set")
        limit = MAX_SPEND_MINOR if operation == quoting.EARN_SPEND else MAX_POINTS
        amount = check_range(operation, getattr(request, operation), 1, limit)
        quoted = Quoted(member, incoming.caller.owner, operation, amount)
        return await self._lane.run(lambda: self._quote(quoted, incoming.caller.partner_id))

    def _quote(self, quoted: Quoted, partner_id: int) -> bytes:
        number = member_number(quoted.member_id)
        stall = self._snapshots.read(lambda it: read_stall(it, number, partner_id, quoted.partner))
        if stall is None:
            raise error("MEMBER_UNKNOWN")
        if stall.card is None:
            raise error("NO_RATE_CARD")
        price = quoting.price(quoted.operation, quoted.amount, stall.card, stall.minor_per_major)
        if isinstance(price, Refusal):
            raise error(price.reason.value, **dict(price.metadata))
        expire_time = stall.wall_time + LIFE
        return points_service_pb2.QuoteResponse(
            quote=self._quotes.sign(quoted, stall.card.version, expire_time),
            points=price.points,
            value_micros=price.points * stall.card.face_value_micros,
            maximum_points=_maximum(stall),
            rate_version=stall.card.version,
            native_points=price.native_points,
            expire_time=to_timestamp(expire_time),
        ).SerializeToString(deterministic=True)


def _maximum(stall: Stall) -> int:
    """What could be spent now on the member's consent; with a pay code it may be all that is available."""
    return min(stall.wallet.available_points, stall.consented_points)
