"""Pay codes in the registrar: issued for a linked member, kept as a hash, the same code at each repeat."""

from __future__ import annotations

import hashlib

import pytest

from exchange.registrar import Actor, Answered, RegistrarRefusal
from exchange.registrar.pay_codes import IssuedPayCode, NewPayCode
from tests.postgres.ledger_at_work import CHEN, Office
from tests.postgres.members_at_work import Counter, open_counter


@pytest.fixture
def counter(office: Office) -> Counter:
    return open_counter(office)


def encode(_: IssuedPayCode) -> bytes:
    return b"issued"


def issue(counter: Counter, actor: Actor, member_id: int, partner_code: str = "") -> str:
    write = counter.office.write(actor)
    _, code = counter.membership.issue_pay_code(
        write, actor, NewPayCode(member_id, 500, partner_code), encode
    )
    return code


def test_a_code_is_good_for_60_seconds_of_the_wall_clock_and_stored_as_a_hash(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    member = counter.office.enroll(cafe, "c-1")

    code = issue(counter, cafe, member)

    digest = hashlib.sha256(code.encode()).digest()
    assert counter.office.rows(
        "SELECT digest, member_id, partner_id, max_points, used, expire_time - issue_time = interval '60 seconds',"
        " abs(extract(epoch FROM clock_timestamp() - issue_time)) < 30 FROM exchange.pay_codes"
    ) == [(digest, member, 0, 500, False, True, True)]
    stored = counter.office.rows("SELECT answer, fingerprint FROM exchange.requests")
    assert code not in repr(stored)


def test_a_code_can_be_bound_to_a_partner(counter: Counter) -> None:
    cafe, tea = counter.office.partner("cafe"), counter.office.partner("tea")
    member = counter.office.enroll(cafe, "c-1")

    issue(counter, cafe, member, "tea")

    assert counter.office.rows("SELECT partner_id FROM exchange.pay_codes") == [(tea.partner_id,)]
    with pytest.raises(RegistrarRefusal, match="PARTNER_UNKNOWN"):
        issue(counter, cafe, member, "nobody")


def test_a_repeat_gives_the_same_code_and_no_longer_life(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    member = counter.office.enroll(cafe, "c-1")
    write = counter.office.write(cafe, "r-1")
    new = NewPayCode(member, 500, "")
    first, code = counter.membership.issue_pay_code(write, cafe, new, encode)
    life = counter.office.rows("SELECT expire_time FROM exchange.pay_codes")

    again, same = counter.membership.issue_pay_code(write, cafe, new, encode)

    assert same == code
    assert (first, again) == (Answered(b"issued", replayed=False), Answered(b"issued", replayed=True))
    assert counter.office.rows("SELECT expire_time FROM exchange.pay_codes") == life


def test_every_request_gets_a_code_of_its_own(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    member = counter.office.enroll(cafe, "c-1")

    codes = {issue(counter, cafe, member) for _ in range(20)}

    assert len(codes) == 20


def test_only_an_operator_or_a_linked_partner_that_may_attest_issues_codes(counter: Counter) -> None:
    cafe, tea = counter.office.partner("cafe"), counter.office.partner("tea")
    plain = counter.office.partner("plain", attests=False)
    member = counter.office.enroll(cafe, "c-1")
    own = counter.office.enroll(plain, "p-1")
    issue(counter, CHEN, member)

    with pytest.raises(RegistrarRefusal, match="MEMBER_UNKNOWN"):
        issue(counter, tea, member)
    with pytest.raises(RegistrarRefusal, match="ATTESTATION_NOT_ALLOWED"):
        issue(counter, plain, own)
    with pytest.raises(RegistrarRefusal, match="MEMBER_UNKNOWN"):
        issue(counter, CHEN, 5)
    counter.unlink(cafe, "cafe", member)
    with pytest.raises(RegistrarRefusal, match="MEMBER_UNKNOWN"):
        issue(counter, cafe, member)


def test_codes_long_past_are_removed(counter: Counter) -> None:
    cafe = counter.office.partner("cafe")
    member = counter.office.enroll(cafe, "c-1")
    counter.office.rows(
        "INSERT INTO exchange.pay_codes VALUES ('old', :member, 0, 1, now() - interval '2 hours',"
        " now() - interval '61 minutes', false), ('new', :member, 0, 1, now() - interval '1 hour',"
        " now() - interval '59 minutes', true) RETURNING 1",
        member=member,
    )

    issue(counter, cafe, member)

    assert counter.office.rows("SELECT digest FROM exchange.pay_codes WHERE length(digest) = 3") == [
        (b"new",)
    ]
