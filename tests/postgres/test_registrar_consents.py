"""The history of consents: who set which limits when, whichever call it came with."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import Engine

from exchange.registrar import Actor, Consent
from exchange.store.reads.members import ConsentChange, list_consent_changes
from tests.postgres.ledger_at_work import CHEN, Office
from tests.postgres.members_at_work import open_counter


def history(engine: Engine, member_id: int, code: str = "") -> list[tuple[str, int, int, str]]:
    with engine.connect() as connection:
        changes = list_consent_changes(connection, member_id, code, None, 100)
    return [
        (it.partner_code, it.per_burn_limit_points, it.per_day_limit_points, it.changed_by) for it in changes
    ]


def set_consent(office: Office, actor: Actor, code: str, member_id: int, consent: Consent) -> None:
    office.value(
        lambda encode: office.registrar.set_consent(
            office.write(actor), actor, code, member_id, consent, encode
        )
    )


def test_every_change_is_remembered_newest_first(office: Office) -> None:
    cafe, tea = office.partner("cafe"), office.partner("tea")
    member = office.enroll(cafe, "c-1", Consent(1, 2))
    office.link(tea, member, "t-1", Consent(3, 4))
    set_consent(office, CHEN, "cafe", member, Consent(5, 6))
    set_consent(office, cafe, "cafe", member, Consent(0, 0))

    made = history(office.engine, member)

    assert made == [
        ("cafe", 0, 0, "cafe"),
        ("cafe", 5, 6, "OPERATOR"),
        ("tea", 3, 4, "tea"),
        ("cafe", 1, 2, "cafe"),
    ]
    assert history(office.engine, member, "tea") == [("tea", 3, 4, "tea")]


def test_an_enrolment_without_a_consent_leaves_no_trace(office: Office) -> None:
    cafe = office.partner("cafe")

    member = office.enroll(cafe, "c-1")

    assert history(office.engine, member) == []


def test_undoing_a_link_is_remembered_as_a_withdrawal(office: Office) -> None:
    cafe = office.partner("cafe")
    member = office.enroll(cafe, "c-1", Consent(1, 2))

    open_counter(office).unlink(cafe, "cafe", member)

    assert history(office.engine, member) == [("cafe", 0, 0, "cafe"), ("cafe", 1, 2, "cafe")]


def test_pages_go_on_where_the_last_one_ended(office: Office) -> None:
    cafe = office.partner("cafe")
    member = office.enroll(cafe, "c-1", Consent(1, 1))
    for points in (2, 3):
        set_consent(office, cafe, "cafe", member, Consent(points, points))

    with office.engine.connect() as connection:
        first = list_consent_changes(connection, member, "", None, 2)
        rest: list[ConsentChange] = list_consent_changes(connection, member, "", first[-1].change_id, 2)

    assert [it.per_burn_limit_points for it in [*first, *rest]] == [3, 2, 1]


def test_the_history_can_only_grow(office: Office) -> None:
    with psycopg.connect(office.url) as connection:
        connection.execute("SET ROLE tongdui_hub")

        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("UPDATE exchange.consent_history SET per_day_limit_points = 0")
