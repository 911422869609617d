"""Settlement's schema: what the migrations make is what the code declares, here and at the hub."""

import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, MetaData, text

from exchange.store import engine as hub
from settlement import store
from settlement.core.netting import Flow
from settlement.core.window import WindowSums
from settlement.store import feed, tables, views
from settlement.store.engine import libpq_conninfo, migrate, open_engine
from tests.conftest import Databases
from tests.settlement_hub import DAY_1, DAY_2, PostedLedger, prepare

Columns = dict[str, dict[str, str]]


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def owner_engine(database_url: str) -> Engine:
    """An engine that is not bound to settlement's role, to see the whole catalogue."""
    return hub.open_engine(database_url, role=None)


def catalogue(connection: Connection, schema: str) -> Columns:
    rows = connection.execute(
        text(
            "SELECT relname, attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " JOIN pg_class ON pg_class.oid = attrelid"
            " WHERE relnamespace = CAST(:schema AS regnamespace) AND attnum > 0 AND relkind IN ('r', 'v')"
            " ORDER BY relname, attnum"
        ),
        {"schema": schema},
    )
    found: Columns = {}
    for table, column, kind in rows:
        found.setdefault(table, {})[column] = kind
    return found


def declared(metadata: MetaData, connection: Connection) -> Columns:
    return {
        table.name: {
            column.name: column.type.compile(dialect=connection.dialect).lower() for column in table.columns
        }
        for table in metadata.tables.values()
    }


def test_the_hubs_views_have_the_columns_settlement_declares(database_url: str) -> None:
    hub.migrate(database_url)

    with connected(owner_engine(database_url)) as connection:
        shown = catalogue(connection, "exchange")
        wanted = declared(views.metadata, connection)

    assert {name: shown.get(name) for name in wanted} == wanted


def test_settlements_role_can_read_every_view_of_the_hub(database_url: str) -> None:
    hub.migrate(database_url)

    with connected(open_engine(database_url)) as connection:
        counts = [
            connection.execute(text(f"SELECT count(*) FROM {t}")).scalar_one() for t in views.metadata.tables
        ]
        with pytest.raises(feed.LedgerMissing):
            feed.read_ledger(connection)

    assert len(counts) == len(views.metadata.tables) > 12


def test_the_tables_that_stand_in_for_the_views_have_their_columns(database_url: str) -> None:
    prepare(database_url)

    with connected(owner_engine(database_url)) as connection:
        assert catalogue(connection, "exchange") == declared(views.metadata, connection)


def test_migrations_make_the_tables_that_are_declared(database_url: str) -> None:
    migrate(database_url)
    for module in pkgutil.iter_modules(store.__path__):
        if module.name.endswith("_tables"):  # each adds its own to the one metadata
            import_module(f"settlement.store.{module.name}")

    with connected(owner_engine(database_url)) as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == "settlement",
                "version_table": "schema_version",
                "version_table_schema": "settlement",
                "compare_type": True,
            },
        )
        differences = compare_metadata(context, tables.metadata)

    assert differences == []


def test_migrations_give_what_was_computed_before_runs_a_run_and_go_down_and_up_again(
    database_url: str,
) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(store.__path__[0]) / "migrations"))
    with connected(owner_engine(database_url)) as connection, connection.begin():
        config.attributes["connection"] = connection
        connection.execute(text("CREATE SCHEMA settlement"))
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO settlement.windows"
                " SELECT date '2026-01-01' + CAST(day AS integer), state, 1, 0, sha256(''), 0, now()"
                " FROM unnest(ARRAY['CERTIFIED', 'COMPUTED', 'CLOSED']) WITH ORDINALITY AS rows (state, day)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO settlement.certificates VALUES ('2026-01-02', '', encode(sha256(''), 'hex'), 'k')"
            )
        )

        command.upgrade(config, "head")
        runs = connection.execute(
            text("SELECT run_number, state, certified_by FROM settlement.runs ORDER BY window_date")
        )
        made = runs.all()
        command.downgrade(config, "0001")
        command.upgrade(config, "head")

        assert made == [(1, "CERTIFIED", "settlement"), (1, "RUNNING", None)]
        assert connection.execute(text("SELECT run_number FROM settlement.certificates")).scalar_one() == 1


@pytest.mark.parametrize("order", [(hub.migrate, migrate), (migrate, hub.migrate)], ids=["hub first", "last"])
def test_hub_and_settlement_migrate_in_either_order_and_again(
    database_url: str, order: tuple[Callable[[str], None], ...]
) -> None:
    for step in (*order, *order):
        step(database_url)

    with connected(open_engine(database_url)) as connection:
        assert connection.execute(text("SELECT count(*) FROM exchange.windows_v1")).scalar_one() == 0
        assert connection.execute(text("SELECT count(*) FROM settlement.windows")).scalar_one() == 0


@pytest.fixture(scope="module")
def prepared(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        prepare(url)
        yield url


def test_a_window_is_summed_by_party_and_component_and_by_no_other_window(prepared: str) -> None:
    ledger = PostedLedger.open(prepared)
    ledger.earn(DAY_1, "a", 100)
    ledger.earn(DAY_1, "a", 50)
    ledger.earn(DAY_2, "a", 7)
    ledger.connection.close()

    with connected(open_engine(prepared)) as connection:
        sums = feed.read_sums(connection, DAY_1)
        nothing = feed.read_sums(connection, DAY_1.replace(year=2020))

    assert sums.flows == (
        Flow("a", "ISSUE_FEE", "OPERATOR", "ISSUE_FEE", 30_000, 2),
        Flow("a", "ISSUE_FUNDING", "POOL", "ISSUE_FUNDING", 1_500_000, 2),
    )
    assert [(leg.points, leg.leg_count) for leg in sums.legs] == [(150, 2)]
    assert [(entry.entry_count, entry.first_sequence, entry.last_sequence) for entry in sums.entries] == [
        (2, 1, 2)
    ]
    assert nothing == WindowSums((), (), ())


def test_batches_of_two_hubs_whose_ids_cross_at_the_cut_off_are_summed_in_their_own_windows(
    prepared: str,
) -> None:
    ledger = PostedLedger.open(prepared)
    for day, points in ((DAY_1, 100), (DAY_1, 50), (DAY_2, 7), (DAY_2, 3)):
        ledger.earn(day, "a", points)
    with connected(open_engine(prepared)) as connection:
        straight = [feed.read_sums(connection, day) for day in (DAY_1, DAY_2)]

    for table in ("batches", "entries", "legs", "lines"):  # 102 and 103 change places
        ledger.connection.execute(
            f"UPDATE exchange.chained_{table}_v1 SET batch_id = 205 - batch_id WHERE batch_id IN (102, 103)".encode()
        )
    ledger.connection.close()

    with connected(open_engine(prepared)) as connection:
        assert [feed.read_sums(connection, day) for day in (DAY_1, DAY_2)] == straight
    assert [sum(leg.points for leg in sums.legs) for sums in straight] == [150, 10]


def test_a_party_nobody_has_a_name_for_is_no_party_of_a_statement(prepared: str) -> None:
    ledger = PostedLedger.open(prepared)
    ledger.earn(DAY_1, "a", 100)
    ledger.connection.execute("UPDATE exchange.chained_lines_v1 SET payer_id = 77")
    ledger.connection.close()

    with (
        connected(open_engine(prepared)) as connection,
        pytest.raises(feed.NumberUnknown, match="no name or no price"),
    ):
        feed.read_sums(connection, DAY_1)


def test_a_sum_beyond_63_bits_is_exact(prepared: str) -> None:
    ledger = PostedLedger.open(prepared)
    for _ in range(3):
        line = ("a", "ISSUE_FUNDING", "POOL", "ISSUE_FUNDING", 2**62)
        ledger.post(DAY_1, "earn", "a", 1, [("a", "issued", "open", 1)], [line])
    ledger.connection.close()

    with connected(open_engine(prepared)) as connection:
        (flow,) = feed.read_sums(connection, DAY_1).flows

    assert flow.exact_micros == 3 * 2**62


@pytest.mark.parametrize(
    ("given", "conninfo"),
    [
        ("postgresql+psycopg://u@h/d", "postgresql://u@h/d"),
        (
            "postgresql://u@a,b/d?target_session_attrs=read-write",
            "postgresql://u@a,b/d?target_session_attrs=read-write",
        ),
        ("postgres://u@h/d", "postgresql://u@h/d"),
        ("service=tongdui", "service=tongdui"),
    ],
)
def test_every_form_of_address_reaches_libpq(given: str, conninfo: str) -> None:
    assert libpq_conninfo(given) == conninfo
