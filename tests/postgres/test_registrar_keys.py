"""Partners and keys in the registrar."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from nacl.signing import SigningKey

from exchange.core.ids import OPERATOR
from exchange.registrar import Actor, FirstPerson, NewPartner, Registrar, RegistrarRefusal
from exchange.registrar.initialise import AlreadyInitialised
from exchange.store.engine import migrate, open_engine
from tests.postgres.ledger_at_work import (
    AUDIENCE,
    CHEN,
    HUB_KEY,
    LI,
    PEOPLE,
    Office,
    days_on,
    new_ledger,
    public,
)
from tongdui.signing import SignatureMalformed, registration_text

IDENTITY_POINT = bytes([1]) + bytes(31)
"""Of small order: one constant signature verifies for every message under it."""
NOT_CANONICAL = bytes([0xEE]) + bytes([0xFF]) * 30 + bytes([0x7F])
WANG = Actor(OPERATOR, "operator", "wang.fang")


def registry_version(office: Office) -> int:
    ((version,),) = office.rows("SELECT version FROM exchange.registry")
    return int(version)


def test_a_partner_that_exists_is_not_created_again(office: Office) -> None:
    office.partner("cafe")

    with pytest.raises(RegistrarRefusal, match="PARTNER_EXISTS"):
        office.partner("cafe")


@pytest.mark.parametrize("taken", ["hub", "POOL", "OPERATOR"])
def test_a_reserved_party_is_never_a_partner(office: Office, taken: str) -> None:
    with pytest.raises(RegistrarRefusal, match="PARTNER_EXISTS"):
        office.partner(taken)


def test_a_refused_write_changes_nothing_and_leaves_its_request_id_free(office: Office) -> None:
    office.partner("cafe")
    before = registry_version(office)
    write = office.write(CHEN, "r-once")
    with pytest.raises(RegistrarRefusal):
        office.registrar.create_partner(write, NewPartner("cafe", "Café", False), lambda _: b"no")

    answer = office.registrar.create_partner(write, NewPartner("tea", "Tea", False), lambda _: b"yes")

    assert answer == (b"yes", False)
    assert registry_version(office) == before + 1


def test_a_key_is_registered_by_one_person_and_approved_by_another(office: Office) -> None:
    cafe = office.partner("cafe")
    before = registry_version(office)

    registered = office.register(cafe, SigningKey.generate(), CHEN)
    approved = office.approve(registered.key_id, LI)

    assert (registered.state, registered.roles) == ("registered", ("partner",))
    assert approved.state == "active"
    assert approved.valid_from > registered.valid_from
    assert approved.valid_until - registered.valid_from == timedelta(days=366)
    assert registry_version(office) == before + 1  # by the approval: who waits opens nothing


def test_the_person_who_registered_a_key_does_not_approve_it(office: Office) -> None:
    registered = office.register(office.partner("cafe"), SigningKey.generate(), CHEN)

    with pytest.raises(RegistrarRefusal, match="SAME_PERSON"):
        office.approve(registered.key_id, CHEN)


@pytest.mark.parametrize("spelled", ["Wang.Fang", "WANG.FANG"])
def test_a_person_is_not_registered_again_under_another_spelling(office: Office, spelled: str) -> None:
    office.register(WANG, SigningKey.generate(), CHEN)

    with pytest.raises(RegistrarRefusal, match="INVALID_FIELD") as refused:
        office.register(WANG._replace(person=spelled), SigningKey.generate(), CHEN)

    assert refused.value.metadata == {"field": "holder", "registered_as": "wang.fang"}
    office.register(WANG, SigningKey.generate(), CHEN)  # her second key, spelled as ever


def test_a_person_of_another_spelling_does_not_approve_what_she_registered(office: Office) -> None:
    registered = office.register(office.partner("cafe"), SigningKey.generate(), CHEN)

    with pytest.raises(RegistrarRefusal, match="SAME_PERSON"):
        office.approve(registered.key_id, CHEN._replace(person=CHEN.person.upper()))


def test_a_partner_may_register_its_own_key_and_an_operator_approves_it(office: Office) -> None:
    cafe = office.partner("cafe")

    registered = office.register(cafe, SigningKey.generate(), cafe)

    assert office.approve(registered.key_id, CHEN).state == "active"


@pytest.mark.parametrize("public_key", [IDENTITY_POINT, NOT_CANONICAL, bytes(32)])
def test_a_key_that_is_no_canonical_point_of_large_order_is_refused(
    office: Office, public_key: bytes
) -> None:
    cafe = office.partner("cafe")

    with pytest.raises(RegistrarRefusal, match="KEY_UNSUITABLE"):
        office.register(cafe, SigningKey.generate(), CHEN, public_key=public_key)


def test_a_proof_is_worth_nothing_for_another_owner(office: Office) -> None:
    office.partner("cafe")
    tea, key = office.partner("tea"), SigningKey.generate()
    for_cafe = registration_text(AUDIENCE, "cafe", "", public(key), bytes(32))

    with pytest.raises(RegistrarRefusal, match="KEY_PROOF_INVALID"):
        office.register(tea, key, CHEN, challenge=bytes(32), proof=key.sign(for_cafe).signature)


def test_a_challenge_is_worth_nothing_for_another_owner(office: Office) -> None:
    cafe, key = office.partner("cafe"), SigningKey.generate()
    tea = office.partner("tea")
    office.register(tea, SigningKey.generate(), CHEN)
    office.rows("UPDATE exchange.key_challenges SET used = false RETURNING 1")
    ((challenge,),) = office.rows("SELECT challenge FROM exchange.key_challenges WHERE owner = 'tea'")
    signed = registration_text(AUDIENCE, "cafe", "", public(key), bytes(challenge))

    with pytest.raises(RegistrarRefusal, match="KEY_PROOF_INVALID"):
        office.register(cafe, key, CHEN, challenge=bytes(challenge), proof=key.sign(signed).signature)


def test_a_proof_by_another_key_is_refused(office: Office) -> None:
    cafe = office.partner("cafe")

    with pytest.raises(RegistrarRefusal, match="KEY_PROOF_INVALID"):
        office.register(cafe, SigningKey.generate(), CHEN, public_key=public(SigningKey.generate()))


def test_a_challenge_serves_once(office: Office) -> None:
    cafe = office.partner("cafe")
    first, second = SigningKey.generate(), SigningKey.generate()
    office.register(cafe, first, CHEN)
    ((used,),) = office.rows("SELECT challenge FROM exchange.key_challenges WHERE used")
    again = second.sign(registration_text(AUDIENCE, "cafe", "", public(second), bytes(used))).signature

    with pytest.raises(RegistrarRefusal, match="KEY_PROOF_INVALID"):
        office.register(cafe, second, CHEN, challenge=bytes(used), proof=again)


def test_a_challenge_past_its_time_is_refused(office: Office) -> None:
    cafe = office.partner("cafe")
    key = SigningKey.generate()
    stale = bytes(32)
    office.rows(
        "INSERT INTO exchange.key_challenges VALUES"
        " (:stale, 'cafe', '', now() - interval '1 second', false) RETURNING 1",
        stale=stale,
    )
    proof = key.sign(registration_text(AUDIENCE, "cafe", "", public(key), stale)).signature

    with pytest.raises(RegistrarRefusal, match="KEY_PROOF_INVALID"):
        office.register(cafe, key, CHEN, challenge=stale, proof=proof)


def test_a_key_is_registered_once_for_ever(office: Office) -> None:
    cafe, key = office.partner("cafe"), SigningKey.generate()
    office.revoke(office.register(cafe, key, CHEN).key_id, CHEN)

    with pytest.raises(RegistrarRefusal, match="KEY_STATE"):
        office.register(cafe, key, LI)


def test_a_second_key_ends_the_first_within_seven_days_and_a_third_is_refused(office: Office) -> None:
    cafe = office.partner("cafe")
    first, second, third = (office.register(cafe, SigningKey.generate(), CHEN) for _ in range(3))
    office.approve(first.key_id, LI)

    approved = office.approve(second.key_id, LI)

    ((until,),) = office.rows("SELECT valid_until FROM exchange.keys WHERE key_id = :id", id=first.key_id)
    assert until - approved.valid_from == timedelta(days=7)
    assert approved.valid_until == second.valid_until
    with pytest.raises(RegistrarRefusal, match="KEY_STATE"):
        office.approve(third.key_id, LI)


def test_each_person_of_the_operator_has_keys_of_her_own(office: Office) -> None:
    for name in ("wang.fang", "liu.yang"):
        person = Actor(OPERATOR, "operator", name)
        key = office.register(person, SigningKey.generate(), CHEN)

        assert office.approve(key.key_id, LI).holder == name


def test_two_approvals_at_once_give_one_active_key_and_one_refusal(office: Office) -> None:
    registered = office.register(office.partner("cafe"), SigningKey.generate(), CHEN)

    def approve(actor: Actor) -> str:
        try:
            return office.approve(registered.key_id, actor).state
        except RegistrarRefusal as refusal:
            return refusal.reason

    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(approve, (LI, WANG)))

    assert sorted(outcomes) == ["KEY_STATE", "active"]


def test_two_keys_approved_at_once_beside_an_active_one_do_not_make_three(office: Office) -> None:
    cafe = office.partner("cafe")
    keys = [office.register(cafe, SigningKey.generate(), CHEN) for _ in range(4)]
    office.approve(keys[0].key_id, LI)

    def approve(key_id: str) -> str:
        try:
            return office.approve(key_id, LI).state
        except RegistrarRefusal as refusal:
            return refusal.reason

    with ThreadPoolExecutor(3) as threads:
        outcomes = list(threads.map(approve, [key.key_id for key in keys[1:]]))

    assert sorted(outcomes) == ["KEY_STATE", "KEY_STATE", "active"]


def test_a_revoked_key_stays_on_file_and_is_not_revoked_again(office: Office) -> None:
    registered = office.register(office.partner("cafe"), SigningKey.generate(), CHEN)
    office.approve(registered.key_id, LI)

    revoked = office.revoke(registered.key_id, CHEN)

    assert revoked.state == "revoked"
    assert office.rows("SELECT state, revoked_by, revoke_reason FROM exchange.keys WHERE owner = 'cafe'") == [
        ("revoked", "chen.wei", "lost")
    ]
    with pytest.raises(RegistrarRefusal, match="KEY_STATE"):
        office.revoke(registered.key_id, CHEN)
    with pytest.raises(RegistrarRefusal, match="KEY_STATE"):
        office.approve(registered.key_id, LI)


def test_a_partner_knows_no_key_but_its_own(office: Office) -> None:
    cafe, tea = office.partner("cafe"), office.partner("tea")
    registered = office.register(cafe, SigningKey.generate(), CHEN)

    with pytest.raises(RegistrarRefusal, match="KEY_UNKNOWN"):
        office.revoke(registered.key_id, tea)

    assert office.revoke(registered.key_id, cafe).state == "revoked"


def test_nobody_revokes_the_hubs_own_key(office: Office) -> None:
    ((hub_key,),) = office.rows("SELECT key_id FROM exchange.keys WHERE owner = 'hub'")

    with pytest.raises(RegistrarRefusal, match="KEY_UNKNOWN"):
        office.revoke(hub_key, CHEN)

    assert office.rows("SELECT state FROM exchange.keys WHERE owner = 'hub'") == [("active",)]


def test_two_people_who_can_approve_are_left_by_every_revocation(office: Office) -> None:
    ((lis,),) = office.rows("SELECT key_id FROM exchange.keys WHERE holder = 'li.na'")
    auditor = office.register(WANG, SigningKey.generate(), CHEN, roles=("auditor",))
    office.approve(auditor.key_id, LI)
    with pytest.raises(RegistrarRefusal, match="KEY_STATE"):
        office.revoke(lis, CHEN)
    assert office.revoke(auditor.key_id, CHEN).state == "revoked"  # she approved nothing
    third = office.register(WANG, SigningKey.generate(), CHEN)
    with pytest.raises(RegistrarRefusal, match="KEY_STATE"):
        office.revoke(lis, CHEN)  # a key that waits can not approve either
    office.approve(third.key_id, LI)

    revoked = office.revoke(lis, CHEN)

    assert revoked.state == "revoked"
    with pytest.raises(RegistrarRefusal, match="KEY_STATE"):
        office.revoke(third.key_id, CHEN)


def test_a_registration_alone_has_no_hub_read_the_registry_again(office: Office) -> None:
    cafe = office.partner("cafe")
    before = registry_version(office)

    office.register(cafe, SigningKey.generate(), CHEN)

    assert registry_version(office) == before


def test_nobody_approves_or_revokes_a_key_that_is_not_there(office: Office) -> None:
    with pytest.raises(RegistrarRefusal, match="KEY_UNKNOWN"):
        office.approve("cafe.none", LI)
    with pytest.raises(RegistrarRefusal, match="KEY_UNKNOWN"):
        office.revoke("cafe.none", LI)


def test_a_key_for_a_partner_that_does_not_exist_is_refused(office: Office) -> None:
    nobody = Actor(99, "nobody", "nobody")

    with pytest.raises(RegistrarRefusal, match="PARTNER_UNKNOWN"):
        office.register(nobody, SigningKey.generate(), CHEN)


def test_a_ledger_begins_with_the_hubs_key_and_two_people(office: Office) -> None:
    rows = office.rows("SELECT owner, holder, roles, state, registered_by FROM exchange.keys ORDER BY 1, 2")

    assert rows == [
        ("hub", "", [], "active", "init"),
        ("operator", "chen.wei", ["operator"], "active", "init"),
        ("operator", "li.na", ["operator"], "active", "init"),
    ]


def test_a_ledger_is_made_once(office: Office) -> None:
    owner = open_engine(office.url, role=None)
    people = [FirstPerson("mallory", public(SigningKey.generate())), FirstPerson("eve", public(HUB_KEY))]

    with pytest.raises(AlreadyInitialised):
        Registrar(owner).initialise(new_ledger(), public(HUB_KEY), people)

    owner.dispose()


@pytest.mark.parametrize(
    "people",
    [
        [],
        [FirstPerson("chen.wei", public(PEOPLE["chen.wei"]))],
        [FirstPerson("chen.wei", public(key)) for key in PEOPLE.values()],
    ],
)
def test_a_ledger_needs_two_different_people(database_url: str, people: list[FirstPerson]) -> None:
    migrate(database_url)
    owner = open_engine(database_url, role=None)

    with pytest.raises(ValueError, match="two different people"):
        Registrar(owner).initialise(new_ledger(), public(HUB_KEY), people)

    owner.dispose()


def test_a_first_person_has_a_name_that_keys_can_be_registered_under(office: Office) -> None:
    people = [
        FirstPerson(name, public(key)) for name, key in zip(("陈伟", "li.na"), PEOPLE.values(), strict=True)
    ]

    with pytest.raises(SignatureMalformed, match="holder"):
        office.registrar.initialise(new_ledger(), public(HUB_KEY), people)


def test_a_ledger_refuses_an_unsuitable_first_key_and_leaves_nothing(database_url: str) -> None:
    migrate(database_url)
    owner = open_engine(database_url, role=None)
    people = [FirstPerson("chen.wei", public(PEOPLE["chen.wei"])), FirstPerson("li.na", IDENTITY_POINT)]

    with pytest.raises(RegistrarRefusal, match="KEY_UNSUITABLE"):
        Registrar(owner).initialise(new_ledger(), public(HUB_KEY), people)

    with owner.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM exchange.ledger").scalar_one() == 0
    owner.dispose()


def test_validity_is_counted_from_the_registration(office: Office) -> None:
    registered = office.register(office.partner("cafe"), SigningKey.generate(), CHEN, validity_days=1)

    assert registered.valid_until - registered.valid_from == timedelta(days=1)
    office.rows("UPDATE exchange.keys SET valid_until = now() WHERE owner = 'cafe' RETURNING 1")
    with pytest.raises(RegistrarRefusal, match="KEY_STATE"):
        office.approve(registered.key_id, LI)


def test_a_manual_ledger_clock_does_not_touch_the_time_of_keys(office: Office) -> None:
    office.set_time(days_on(1000))

    registered = office.register(office.partner("cafe"), SigningKey.generate(), CHEN)

    assert office.approve(registered.key_id, LI).state == "active"
