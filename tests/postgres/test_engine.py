"""Connections: every form of URL that libpq knows, and sessions that let go in time."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import text

from exchange.store.engine import BadDatabaseUrl, open_connection, open_engine
from exchange.store.failures import Race, StoreUnavailable, translated_failures, without_values
from exchange.store.transactions import translated
from tests.postgres.ledger_at_work import Office
from tests.waiting import eventually


def settings_of(url: str) -> dict[str, str]:
    engine = open_engine(url)
    names = ("role", "timezone", "application_name", "work_mem", "idle_in_transaction_session_timeout")
    try:
        with engine.connect() as connection:
            return {
                name: connection.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar_one()
                for name in names
            }
    finally:
        engine.dispose()


def test_a_url_with_several_hosts_options_and_a_name_of_its_own_is_taken_as_libpq_takes_it(
    ledger_url: str,
) -> None:
    parts = {name: str(value) for name, value in conninfo_to_dict(ledger_url).items()}
    directory, port = parts["host"], parts["port"]
    url = (
        f"postgresql://{parts['user']}@/{parts['dbname']}?host=/nowhere,{directory}&port=1,{port}"
        "&options=-c%20work_mem%3D9MB%20-c%20timezone%3DAsia/Tokyo&application_name=tea%20house"
    )

    settings = settings_of(url)

    assert settings == {
        "role": "tongdui_hub",
        "timezone": "UTC",
        "application_name": "tea house",
        "work_mem": "9MB",
        "idle_in_transaction_session_timeout": "10s",
    }


def test_hosts_in_the_authority_are_tried_in_turn(ledger_url: str) -> None:
    with pytest.raises(psycopg.OperationalError) as away:
        open_connection("postgresql://127.0.0.1:1,127.0.0.2:2/none")

    assert "127.0.0.2" in str(away.value)


def test_a_service_names_the_server(ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = "".join(f"{name}={value}\n" for name, value in conninfo_to_dict(ledger_url).items())
    (tmp_path / "services").write_text(f"[tongdui]\n{entries}")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))

    assert settings_of("service=tongdui")["role"] == "tongdui_hub"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret:x@h:1:2/db",
        "postgresql://h:99999/db",
        "postgresql://u:se%zzcret@h/db",
        "postgresql://h/?secret=1",
    ],
)
def test_a_url_that_libpq_can_not_read_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(BadDatabaseUrl) as refused:
        open_engine(url)

    assert "cret" not in without_values(refused.value) + str(refused.value)
    assert refused.value.__suppress_context__


def test_a_lock_that_does_not_come_free_is_a_race(office: Office) -> None:
    waiting = open_connection(office.url)
    waiting.execute("SET lock_timeout = '20ms'")
    with psycopg.connect(office.url) as holder:
        holder.execute("LOCK TABLE exchange.chain")

        with pytest.raises(Race), translated_failures():
            waiting.execute("SELECT * FROM exchange.chain")

    waiting.close()


def test_a_session_that_was_idle_too_long_is_a_store_that_is_away(office: Office) -> None:
    with office.engine.connect() as connection:
        (pid,) = connection.execute(text("SELECT pg_backend_pid()")).one()
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '1ms'"))
        with psycopg.connect(office.url, autocommit=True) as other:
            is_there = "SELECT FROM pg_stat_activity WHERE pid = %s"
            eventually(lambda: not other.execute(is_there, [pid]).rowcount)

        with pytest.raises(StoreUnavailable), translated():
            connection.execute(text("SELECT 1"))


def test_a_database_error_is_told_by_its_class_state_and_place_and_shows_no_row(office: Office) -> None:
    insert = text("INSERT INTO exchange.partners (partner_id, code, display_name) VALUES (:id, :code, '')")
    rows = [{"id": number, "code": "customer-of-mine"} for number in (98, 99)]

    with pytest.raises(psycopg.Error) as refused, translated(), office.engine.begin() as connection:
        connection.execute(insert, rows)

    told = without_values(refused.value)
    assert "customer-of-mine" in str(refused.value)
    assert "customer-of-mine" not in told
    assert "UniqueViolation 23505 partners_code_key" in told
    assert "test_engine.py" in told
