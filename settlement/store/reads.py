"""Reads for people and for the service: whole answers from committed steps, each in one snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from settlement.core.contracts import Contract, in_force
from settlement.core.netting import Flow
from settlement.core.payments import PaymentState, TrackedPayment
from settlement.core.rounding import StatementLine
from settlement.core.run_state import WindowState
from settlement.core.statement import Statement, party_statement, statements
from settlement.core.window import ClosedWindow, Ledger
from settlement.store import feed, tables, views
from settlement.store.load import (
    StoredCertificate,
    columns_of_a_run,
    load_all_contracts,
    load_certificate,
    load_computed,
    load_sums,
    load_window,
    of_present_run,
    stored_window,
)
from settlement.store.payments import PaymentEvent, load_events, load_payments


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A public key the hub has registered, and what it may do."""

    key_id: str
    owner: str
    public_key: bytes
    roles: frozenset[str]
    state: str
    valid_from: datetime
    valid_until: datetime


@dataclass(frozen=True, slots=True)
class SettledDay:
    """One business day settlement holds. `payable_minor` is 0 until it is computed."""

    window: ClosedWindow
    state: WindowState
    payable_minor: int


@dataclass(frozen=True, slots=True)
class DayOfStatements:
    """All statements of one computed day, with what is needed to write them."""

    ledger: Ledger
    state: WindowState
    statements: tuple[Statement, ...]
    flows: tuple[Flow, ...]
    display_names: dict[str, str]


@dataclass(frozen=True, slots=True)
class StatedDay:
    """One partner's statement, and the SHA-256 (hex) of its day's certificate; empty where there is none yet."""

    statement: Statement
    certificate_sha256: str


class DatabaseUnavailable(Exception):
    """The database did not answer. Asking again is right."""


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that sees all of a run's commit or nothing, however many statements are asked of it.

    Raises DatabaseUnavailable.
    """
    try:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            yield connection
    except (OperationalError, InterfaceError, PoolTimeout) as trouble:
        raise DatabaseUnavailable(str(trouble).partition("\n")[0]) from trouble


class Reads:
    """What settlement can tell. Safe to share between threads. Every method may raise DatabaseUnavailable."""

    def __init__(self, engine: Engine) -> None:
        """`engine` as `open_engine` makes it."""
        self._engine = engine

    def day(self, window_date: date) -> DayOfStatements | None:
        """Statements and bilateral flows of a day; None where it is not computed."""
        with snapshot(self._engine) as connection:
            stored = load_window(connection, window_date)
            if stored is None or not stored.state.reached(WindowState.COMPUTED):
                return None
            return DayOfStatements(
                ledger=feed.read_ledger(connection),
                state=stored.state,
                statements=statements(window_date, load_computed(connection, window_date).lines),
                flows=load_sums(connection, window_date).flows,
                display_names=partner_names(connection),
            )

    def statement(self, window_date: date, partner_id: str) -> Statement | None:
        """One partner's statement, of zeros where it never moved; None for an unknown day or partner."""
        found = self.stated_day(window_date, partner_id)
        return found.statement if found else None

    def stated_day(self, window_date: date, partner_id: str) -> StatedDay | None:
        """The same statement, and by which certificate it stands."""
        with snapshot(self._engine) as connection:
            stored = load_window(connection, window_date)
            if stored is None or not stored.state.reached(WindowState.COMPUTED):
                return None
            if partner_id not in partner_names(connection):
                return None
            lines = _party_lines(connection, window_date, partner_id)
            certificate = load_certificate(connection, window_date)
            return StatedDay(
                party_statement(window_date, partner_id, lines),
                certificate.document_sha256 if certificate else "",
            )

    def certificate(self, window_date: date) -> StoredCertificate | None:
        """The signed certificate of a day."""
        with snapshot(self._engine) as connection:
            return load_certificate(connection, window_date)

    def days_before(self, before: date | None, limit: int) -> list[SettledDay]:
        """At most `limit` days, newest first, from the one before `before` or from the newest."""
        lines = tables.statement_lines.c
        positions = (
            select(lines.window_date, lines.run_number, func.sum(lines.amount_minor).label("net"))
            .group_by(lines.window_date, lines.run_number, lines.party_id)
            .subquery()
        )
        payable = (
            select(func.coalesce(-func.sum(positions.c.net), 0))
            .where(
                positions.c.window_date == tables.windows.c.window_date,
                positions.c.run_number == tables.windows.c.run_number,
                positions.c.net < 0,
            )
            .scalar_subquery()
        )
        statement = select(tables.windows, payable.label("payable"))
        if before is not None:
            statement = statement.where(tables.windows.c.window_date < before)
        statement = statement.order_by(tables.windows.c.window_date.desc()).limit(limit)
        with snapshot(self._engine) as connection:
            rows = connection.execute(statement).all()
        return [SettledDay(*_window_and_state(row), int(row.payable)) for row in rows]

    def payments(
        self, window_date: date | None, state: PaymentState | None
    ) -> tuple[tuple[TrackedPayment, ...], Ledger]:
        """The payments of a day, or of all days, and in one state, or in any."""
        with snapshot(self._engine) as connection:
            listed = load_payments(connection, window_date=window_date, state=state)
            return listed, feed.read_ledger(connection)

    def payment(self, payment_id: str) -> tuple[TrackedPayment, list[PaymentEvent], Ledger] | None:
        """One payment with its history; None where there is none of that id."""
        with snapshot(self._engine) as connection:
            found = load_payments(connection, payment_ids=[payment_id])
            if not found:
                return None
            return found[0], load_events(connection, payment_id), feed.read_ledger(connection)

    def contracts(self, window_date: date | None) -> tuple[Contract, ...]:
        """The contracts in force on a day, or every one there ever was."""
        with snapshot(self._engine) as connection:
            every = load_all_contracts(connection)
            return every if window_date is None else in_force(every, window_date)

    def keys(self) -> dict[str, KnownKey]:
        """Every registered key by its id, in whatever state."""
        columns = views.keys_v1.c
        with snapshot(self._engine) as connection:
            rows = connection.execute(
                select(
                    columns.key_id,
                    columns.owner,
                    columns.public_key,
                    columns.roles,
                    columns.state,
                    columns.valid_from,
                    columns.valid_until,
                )
            ).all()
        return {
            row.key_id: KnownKey(
                key_id=row.key_id,
                owner=row.owner,
                public_key=bytes(row.public_key),
                roles=frozenset(row.roles),
                state=row.state,
                valid_from=row.valid_from,
                valid_until=row.valid_until,
            )
            for row in rows
        }

    def ping(self) -> None:
        """Returns where the database answers. Raises DatabaseUnavailable."""
        with snapshot(self._engine) as connection:
            connection.execute(text("SELECT 1"))


def _window_and_state(row: object) -> tuple[ClosedWindow, WindowState]:
    stored = stored_window(row)  # type: ignore[arg-type] # a Row, which has the columns of windows
    return stored.window, stored.state


def partner_names(connection: Connection) -> dict[str, str]:
    """The display name of every partner of the coalition, by its id."""
    columns = views.partners_v1.c
    rows = connection.execute(select(columns.partner_id, columns.display_name))
    return {row.partner_id: row.display_name for row in rows}


def _party_lines(connection: Connection, window_date: date, party_id: str) -> list[StatementLine]:
    table = tables.statement_lines
    rows = connection.execute(
        select(*columns_of_a_run(table)).where(
            of_present_run(table, window_date), table.c.party_id == party_id
        )
    )
    return [StatementLine(*row) for row in rows]
