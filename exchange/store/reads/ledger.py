"""The ledger's constants and its clock."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, case, func, select

from exchange.core.book import Terms
from exchange.store.tables import LEDGER


class Ledger(NamedTuple):
    """What the coalition agreed once for all, and the time on the ledger clock (`system` or `manual`)."""

    audience: str
    currency_code: str
    minor_unit_digits: int
    time_zone: str
    cut_off_seconds: int
    late_limit_seconds: int
    card_notice_seconds: int
    first_window_date: date
    claw_back: str
    refund: str
    grace_days: int
    pending_days: int
    member_daily_burns: int
    member_daily_points: int
    terminal_daily_burns: int
    terminal_daily_points: int
    transfer_limit_points: int
    transfer_daily_points: int
    clock: str
    ledger_time: datetime

    def terms(self) -> Terms:
        """What the rules need of it."""
        return Terms(
            ZoneInfo(self.time_zone),
            10**self.minor_unit_digits,
            timedelta(seconds=self.late_limit_seconds),
            timedelta(seconds=self.cut_off_seconds),
            **{name: getattr(self, name) for name in _RULES},
        )


_RULES: Final = Ledger._fields[Ledger._fields.index("claw_back") : Ledger._fields.index("clock")]


def read_clock(connection: Connection) -> Ledger:
    """The ledger as it is at this moment of its clock. There must be one; see `find_ledger`."""
    ledger = find_ledger(connection)
    assert ledger is not None, "the database holds no ledger"
    return ledger


def find_ledger(connection: Connection) -> Ledger | None:
    """The ledger as it is at this moment of its clock, or None before `tongdui-hub init`."""
    columns = LEDGER.c
    ledger_time = case((columns.clock == "manual", columns.manual_time), else_=func.clock_timestamp())
    constants = [columns[name] for name in Ledger._fields if name != "ledger_time"]
    row = connection.execute(select(*constants, ledger_time)).one_or_none()
    return None if row is None else Ledger._make(row)
