"""Enrolment, links and consent in the registrar."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import event

from exchange.registrar import Actor, Answered, Consent, Enrolment, LinkRequest, RegistrarRefusal
from tests.postgres.ledger_at_work import CHEN, WIDE, Office, member_answer, number
from tests.waiting import WAIT_SECONDS, somebody_waits

NO_CONSENT = Consent(0, 0)


def limits(office: Office) -> list[tuple[int, ...]]:
    return office.rows(
        "SELECT per_burn_limit_points, per_day_limit_points FROM exchange.links ORDER BY partner_id, member_id"
    )


def set_consent(office: Office, actor: Actor, code: str, member_id: int, consent: Consent) -> Consent:
    made: Consent = office.value(
        lambda encode: office.registrar.set_consent(
            office.write(actor), actor, code, member_id, consent, encode
        )
    )
    return made


def test_enrolling_makes_a_wallet_an_alias_and_a_link_with_the_consent(office: Office) -> None:
    cafe = office.partner("cafe")

    member = office.enroll(cafe, "c-1", Consent(100, 500))

    assert 0 <= member < 2**60
    assert office.rows("SELECT member_id, open_points FROM exchange.wallets") == [(member, 0)]
    assert office.rows("SELECT customer_id, member_id FROM exchange.aliases") == [("c-1", member)]
    assert limits(office) == [(100, 500)]


def test_enrolling_a_linked_customer_again_answers_with_the_member(office: Office) -> None:
    cafe = office.partner("cafe")
    member = office.enroll(cafe, "c-1", Consent(100, 500))

    again = office.enroll(cafe, "c-1")

    assert again == member
    assert limits(office) == [(100, 500)]
    assert office.rows("SELECT count(*) FROM exchange.wallets") == [(1,)]


def test_enrolling_a_linked_customer_with_a_consent_sets_it(office: Office) -> None:
    cafe = office.partner("cafe")
    office.enroll(cafe, "c-1")

    office.enroll(cafe, "c-1", Consent(7, 8))

    assert limits(office) == [(7, 8)]


def test_the_same_customer_id_at_two_partners_is_two_members(office: Office) -> None:
    cafe, tea = office.partner("cafe"), office.partner("tea")

    assert office.enroll(cafe, "c-1") != office.enroll(tea, "c-1")


def test_a_partner_that_may_not_attest_enrols_without_consent_only(office: Office) -> None:
    plain = office.partner("plain", attests=False)

    with pytest.raises(RegistrarRefusal, match="ATTESTATION_NOT_ALLOWED"):
        office.enroll(plain, "c-1", WIDE)
    member = office.enroll(plain, "c-1", NO_CONSENT)

    assert office.enroll(plain, "c-1") == member


def test_a_link_gives_another_partner_the_member(office: Office) -> None:
    cafe, tea = office.partner("cafe"), office.partner("tea")
    member = office.enroll(cafe, "c-1", WIDE)

    answer = office.link(tea, member, "t-1", Consent(5, 6))

    assert number(answer) == member
    assert limits(office) == [WIDE, (5, 6)]


def test_linking_the_same_pair_again_changes_nothing_but_a_stated_consent(office: Office) -> None:
    cafe, tea = office.partner("cafe"), office.partner("tea")
    member = office.enroll(cafe, "c-1")
    office.link(tea, member, "t-1", Consent(5, 6))

    again = office.link(tea, member, "t-1")
    unchanged = limits(office)
    office.link(tea, member, "t-1", NO_CONSENT)

    assert number(again) == member
    assert unchanged == [NO_CONSENT, (5, 6)]
    assert limits(office) == [NO_CONSENT, NO_CONSENT]


def test_a_customer_or_member_that_is_linked_otherwise_is_taken(office: Office) -> None:
    cafe, tea = office.partner("cafe"), office.partner("tea")
    one, two = office.enroll(cafe, "c-1"), office.enroll(cafe, "c-2")
    office.link(tea, one, "t-1")

    with pytest.raises(RegistrarRefusal, match="ALIAS_TAKEN"):
        number(office.link(tea, two, "t-1"))
    with pytest.raises(RegistrarRefusal, match="ALIAS_TAKEN"):
        number(office.link(tea, one, "t-2"))


@pytest.mark.parametrize("member_id", [-1, 5])
def test_linking_a_member_that_is_not_there_is_refused(office: Office, member_id: int) -> None:
    tea = office.partner("tea")

    with pytest.raises(RegistrarRefusal, match="MEMBER_UNKNOWN"):
        number(office.link(tea, member_id, "t-1"))


def test_a_partner_that_may_not_attest_links_nobody(office: Office) -> None:
    cafe, plain = office.partner("cafe"), office.partner("plain", attests=False)
    member = office.enroll(cafe, "c-1")

    with pytest.raises(RegistrarRefusal, match="ATTESTATION_NOT_ALLOWED"):
        number(office.link(plain, member, "p-1"))


def test_the_items_of_a_batch_are_independent_and_see_each_other(office: Office) -> None:
    cafe = office.partner("cafe", attests=False)
    first = Enrolment(office.asked("r-1"), "c-1", None)
    items = [
        first,
        Enrolment(office.asked("r-2"), "c-1", None),  # the customer just enrolled
        first,  # a repeat within the batch
        Enrolment(office.asked("r-1", "other fields"), "c-9", None),
        Enrolment(office.asked("r-3"), "c-2", WIDE),  # may not attest
        Enrolment(office.asked("r-3", "without consent"), "c-2", None),  # a refusal leaves the id free
    ]

    outcomes = office.enroll_all(cafe, items)

    member = number(outcomes[0])
    assert [number(it) for it in outcomes[:3]] == [member, member, member]
    assert [it.reason for it in outcomes if isinstance(it, RegistrarRefusal)] == [
        "REQUEST_ID_REUSED",
        "ATTESTATION_NOT_ALLOWED",
    ]
    assert number(outcomes[5]) != member
    assert office.rows("SELECT request_id FROM exchange.requests WHERE partner_id = :p ORDER BY 1", p=1) == [
        ("r-1",),
        ("r-2",),
        ("r-3",),
    ]


def test_two_links_of_a_batch_that_want_the_same_customer_are_decided_in_order(office: Office) -> None:
    cafe, tea = office.partner("cafe"), office.partner("tea")
    one, two = office.enroll(cafe, "c-1"), office.enroll(cafe, "c-2")
    items = [LinkRequest(office.asked(), member, "t-1", None) for member in (one, two)]

    outcomes = office.registrar.link_aliases(office.call(tea), items, member_answer)

    assert number(outcomes[0]) == one
    assert isinstance(outcomes[1], RegistrarRefusal)
    assert outcomes[1].reason == "ALIAS_TAKEN"


def test_one_call_is_kept_for_a_batch_and_none_for_a_repeat(office: Office) -> None:
    cafe = office.partner("cafe")
    items = [Enrolment(office.asked(), f"c-{index}", None) for index in range(3)]
    first = office.enroll_all(cafe, items)

    again = office.enroll_all(cafe, items)

    assert again == [(answered.answer, True) for answered in first if isinstance(answered, Answered)]
    assert len(again) == 3
    assert office.rows("SELECT count(*) FROM exchange.calls WHERE partner_id = 1") == [(1,)]
    assert office.rows(
        "SELECT count(DISTINCT call_id), min(kind), min(entry_index), bool_and(accepted), min(reference)"
        " FROM exchange.requests JOIN exchange.calls USING (call_id) WHERE requests.partner_id = 1"
    ) == [(1, "enroll_member", -1, True, "")]


@contextmanager
def statements(office: Office) -> Iterator[list[str]]:
    """What the engine sends meanwhile."""
    told: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        told.append(statement)

    event.listen(office.engine, "before_cursor_execute", note)
    try:
        yield told
    finally:
        event.remove(office.engine, "before_cursor_execute", note)


def test_a_thousand_enrolments_are_one_transaction_of_a_few_statements(office: Office) -> None:
    cafe = office.partner("cafe")
    items = [Enrolment(office.asked(), f"c-{index}", WIDE) for index in range(1000)]

    with statements(office) as told:
        outcomes = office.enroll_all(cafe, items)

    assert len({number(it) for it in outcomes}) == 1000
    assert office.rows("SELECT count(DISTINCT xmin::text) FROM exchange.links") == [(1,)]
    assert 0 < len(told) < 30


def test_the_same_enrolment_sent_eight_ways_makes_one_member(office: Office) -> None:
    cafe = office.partner("cafe")
    item = Enrolment(office.asked("r-1"), "c-1", WIDE)

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda _: office.enroll_all(cafe, [item])[0], range(8)))

    assert len({number(it) for it in outcomes}) == 1
    assert office.rows("SELECT count(*) FROM exchange.wallets") == [(1,)]


def test_a_customer_enrolled_eight_ways_under_different_ids_is_one_member(office: Office) -> None:
    cafe = office.partner("cafe")
    items = [Enrolment(office.asked(), "c-1", WIDE) for _ in range(8)]

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda item: office.enroll_all(cafe, [item])[0], items))

    assert len({number(it) for it in outcomes}) == 1
    assert office.rows("SELECT count(*) FROM exchange.wallets") == [(1,)]
    assert office.rows("SELECT count(*) FROM exchange.requests WHERE partner_id = 1") == [(8,)]


def test_batches_with_the_same_customers_in_any_order_all_succeed(office: Office) -> None:
    cafe = office.partner("cafe")
    names = [f"c-{index}" for index in range(200)]
    orders = [names, names[::-1], names[100:] + names[:100]]
    batches = [[Enrolment(office.asked(), name, WIDE) for name in order] for order in orders]

    with ThreadPoolExecutor(3) as threads:
        outcomes = list(threads.map(lambda items: office.enroll_all(cafe, items), batches))

    assert len({number(it) for batch in outcomes for it in batch}) == 200


def test_a_consent_waits_for_the_batch_that_holds_the_wallet(office: Office) -> None:
    cafe = office.partner("cafe")
    member = office.enroll(cafe, "c-1", Consent(1, 2))
    change = (cafe, "cafe", member, Consent(0, 0))

    with ThreadPoolExecutor(1) as threads:
        with psycopg.connect(office.url) as batch:
            batch.execute("SELECT 1 FROM exchange.wallets FOR NO KEY UPDATE")
            withdrawn = threads.submit(set_consent, office, *change)
            assert somebody_waits(batch)
            assert not withdrawn.done()
            before = limits(office)
        withdrawn.result(WAIT_SECONDS)

    assert before == [(1, 2)]
    assert limits(office) == [(0, 0)]


def test_an_operator_sets_any_consent_and_a_partner_its_own_where_it_may_attest(office: Office) -> None:
    cafe, plain = office.partner("cafe"), office.partner("plain", attests=False)
    member, other = office.enroll(cafe, "c-1"), office.enroll(plain, "p-1")

    assert set_consent(office, cafe, "cafe", member, Consent(1, 2)) == (1, 2)
    assert set_consent(office, CHEN, "plain", other, Consent(3, 4)) == (3, 4)
    assert limits(office) == [(1, 2), (3, 4)]
    with pytest.raises(RegistrarRefusal, match="ATTESTATION_NOT_ALLOWED"):
        set_consent(office, plain, "plain", other, Consent(5, 6))
    for code, member_id in (("cafe", other), ("plain", member), ("cafe", -1)):
        with pytest.raises(RegistrarRefusal, match="MEMBER_UNKNOWN"):
            set_consent(office, CHEN, code, member_id, Consent(5, 6))
    with pytest.raises(RegistrarRefusal, match="PARTNER_UNKNOWN"):
        set_consent(office, CHEN, "POOL", member, Consent(5, 6))
