"""One request, one decision: what the registrar records and how repeats are answered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from exchange.registrar import Asked, NewPartner, Registrar, RegistrarRefusal, Write
from exchange.store.engine import open_engine
from exchange.store.failures import StoreUnavailable
from tests.builders import burn, earn
from tests.postgres.ledger_at_work import CHEN, LI, WIDE, Office, new_card

CAFE = NewPartner("cafe", "Café", True)


def never(_: object) -> bytes:
    raise AssertionError("a repeat makes nothing")


def test_a_write_is_recorded_with_its_call_and_no_batch(office: Office) -> None:
    write = office.write(CHEN, "r-1", "fields")._replace(kind="create_partner")

    answer = office.registrar.create_partner(write, CAFE, lambda _: b"the answer")

    assert answer == (b"the answer", False)
    assert office.rows(
        "SELECT partner_id, request_id, fingerprint, accepted, entry_index, kind, reference, part, answer"
        " FROM exchange.requests"
    ) == [(-2, "r-1", sha256(b"fields").digest(), True, -1, "create_partner", "", 0, b"the answer")]
    assert office.rows(
        "SELECT calls.partner_id, key_id, path, signature_input, signature, body"
        " FROM exchange.calls JOIN exchange.requests USING (call_id)"
    ) == [tuple(write.call)]
    assert office.rows("SELECT count(*) FROM exchange.batches") == [(0,)]


def test_a_repeat_gets_the_first_answers_bytes_before_any_rule_is_looked_at(office: Office) -> None:
    write = office.write(CHEN, "r-1")
    office.registrar.create_partner(write, CAFE, lambda _: b"first")

    again = office.registrar.create_partner(write, CAFE, never)

    assert again == (b"first", True)
    assert office.rows("SELECT count(*) FROM exchange.calls") == [(1,)]


def test_the_same_request_id_with_other_fields_is_refused(office: Office) -> None:
    office.registrar.create_partner(office.write(CHEN, "r-1", "cafe"), CAFE, lambda _: b"first")

    with pytest.raises(RegistrarRefusal, match="REQUEST_ID_REUSED"):
        office.registrar.create_partner(office.write(CHEN, "r-1", "tea"), CAFE, never)


def test_partners_do_not_share_request_ids(office: Office) -> None:
    cafe, tea = office.partner("cafe"), office.partner("tea")

    answers = {
        office.registrar.create_key_challenge(
            office.write(actor, "r-1"), actor.owner, "", lambda made: made.challenge
        ).answer
        for actor in (cafe, tea)
    }

    assert len(answers) == 2


def test_a_command_and_a_write_share_the_request_ids_of_their_partner(office: Office) -> None:
    cafe = office.partner("cafe")
    office.approve_card(office.propose(new_card("cafe")))
    member = office.enroll(cafe, "c-1", WIDE)
    office.post(earn("r-1", partner_id=cafe.partner_id, member_id=member))

    with pytest.raises(RegistrarRefusal, match="REQUEST_ID_REUSED"):
        office.registrar.create_key_challenge(office.write(cafe, "r-1"), "cafe", "", never)

    office.registrar.create_key_challenge(office.write(cafe, "r-2"), "cafe", "", lambda _: b"")
    (answer,) = office.post(burn("r-2", partner_id=cafe.partner_id, member_id=member))
    assert not answer.accepted
    assert b"REQUEST_ID_REUSED" in answer.body


def test_the_same_write_sent_eight_ways_is_done_once(office: Office) -> None:
    cafe = office.partner("cafe")
    write = office.write(cafe, "r-1")

    def challenge(_: int) -> bytes:
        return office.registrar.create_key_challenge(write, "cafe", "", lambda made: made.challenge).answer

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(challenge, range(8)))

    assert len(answers) == 1
    assert office.rows("SELECT challenge FROM exchange.key_challenges") == [tuple(answers)]


def test_a_defect_in_a_write_is_not_recorded(office: Office) -> None:
    write = office.write(LI, "r-1")
    with pytest.raises(AssertionError):
        office.registrar.create_partner(write, CAFE, never)

    answer = office.registrar.create_partner(write, CAFE, lambda _: b"now")

    assert answer == (b"now", False)


def test_a_database_that_is_away_is_unavailable_and_nothing_else() -> None:
    engine = open_engine("postgresql://nobody@127.0.0.1:1/none")
    call = Office("", engine, Registrar(engine)).call(CHEN)
    write = Write("create_partner", Asked("r-1", b""), call)

    with pytest.raises(StoreUnavailable):
        Registrar(engine).create_partner(write, CAFE, never)

    engine.dispose()
