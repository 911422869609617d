"""People act with keys the hub knows; what they do is signed, chained, and kept with the act or not at all."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from settlement.core.deed import FORMAT, AuditRow
from settlement.core.roles import Act, PersonUnknown, Role, RoleMissing, SamePerson
from settlement.people import Actor, folded, refuse_same_person
from settlement.rpc.keys import PrivateKey, verifies
from settlement.store.audit import check_chain, first_broken, read_audit
from settlement.store.engine import open_engine
from tests.conftest import Databases
from tests.settlement_hub import prepare, register

ROLES = [role for role in Role if role is not Role.SETTLEMENT]
KEYS: dict[Role, PrivateKey] = {
    role: PrivateKey("a" if role is Role.PARTNER else "operator", role.value.encode().ljust(32, b"."))
    for role in ROLES
}


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as prepared:
        prepare(prepared)
        for role, key in KEYS.items():
            holder = "" if role is Role.PARTNER else f"{role.value} person"
            register(prepared, key, holder, role.value)
        yield prepared


@pytest.fixture
def owner(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A user who may do anything, as settlement's role may not."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE settlement.audit_log")
        yield connection


@pytest.fixture
def connection(url: str, owner: psycopg.Connection[Any]) -> Iterator[Connection]:
    engine = open_engine(url)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


@pytest.mark.parametrize("role", ROLES, ids=[role.value for role in ROLES])
def test_every_act_is_refused_to_every_role_that_may_not(connection: Connection, role: Role) -> None:
    actor = Actor(KEYS[role])

    for act in Act:
        with connection.begin():
            if role in act.roles:
                actor.do(connection, act, "item", "1", "why", partner_id="a")
            else:
                with pytest.raises(RoleMissing, match="needs the role"):
                    actor.do(connection, act, "item", "1", "why", partner_id="a")

    with connection.begin():
        done = [row.act for row in read_audit(connection)]
    assert done == [act.label for act in Act if role in act.roles]


def test_settlement_itself_does_what_runs_unattended_and_nothing_else(connection: Connection) -> None:
    itself = Actor(KEYS[Role.OPERATOR], unattended=True)

    with connection.begin():
        itself.do(connection, Act.CERTIFY, "window", "2026-01-01")
        with pytest.raises(RoleMissing):
            itself.do(connection, Act.APPROVE, "window", "2026-01-01")

    with connection.begin():
        (row,) = read_audit(connection)
    assert (row.person, row.role, row.key_id) == ("settlement", "settlement", KEYS[Role.OPERATOR].key_id)


def test_a_partner_acts_on_its_own_only(connection: Connection) -> None:
    with connection.begin(), pytest.raises(RoleMissing, match="not a's own"):
        Actor(KEYS[Role.PARTNER]).do(connection, Act.COMMENT_BREAK, "break", "7", partner_id="b")


def test_what_is_recorded_is_what_was_signed(connection: Connection) -> None:
    with connection.begin():
        Actor(KEYS[Role.FINANCE_MAKER]).do(
            connection, Act.ABORT, "window", "2026-01-01", "wrong contract", {"n": 1}, {"n": 2, "名": "甲"}
        )

    with connection.begin():
        (row,) = read_audit(connection)
    assert verifies(KEYS[Role.FINANCE_MAKER].public_key, row.signature, FORMAT + row.text)
    assert (row.person, row.before, row.after) == ("finance_maker person", {"n": 1}, {"n": 2, "名": "甲"})


def test_an_act_that_is_rolled_back_leaves_no_row(connection: Connection) -> None:
    begun = connection.begin()
    Actor(KEYS[Role.FINANCE_MAKER]).do(connection, Act.ABORT, "window", "2026-01-01")
    begun.rollback()

    with connection.begin():
        assert check_chain(connection).row_count == 0


@pytest.mark.parametrize(
    ("key", "change", "told"),
    [
        ("stranger", "", "no such key"),
        ("known", "state = 'revoked'", "revoked"),
        ("known", "valid_until = '2020-01-01'", "valid from"),
        ("known", "valid_from = '2999-01-01'", "valid from"),
        ("known", "holder = 'settlement'", "the program's own name"),
    ],
)
def test_a_key_that_is_not_good_now_is_nobodys(
    connection: Connection, owner: psycopg.Connection[Any], url: str, key: str, change: str, told: str
) -> None:
    signer = PrivateKey("operator", key.encode().ljust(32, b"#"))
    if change:
        register(url, signer, "Mei", "finance_maker")
        owner.execute(f"UPDATE exchange.keys_v1 SET {change} WHERE key_id = '{signer.key_id}'".encode())

    with connection.begin(), pytest.raises(PersonUnknown, match=told):
        Actor(signer).do(connection, Act.NET, "window", "2026-01-01")

    owner.execute("DELETE FROM exchange.keys_v1 WHERE key_id = %s", (signer.key_id,))


@pytest.mark.parametrize("spelled", ["Ana Li", "ana li", "Ana  Li", " ANA\tLi ", "\uff21na Li"])
def test_one_person_with_two_keys_or_spellings_is_still_one_person(spelled: str) -> None:
    with pytest.raises(SamePerson, match="another person"):
        refuse_same_person("Ana Li", spelled, "window 2026-01-01")


@pytest.mark.parametrize("other", ["Ana Lin", "AnaLi", "Li Ana"])
def test_people_of_other_names_are_other_people(other: str) -> None:
    refuse_same_person("Ana Li", other, "window 2026-01-01")


@pytest.mark.parametrize("spelled", ["ana li", "Ana  Li", " Ana\tLI "])
def test_the_database_folds_names_as_the_program_does(owner: psycopg.Connection[Any], spelled: str) -> None:
    ((found,),) = owner.execute("SELECT settlement.folded(%s)", (spelled,)).fetchall()

    assert found == folded(spelled) == "ana li"


def three_rows(connection: Connection) -> list[AuditRow]:
    for number in range(3):
        with connection.begin():
            Actor(KEYS[Role.FINANCE_MAKER]).do(
                connection, Act.COMMENT_BREAK, "break", str(number), "seen", None, {"text": "seen"}
            )
    with connection.begin():
        return read_audit(connection)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("person = 'Liu'", "person is not what was signed"),
        ("reason = ''", "reason is not"),
        ('after = \'{"text": "unseen"}\'', "after is not"),
        ("act_time = act_time - interval '1 second'", "its hash"),
        ("act_text = act_text || ' '", "its hash"),
        ("signature = set_byte(signature, 5, get_byte(signature, 5) # 1)", "its hash"),
        ("previous_hash = set_byte(previous_hash, 31, get_byte(previous_hash, 31) # 1)", "does not follow"),
        ("hash = set_byte(hash, 0, get_byte(hash, 0) # 1)", "its hash"),
    ],
)
def test_one_changed_value_is_found_in_its_row(
    connection: Connection, owner: psycopg.Connection[Any], change: str, told: str
) -> None:
    second = three_rows(connection)[1]

    owner.execute(f"UPDATE settlement.audit_log SET {change} WHERE audit_id = {second.audit_id}".encode())

    with connection.begin():
        broken = first_broken(connection)
    assert broken is not None
    assert (broken.audit_id, told in broken.fault) == (second.audit_id, True)


def test_a_removed_row_is_missed_by_the_one_after_it(
    connection: Connection, owner: psycopg.Connection[Any]
) -> None:
    _, second, third = three_rows(connection)

    owner.execute("DELETE FROM settlement.audit_log WHERE audit_id = %s", (second.audit_id,))

    with connection.begin():
        broken = first_broken(connection)
    assert broken is not None
    assert broken.audit_id == third.audit_id


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE settlement.audit_log SET reason = ''",
        "DELETE FROM settlement.audit_log",
        "TRUNCATE settlement.audit_log",
    ],
)
def test_settlements_role_cannot_rewrite_the_log(connection: Connection, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text(statement))


def test_the_chain_cannot_fork_and_nobody_acts_unsigned(connection: Connection) -> None:
    first = three_rows(connection)[0]
    columns = (
        "person, key_id, role, act, item_kind, item_id, reason, act_text, signature, previous_hash, hash"
    )
    statement = text(
        f"INSERT INTO settlement.audit_log ({columns}) VALUES"
        " (:person, 'k', :role, 'net', 'window', '1', '', '', :signature, :previous_hash, :previous_hash)"
    )
    fork = {"person": "Mei", "role": "operator", "signature": b"s" * 64, "previous_hash": first.hash}
    unsigned = fork | {"signature": b"", "previous_hash": b"p" * 32}
    pretending = fork | {"person": "settlement", "previous_hash": b"p" * 32}

    for values, constraint in (
        (fork, "audit_log_chain"),
        (unsigned, "audit_log_signed"),
        (pretending, "audit_log_program"),
    ):
        with pytest.raises(IntegrityError, match=constraint), connection.begin():
            connection.execute(statement, values)


def test_the_log_is_read_by_item_person_and_day(connection: Connection) -> None:
    days = [row.act_time.date() for row in three_rows(connection)]

    with connection.begin():
        by_item = read_audit(connection, item_kind="break", item_id="1")
        by_person = read_audit(connection, person="finance_maker person")
        by_day = read_audit(connection, day=days[0])
        before = read_audit(connection, day=date(2020, 1, 1))

    assert [row.item_id for row in by_item] == ["1"]
    assert len(by_person) == 3
    assert len(by_day) == days.count(days[0])
    assert before == []


def test_a_log_longer_than_a_block_is_checked_whole(connection: Connection) -> None:
    actor = Actor(None, unattended=True)
    with connection.begin():
        for number in range(1_003):
            deed = actor.do(connection, Act.NET, "window", str(number))

    with connection.begin():
        found = check_chain(connection)
    assert (found.row_count, found.broken, deed.signature) == (1_003, None, b"")
