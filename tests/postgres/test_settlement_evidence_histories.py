"""For random histories: what a window's evidence comes to is, byte for byte, what settlement certified."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from random import Random

import pytest

from settlement.__main__ import main
from settlement.core.contracts import Contract
from settlement.store.drill import BEGINNING, load_line_entries, load_party_entries
from settlement.store.engine import open_engine
from settlement.store.load import load_computed
from tests.conftest import Databases
from tests.settled_days import DAYS, SETTLEMENT_KEY, settle, write_hub_keys
from tests.settlement_hub import PostedLedger, prepare

PARTNERS = ("a", "b", "c")
PAIR = Contract("a", "b", "BILATERAL", DAYS[1], None)


@pytest.fixture(scope="module")
def prepared(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        prepare(url)
        yield url


def live(ledger: PostedLedger, random: Random) -> None:
    """Three days of earns, burns and refunds; a burn of what a partner has issued only."""
    standing = dict.fromkeys(PARTNERS, 0)
    burned: list[tuple[str, str, int]] = []
    for day in DAYS:
        for _ in range(random.randrange(12)):
            issuer, redeemer = random.choice(PARTNERS), random.choice(PARTNERS)
            points = random.randrange(1, 5_000)
            if random.random() < 0.5 or not standing[issuer] or issuer == redeemer:
                ledger.earn(day, issuer, points)
                standing[issuer] += points
            elif random.random() < 0.8 or not burned:
                points = min(points, standing[issuer])
                ledger.burn(day, redeemer, issuer, points)
                standing[issuer] -= points
                burned.append((redeemer, issuer, points))
            else:
                redeemer, issuer, points = burned.pop()
                ledger.refund(day, redeemer, issuer, points)
                standing[issuer] += points
    ledger.earn(DAYS[-1], "a", 100)
    ledger.burn(DAYS[-1], "b", "a", 40)


@pytest.mark.parametrize("seed", range(4))
def test_a_certificate_computed_from_exported_entries_is_the_one_that_was_signed(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    ledger = PostedLedger.open(prepared)
    with ledger.connection as connection:
        ledger.prefunded_micros = 10_000 if seed % 3 == 0 else 0
        live(ledger, Random(seed))
        connection.execute("TRUNCATE settlement.contracts")
        if seed % 2:
            connection.execute(
                "INSERT INTO settlement.contracts (partner_id, counterparty_id, kind, valid_from, set_by)"
                " VALUES (%s, %s, %s, %s, 'maker')",
                (PAIR.partner_id, PAIR.counterparty_id, PAIR.kind, PAIR.valid_from),
            )
        settle(prepared, ledger, DAYS)
    write_hub_keys(tmp_path, monkeypatch, prepared)

    for day in DAYS:
        target = tmp_path / str(day)
        assert main(["evidence", "--date", str(day), "--out", str(target)]) == 0
        assert main(["verify", str(target), "--settlement-key", SETTLEMENT_KEY]) == 0
        components = entries_add_up(prepared, day)

    # Where issuers pay at burn, partners owe each other directly, and two of them have agreed to settle apart.
    assert ("BILATERAL:b" in components) == (seed == 1)


def entries_add_up(url: str, day: date) -> set[str]:
    """Each statement line is the sum of the entries shown behind it. Gives the components there are."""
    engine = open_engine(url)
    with engine.connect() as connection:
        lines = load_computed(connection, day).lines
        for line in lines:
            own = load_line_entries(connection, day, line.party_id, line.component, BEGINNING, 1_000)
            whole = load_party_entries(connection, day, line.party_id, BEGINNING, 1_000)

            assert sum(entry.micros for entry in own) == line.exact_micros
            assert [entry for entry in whole if entry.component == line.component] == own
    engine.dispose()
    return {line.component for line in lines}
