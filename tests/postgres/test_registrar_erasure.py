"""Erasing a member: nothing tells any more who it was."""

from __future__ import annotations

import psycopg
import pytest

from exchange.registrar import Consent, RegistrarRefusal
from exchange.registrar.erasure import Erased
from tests.postgres.ledger_at_work import CHEN, WIDE, Office, number
from tests.postgres.members_at_work import EMAIL, PHONE, Counter, open_counter


@pytest.fixture
def counter(office: Office) -> Counter:
    return open_counter(office)


def erase(counter: Counter, member_id: int) -> Erased:
    made: Erased = counter.office.value(
        lambda encode: counter.membership.erase_member(counter.office.write(CHEN), CHEN, member_id, encode)
    )
    return made


def close(counter: Counter, member_id: int) -> None:
    counter.office.rows(
        "UPDATE exchange.wallets SET state = 'closed' WHERE member_id = :member RETURNING 1", member=member_id
    )


def dump(url: str) -> str:
    """Every row of every table, as a dump has them."""
    parts = []
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname IN ('exchange', 'contacts') ORDER BY 1"
        ).fetchall()
        for (table,) in tables:
            with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as rows:
                parts.append(table + "\n" + b"".join(bytes(row) for row in rows).decode())
    return "\n".join(parts)


def test_after_erasure_no_contact_hash_key_or_customer_id_is_left(counter: Counter) -> None:
    cafe, tea = counter.office.partner("cafe"), counter.office.partner("tea")
    member = number(counter.enroll(cafe, "cust-1", counter.prove(cafe), WIDE))
    number(counter.enroll(cafe, "cust-1", counter.prove(cafe, EMAIL)))
    number(counter.enroll(tea, "cust-2", counter.prove(tea), WIDE))
    counter.start(tea)  # a proof that is still under way
    traces = [
        row[0].hex()
        for column in ("lookup", "sealed_value")
        for row in counter.office.rows(f"SELECT {column} FROM contacts.contacts")
    ] + [row[0].hex() for row in counter.office.rows("SELECT sealed_key FROM contacts.data_keys")]
    assert len(traces) == 5
    assert all(trace in dump(counter.office.url) for trace in traces)
    close(counter, member)

    erased = erase(counter, member)

    after = dump(counter.office.url)
    assert erased.member_ids == [member]
    assert [it for it in (*traces, PHONE.value, EMAIL.value, "cust-1", "cust-2") if it in after] == []
    assert str(member) in after  # the ledger knows the opaque id


def test_the_other_members_keep_theirs(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    one = number(counter.enroll(cafe, "c-1", counter.prove(cafe, PHONE)))
    two = number(counter.enroll(cafe, "c-2", counter.prove(cafe, EMAIL)))
    close(counter, one)

    erase(counter, one)

    assert [it.contact for it in counter.membership.read_contacts(two)] == [EMAIL]
    assert counter.office.rows("SELECT customer_id FROM exchange.aliases") == [("c-2",)]


def test_an_erased_member_is_found_and_linked_by_nobody(counter: Counter) -> None:
    cafe, tea = counter.office.partner("cafe"), counter.office.partner("tea")
    member = number(counter.enroll(cafe, "c-1", counter.prove(cafe)))
    close(counter, member)
    erase(counter, member)

    with pytest.raises(RegistrarRefusal, match="MEMBER_UNKNOWN"):
        number(counter.office.link(tea, member, "t-1"))
    anew = number(counter.enroll(cafe, "c-1", counter.prove(cafe)))

    assert anew != member


def test_erasing_again_changes_nothing(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    member = counter.office.enroll(cafe, "c-1", Consent(1, 2))
    close(counter, member)
    erase(counter, member)
    history = counter.office.rows("SELECT * FROM exchange.consent_history")

    erase(counter, member)

    assert counter.office.rows("SELECT * FROM exchange.consent_history") == history
    assert len(history) == 2


def test_those_merged_into_the_member_are_erased_with_it(counter: Counter) -> None:
    cafe, tea = counter.office.partner("cafe"), counter.office.partner("tea")
    survivor = number(counter.enroll(cafe, "c-1", counter.prove(cafe, PHONE)))
    merged = number(counter.enroll(tea, "t-1", counter.prove(tea, EMAIL)))
    counter.office.rows(
        "UPDATE exchange.wallets SET state = 'merged', survivor_id = :survivor WHERE member_id = :merged RETURNING 1",
        survivor=survivor,
        merged=merged,
    )
    with pytest.raises(RegistrarRefusal) as early:
        erase(counter, merged)
    close(counter, survivor)

    erased = erase(counter, survivor)

    assert early.value.reason == "MEMBER_NOT_CLOSED"
    assert early.value.metadata["state"] == "merged"
    assert early.value.metadata["survivor_member_id"].startswith("m-")
    assert erased.member_ids == sorted([survivor, merged])
    assert counter.office.rows("SELECT 1 FROM contacts.contacts") == []


def test_a_contact_of_a_merged_member_finds_the_survivor(counter: Counter) -> None:
    cafe, tea, books = (counter.office.partner(code) for code in ("cafe", "tea", "books"))
    survivor = number(counter.enroll(cafe, "c-1", counter.prove(cafe, PHONE)))
    merged = number(counter.enroll(tea, "t-1", counter.prove(tea, EMAIL)))
    counter.office.rows(
        "UPDATE exchange.wallets SET state = 'merged', survivor_id = :survivor WHERE member_id = :merged RETURNING 1",
        survivor=survivor,
        merged=merged,
    )

    found = number(counter.enroll(books, "b-1", counter.prove(books, EMAIL)))

    assert found == survivor


def test_a_chain_of_merges_leads_a_contact_to_its_end_and_is_erased_with_it(counter: Counter) -> None:
    cafe, tea, books = (counter.office.partner(code) for code in ("cafe", "tea", "books"))
    first = number(counter.enroll(cafe, "c-1", counter.prove(cafe, EMAIL)))
    second = number(counter.enroll(cafe, "c-2", None))
    last = number(counter.enroll(tea, "t-1", counter.prove(tea, PHONE)))
    for merged, survivor in ((first, second), (second, last)):
        counter.office.rows(
            "UPDATE exchange.wallets SET state = 'merged', survivor_id = :survivor WHERE member_id = :merged"
            " RETURNING 1",
            survivor=survivor,
            merged=merged,
        )

    found = number(counter.enroll(books, "b-1", counter.prove(books, EMAIL)))
    close(counter, last)
    erased = erase(counter, last)

    assert found == last
    assert erased.member_ids == sorted([first, second, last])
    assert counter.office.rows("SELECT 1 FROM contacts.contacts") == []


@pytest.mark.parametrize(
    "standing",
    [
        "state = 'active'",
        "state = 'frozen'",
        "state = 'closed', pending_points = 1",
        "state = 'closed', held_points = 1",
    ],
)
def test_only_a_closed_account_with_nothing_outstanding_is_erased(counter: Counter, standing: str) -> None:
    cafe = counter.office.partner("cafe")
    member = number(counter.enroll(cafe, "c-1", counter.prove(cafe)))
    counter.office.rows(f"UPDATE exchange.wallets SET {standing} RETURNING 1")

    with pytest.raises(RegistrarRefusal, match="MEMBER_NOT_CLOSED"):
        erase(counter, member)

    assert [it.contact for it in counter.membership.read_contacts(member)] == [PHONE]


def test_a_member_that_is_not_there_can_not_be_erased(counter: Counter) -> None:
    with pytest.raises(RegistrarRefusal, match="MEMBER_UNKNOWN"):
        erase(counter, 5)
