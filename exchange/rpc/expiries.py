"""What is about to expire and whom to warn: the dry run of what the hub posts by itself."""

from __future__ import annotations

from datetime import date
from typing import Final

from exchange.core.ids import member_text
from exchange.rpc.calls import Incoming, Method
from exchange.rpc.lanes import Lanes
from exchange.rpc.paging import from_token, page_limit, split_page, to_token
from exchange.rpc.translate import check_range, parse, to_date, to_timestamp
from exchange.store.reads.expiries import Expiry, ExpiryWarning, Warned, read_expiry_page
from exchange.store.reads.snapshots import Snapshots
from tongdui.exchange.v1 import accounts_service_pb2 as messages

WARN_DAYS: Final = (30, 7)
"""How many days ahead of the last usable day members are warned."""

DEFAULT_DAYS: Final = 30
MAX_DAYS: Final = 366

_READERS: Final = frozenset({"operator", "auditor"})


class ExpiryReader:
    """Answers `ListExpiries`."""

    def __init__(self, snapshots: Snapshots, lanes: Lanes) -> None:
        """Takes who reads, and where."""
        self._snapshots = snapshots
        self._lane = lanes.reads

    def methods(self) -> tuple[Method, ...]:
        """The one rpc."""
        return (Method("ListExpiries", _READERS, self._list, is_write=False),)

    async def _list(self, incoming: Incoming) -> bytes:
        request = parse(messages.ListExpiriesRequest, incoming.body)
        days = check_range("days", request.days or DEFAULT_DAYS, 1, MAX_DAYS)
        after, limit = _place_in(request.page_token), page_limit(request.page_size)
        return await self._lane.run(lambda: self._page(days, after, limit))

    def _page(self, days: int, after: Warned | None, limit: int) -> bytes:
        read = self._snapshots.read(lambda it: read_expiry_page(it, days, WARN_DAYS, after, limit + 1))
        page, last = split_page(read.warnings, limit)
        return messages.ListExpiriesResponse(
            ledger_time=to_timestamp(read.ledger_time),
            today=to_date(read.today),
            expiries=[_from_expiry(row) for row in read.expiries],
            warnings=[_from_warning(row, read.today) for row in page],
            next_page_token=to_token(last.member_id, last.expiry_date.toordinal()) if last else "",
        ).SerializeToString()


def _place_in(token: str) -> Warned | None:
    key = from_token(token, int, int)
    if key is None:
        return None
    ordinal = min(max(int(key[1]), 1), date.max.toordinal())
    return Warned(int(key[0]), date.fromordinal(ordinal))


def _from_expiry(row: Expiry) -> messages.Expiry:
    return messages.Expiry(
        expiry_date=to_date(row.expiry_date),
        issuer_id=row.issuer_code,
        points=row.points,
        member_count=row.member_count,
    )


def _from_warning(row: ExpiryWarning, today: date) -> messages.ExpiryWarning:
    return messages.ExpiryWarning(
        member_id=member_text(row.member_id),
        expiry_date=to_date(row.expiry_date),
        days_ahead=(row.expiry_date - today).days,
        points=row.points,
    )
