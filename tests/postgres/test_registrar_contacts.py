"""Contacts in the registrar: proofs by one-time code, enrolling and linking by contact, undoing links."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from exchange.registrar import (
    Actor,
    Answered,
    Contact,
    Enrolment,
    Envelope,
    Membership,
    Outcome,
    Proof,
    RegistrarRefusal,
)
from exchange.registrar.contacts import WrongContactKey
from tests.postgres.ledger_at_work import CHEN, WIDE, Office, number
from tests.postgres.members_at_work import EMAIL, MASTER, PHONE, Counter, open_counter


@pytest.fixture
def counter(office: Office) -> Counter:
    return open_counter(office)


def refused(outcome: Outcome) -> tuple[str, dict[str, str]]:
    assert isinstance(outcome, RegistrarRefusal)
    return outcome.reason, outcome.metadata


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10**6:06}"


def age(counter: Counter, by: str) -> None:
    """Makes every proof older, as if the time had passed."""
    counter.as_owner(
        "UPDATE contacts.proofs SET create_time = create_time - %(by)s::interval,"
        " expire_time = expire_time - %(by)s::interval",
        by=by,
    )


def test_a_contact_that_is_proven_at_two_partners_makes_one_member_of_two_customers(counter: Counter) -> None:
    cafe, tea = counter.office.partner("cafe", attests=False), counter.office.partner("tea", attests=False)
    member = number(counter.enroll(cafe, "c-1", counter.prove(cafe)))

    same = number(counter.enroll(tea, "t-1", counter.prove(tea)))

    assert same == member
    assert counter.office.rows("SELECT customer_id, member_id FROM exchange.aliases ORDER BY 1") == [
        ("c-1", member),
        ("t-1", member),
    ]


def test_the_code_goes_to_the_contact_and_is_six_digits(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")

    counter.start(cafe, EMAIL)

    ((contact, code),) = counter.mailbox.codes
    assert contact == EMAIL
    assert len(code) == 6
    assert code.isdecimal()


def test_nothing_of_contact_and_code_is_readable_in_the_database(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    proof = counter.prove(cafe)
    member = number(counter.enroll(cafe, "c-1", proof))
    other_proof_id = counter.start(cafe, EMAIL)

    rows = [
        *(
            row
            for table in ("contacts", "data_keys", "proofs", "master_key")
            for row in counter.office.rows(f"SELECT * FROM contacts.{table}")
        ),
        *counter.office.rows("SELECT * FROM exchange.calls"),
        *counter.office.rows("SELECT * FROM exchange.requests"),
    ]
    # Times and random ids have so many digits that a code stands among them by chance.
    stored = repr([[value for value in row if not isinstance(value, datetime)] for row in rows])
    for by_chance in (str(member), proof.proof_id, other_proof_id):
        stored = stored.replace(by_chance, "")

    for secret in (PHONE.value, EMAIL.value, *(code for _, code in counter.mailbox.codes)):
        assert secret not in stored


def test_a_start_leaves_no_evidence_and_no_fingerprint_that_could_be_guessed(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    before = counter.office.rows("SELECT count(*) FROM exchange.calls")
    asked = counter.office.asked("r-1", "a phone number")

    counter.membership.start_proof(cafe.partner_id, asked, PHONE, attested=False)

    assert counter.office.rows("SELECT count(*) FROM exchange.calls") == before
    assert counter.office.rows("SELECT 1 FROM exchange.requests WHERE request_id = 'r-1'") == []
    ((kept,),) = counter.office.rows("SELECT fingerprint FROM contacts.proofs")
    assert kept != asked.fingerprint


def test_a_repeated_start_gives_the_same_proof_and_sends_nothing(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    asked = counter.office.asked("r-1")
    first = counter.membership.start_proof(cafe.partner_id, asked, PHONE, attested=False)

    again = counter.membership.start_proof(cafe.partner_id, asked, PHONE, attested=False)

    assert again == first._replace(code=None)
    with pytest.raises(RegistrarRefusal, match="REQUEST_ID_REUSED"):
        counter.membership.start_proof(
            cafe.partner_id, counter.office.asked("r-1", "other"), EMAIL, attested=False
        )


def test_five_wrong_codes_spoil_a_proof_for_the_right_one_too(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    proof = counter.prove(cafe)
    bad = proof._replace(code=wrong(proof.code))

    tried = [refused(counter.enroll(cafe, "c-1", bad)) for _ in range(5)]
    last = refused(counter.enroll(cafe, "c-1", proof))

    assert tried == [("CONTACT_PROOF_INVALID", {"remaining_tries": str(left)}) for left in (4, 3, 2, 1, 0)]
    assert last == ("CONTACT_PROOF_INVALID", {"remaining_tries": "0"})
    assert counter.office.rows("SELECT 1 FROM exchange.wallets") == []


def test_wrong_codes_tried_all_at_once_are_five_tries(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    proof = counter.prove(cafe)
    bad = proof._replace(code=wrong(proof.code))

    with ThreadPoolExecutor(8) as threads:
        tried = list(threads.map(lambda _: refused(counter.enroll(cafe, "c-1", bad)), range(24)))

    left = sorted(metadata["remaining_tries"] for _, metadata in tried)
    assert left == ["0"] * 20 + ["1", "2", "3", "4"]


def test_a_wrong_code_then_the_right_one_is_good(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    proof = counter.prove(cafe)
    counter.enroll(cafe, "c-1", proof._replace(code=wrong(proof.code)))

    outcome = counter.enroll(cafe, "c-1", proof)

    assert isinstance(outcome, Answered)


def test_a_proof_is_good_once_and_its_enrolment_is_answered_again(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    item = Enrolment(counter.office.asked(), "c-1", None, counter.prove(cafe))
    (first,) = counter.enroll_all(cafe, [item])

    (again,) = counter.enroll_all(cafe, [item])
    other = counter.enroll(cafe, "c-2", item.proof)

    assert isinstance(again, Answered)
    assert again == (first.answer, True) if isinstance(first, Answered) else False
    assert refused(other)[0] == "CONTACT_PROOF_INVALID"


def test_one_proof_used_eight_ways_at_once_is_one_customer(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    proof = counter.prove(cafe)
    counter.as_owner("UPDATE contacts.proofs SET tries = -20")  # that the tries don't decide

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda index: counter.enroll(cafe, f"c-{index}", proof), range(8)))

    assert sum(isinstance(it, Answered) for it in outcomes) == 1
    assert counter.office.rows("SELECT count(*) FROM exchange.aliases") == [(1,)]


def test_one_contact_proven_at_four_partners_at_once_is_one_member(counter: Counter) -> None:
    partners = [counter.office.partner(f"p-{index}") for index in range(4)]
    proofs = [counter.prove(it) for it in partners]

    def enroll(index: int) -> int:
        return number(counter.enroll(partners[index], "c-1", proofs[index]))

    with ThreadPoolExecutor(4) as threads:
        members = list(threads.map(enroll, range(4)))

    assert len(set(members)) == 1
    assert counter.office.rows("SELECT count(*) FROM contacts.data_keys") == [(1,)]


def test_another_partner_can_not_use_a_proof(counter: Counter) -> None:
    cafe, tea = counter.office.partner("cafe"), counter.office.partner("tea")
    proof = counter.prove(cafe)

    outcome = counter.enroll(tea, "t-1", proof)

    assert refused(outcome)[0] == "CONTACT_PROOF_INVALID"


def test_a_proof_ends_after_ten_minutes(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    proof = counter.prove(cafe)
    ((minutes,),) = counter.office.rows(
        "SELECT round(extract(epoch FROM expire_time - create_time) / 60) FROM contacts.proofs"
    )
    age(counter, "10 minutes")

    outcome = counter.enroll(cafe, "c-1", proof)

    assert minutes == 10
    assert refused(outcome)[0] == "CONTACT_PROOF_INVALID"


def test_a_contact_gets_five_codes_an_hour_from_all_partners_together(counter: Counter) -> None:
    cafe, tea = counter.office.partner("cafe"), counter.office.partner("tea")
    for partner in (cafe, tea, cafe, tea, cafe):
        counter.start(partner)

    with pytest.raises(RegistrarRefusal) as sixth:
        counter.start(tea)
    counter.start(tea, EMAIL)
    age(counter, "1 hour")
    counter.start(tea)

    assert refused(sixth.value) == ("CODE_LIMIT_EXCEEDED", {"limit_of": "contact", "limit_count": "5"})
    assert len(counter.mailbox.codes) == 7


def test_codes_asked_for_all_at_once_are_limited_too(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")

    def start(_: int) -> str:
        try:
            return counter.start(cafe)
        except RegistrarRefusal as refusal:
            return refusal.reason

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(start, range(16)))

    assert outcomes.count("CODE_LIMIT_EXCEEDED") == 11
    assert len(counter.mailbox.codes) == 5


def test_a_code_that_can_not_be_sent_leaves_the_request_free(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    asked = counter.office.asked()
    counter.mailbox.broken = True
    started = counter.membership.start_proof(cafe.partner_id, asked, PHONE, attested=False)
    with pytest.raises(RegistrarRefusal, match="CODE_NOT_SENT"):
        counter.membership.send_code(PHONE, started)

    counter.mailbox.broken = False
    again = counter.membership.start_proof(cafe.partner_id, asked, PHONE, attested=False)
    counter.membership.send_code(PHONE, again)

    assert again.proof_id != started.proof_id
    assert [code for _, code in counter.mailbox.codes] == [again.code]


def test_without_a_sender_there_is_attestation_alone(office: Office) -> None:
    cafe = office.partner("cafe")
    membership = Membership(office.engine, Envelope(MASTER), None)

    with pytest.raises(RegistrarRefusal, match="CODE_SENDER_MISSING"):
        membership.start_proof(cafe.partner_id, office.asked(), PHONE, attested=False)
    started = membership.start_proof(cafe.partner_id, office.asked(), PHONE, attested=True)

    assert started.code is None


def test_an_attested_contact_needs_the_contract_and_no_code(counter: Counter) -> None:
    cafe, plain = counter.office.partner("cafe"), counter.office.partner("plain", attests=False)
    with pytest.raises(RegistrarRefusal, match="ATTESTATION_NOT_ALLOWED"):
        counter.start(plain, attested=True)
    proof_id = counter.start(cafe, attested=True)

    with_code = counter.enroll(cafe, "c-1", Proof(proof_id, "123456"))
    member = number(counter.enroll(cafe, "c-1", Proof(proof_id, "")))

    assert refused(with_code)[0] == "CONTACT_PROOF_INVALID"
    assert counter.mailbox.codes == []
    assert counter.membership.read_contacts(member) == [(PHONE, True, cafe.partner_id)]


def test_a_code_can_not_be_left_out(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    proof = counter.prove(cafe)

    outcome = counter.enroll(cafe, "c-1", proof._replace(code=""))

    assert refused(outcome)[0] == "CONTACT_PROOF_INVALID"


def test_a_customer_of_one_member_with_the_contact_of_another_is_refused(counter: Counter) -> None:
    cafe, tea = counter.office.partner("cafe"), counter.office.partner("tea")
    number(counter.enroll(cafe, "c-1", counter.prove(cafe)))
    counter.office.enroll(tea, "t-1")

    outcome = counter.enroll(tea, "t-1", counter.prove(tea))

    assert refused(outcome)[0] == "ALIAS_TAKEN"


def test_a_member_of_another_customer_id_at_the_same_partner_is_refused(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    number(counter.enroll(cafe, "c-1", counter.prove(cafe)))

    outcome = counter.enroll(cafe, "c-2", counter.prove(cafe))

    assert refused(outcome)[0] == "ALIAS_TAKEN"


def test_a_member_can_have_a_phone_and_an_email_and_is_found_by_both(counter: Counter) -> None:
    cafe, tea, books = (counter.office.partner(code) for code in ("cafe", "tea", "books"))
    member = number(counter.enroll(cafe, "c-1", counter.prove(cafe, PHONE)))
    number(counter.enroll(cafe, "c-1", counter.prove(cafe, EMAIL)))

    found = [
        number(counter.enroll(tea, "t-1", counter.prove(tea, EMAIL))),
        number(counter.enroll(books, "b-1", counter.prove(books, PHONE))),
    ]

    assert found == [member, member]
    assert {it.contact for it in counter.membership.read_contacts(member)} == {PHONE, EMAIL}


def test_a_link_by_proof_needs_neither_the_members_id_nor_attestation(counter: Counter) -> None:
    cafe, plain = counter.office.partner("cafe"), counter.office.partner("plain", attests=False)
    member = number(counter.enroll(cafe, "c-1", counter.prove(cafe)))

    found = number(counter.link(plain, "p-1", counter.prove(plain)))
    named = number(counter.link(plain, "p-1", counter.prove(plain), member))

    assert [found, named] == [member, member]


def test_a_link_by_a_proof_of_nobodys_contact_or_anothers_is_refused(counter: Counter) -> None:
    cafe, plain = counter.office.partner("cafe"), counter.office.partner("plain", attests=False)
    counter.enroll(cafe, "c-1", counter.prove(cafe, PHONE))
    other = counter.office.enroll(cafe, "c-2")

    nobody = counter.link(plain, "p-1", counter.prove(plain, EMAIL))
    another = counter.link(plain, "p-1", counter.prove(plain, PHONE), other)

    assert refused(nobody)[0] == "MEMBER_UNKNOWN"
    assert refused(another)[0] == "MEMBER_UNKNOWN"


def test_a_code_does_not_replace_attestation_for_a_consent(counter: Counter) -> None:
    cafe, plain = counter.office.partner("cafe"), counter.office.partner("plain", attests=False)
    counter.enroll(cafe, "c-1", counter.prove(cafe))

    outcome = counter.link(plain, "p-1", counter.prove(plain), consent=WIDE)

    assert refused(outcome)[0] == "ATTESTATION_NOT_ALLOWED"


def test_a_batch_of_enrolments_takes_a_proof_each(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    contacts = [Contact("phone", f"+861380013800{index}") for index in range(3)]
    proofs = [counter.prove(cafe, contact) for contact in contacts]
    items = [
        Enrolment(counter.office.asked(), f"c-{index}", WIDE, proof) for index, proof in enumerate(proofs)
    ]
    items.append(Enrolment(counter.office.asked(), "c-9", None, proofs[0]))

    outcomes = counter.enroll_all(cafe, items)

    assert len({number(it) for it in outcomes[:3]}) == 3
    assert refused(outcomes[3])[0] == "CONTACT_PROOF_INVALID"


def test_undoing_a_link_frees_the_customer_id_and_withdraws_the_consent(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    member = counter.office.enroll(cafe, "c-1", WIDE)

    counter.unlink(cafe, "cafe", member)

    assert counter.office.rows("SELECT 1 FROM exchange.aliases") == []
    assert counter.office.rows(
        "SELECT unlinked, per_burn_limit_points, per_day_limit_points FROM exchange.links"
    ) == [(True, 0, 0)]
    assert counter.office.enroll(cafe, "c-1") != member


def test_a_link_that_was_undone_can_be_made_again(counter: Counter) -> None:
    cafe, tea = counter.office.partner("cafe"), counter.office.partner("tea")
    member = counter.office.enroll(cafe, "c-1", WIDE)
    number(counter.office.link(tea, member, "t-1", WIDE))
    counter.unlink(tea, "tea", member)

    number(counter.office.link(tea, member, "t-2"))

    assert counter.office.rows(
        "SELECT unlinked, per_burn_limit_points FROM exchange.links ORDER BY partner_id"
    ) == [(False, WIDE.per_burn_limit_points), (False, 0)]


@pytest.mark.parametrize("by", [None, CHEN])
def test_what_is_not_linked_can_not_be_undone(counter: Counter, by: Actor | None) -> None:
    cafe, tea = counter.office.partner("cafe"), counter.office.partner("tea")
    member = counter.office.enroll(cafe, "c-1")

    with pytest.raises(RegistrarRefusal, match="MEMBER_UNKNOWN"):
        counter.unlink(by or tea, "tea", member)
    counter.unlink(by or cafe, "cafe", member)
    with pytest.raises(RegistrarRefusal, match="MEMBER_UNKNOWN"):
        counter.unlink(by or cafe, "cafe", member)


def test_a_database_belongs_to_one_contact_key(counter: Counter) -> None:
    Membership(counter.office.engine, Envelope(MASTER), None).bind()

    with pytest.raises(WrongContactKey):
        Membership(counter.office.engine, Envelope(bytes(32)), None).bind()
