"""Who may spend: a merchant alone never; by a member's pay code once, within its maximum, at an honest till."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass
from itertools import count

import pytest

from exchange.batch import Answer
from exchange.core.commands import Authority, Burn
from exchange.registrar import Actor
from exchange.registrar.envelope import pay_code_digest
from exchange.registrar.pay_codes import NewPayCode
from tests.builders import NOON, earn
from tests.postgres.ledger_at_work import Office, new_card
from tests.postgres.members_at_work import Counter, open_counter
from tests.postgres.shop import reason


@dataclass
class Market:
    """A café whose app issues codes, a tea house, and a member of both with 1,000 points and no consent."""

    counter: Counter
    cafe: Actor
    tea: Actor
    member: int
    numbers: count[int]

    def code(self, max_points: int = 100, partner_code: str = "") -> str:
        _, code = self.counter.membership.issue_pay_code(
            self.counter.office.write(self.cafe),
            self.cafe,
            NewPayCode(self.member, max_points, partner_code),
            lambda _: b"",
        )
        return code

    def burn(self, code: str = "", points: int = 1, terminal: str = "t-1", by: Actor | None = None) -> Burn:
        name = f"b-{next(self.numbers)}"
        authority = Authority(pay_code=pay_code_digest(code)) if code else Authority()
        who = (by or self.tea).partner_id
        texts = ("s-1", terminal, name, "", "", "")
        return Burn(who, name, name.encode(), self.member, NOON, *texts, points, authority)

    def post(self, *commands: Burn) -> list[Answer]:
        return self.counter.office.post(*commands)

    def reason(self, command: Burn) -> str:
        (answer,) = self.post(command)
        return reason(answer)


@pytest.fixture
def market(office: Office) -> Market:
    cafe, tea = office.partner("cafe"), office.partner("tea")
    for code in ("cafe", "tea"):
        office.approve_card(office.propose(new_card(code)))
    member = office.enroll(cafe, "c-1")
    office.link(tea, member, "t-1")
    office.post(earn("e-1", points=1000, partner_id=cafe.partner_id, member_id=member))
    return Market(open_counter(office), cafe, tea, member, count(1))


def test_a_merchant_without_code_and_consent_spends_nothing(market: Market) -> None:
    assert market.reason(market.burn()) == "CONSENT_REQUIRED"
    assert market.reason(market.burn(by=market.cafe)) == "CONSENT_REQUIRED"


def test_a_code_is_good_for_one_accepted_burn(market: Market) -> None:
    code = market.code()

    outcomes = [market.reason(market.burn(code, 60)), market.reason(market.burn(code, 40))]

    assert outcomes == ["", "PAY_CODE_INVALID"]


def test_a_repeated_burn_is_answered_before_its_code_is_looked_at(market: Market) -> None:
    command = market.burn(market.code(), 60)

    first, again = market.post(command), market.post(command)

    assert reason(first[0]) == ""
    assert first[0].body == again[0].body


def test_a_refused_burn_leaves_the_code_good(market: Market) -> None:
    code = market.code(max_points=2000)

    outcomes = [market.reason(market.burn(code, points)) for points in (1001, 2001, 1000)]

    assert outcomes == ["INSUFFICIENT_POINTS", "PAY_CODE_LIMIT_EXCEEDED", ""]


def test_a_code_for_one_partner_is_wrong_at_another(market: Market) -> None:
    code = market.code(partner_code="cafe")

    outcomes = [market.reason(market.burn(code)), market.reason(market.burn(code, by=market.cafe))]

    assert outcomes == ["PAY_CODE_INVALID", ""]


def test_a_code_is_wrong_after_its_time(market: Market) -> None:
    code = market.code()
    with_owner = "UPDATE exchange.pay_codes SET issue_time = issue_time - interval '61 seconds',"
    market.counter.as_owner(with_owner + " expire_time = expire_time - interval '61 seconds'")

    assert market.reason(market.burn(code)) == "PAY_CODE_INVALID"


def test_ten_thousand_wrong_codes_hit_nothing_and_lock_the_till_while_an_honest_one_goes_on(
    market: Market,
) -> None:
    right = market.code()
    tried: Tally[str] = Tally()

    for first in range(0, 10_000, 1000):
        guesses = [market.burn(f"{guess:020}", terminal="t-bad") for guess in range(first, first + 1000)]
        tried.update(reason(answer) for answer in market.post(*guesses))
    at_the_locked_till = market.reason(market.burn(right, terminal="t-bad"))
    at_an_honest_till = market.reason(market.burn(right, terminal="t-good"))

    assert tried == {"PAY_CODE_INVALID": 5, "TERMINAL_LOCKED": 9995}
    assert at_the_locked_till == "TERMINAL_LOCKED"
    assert at_an_honest_till == ""
    assert market.counter.office.rows("SELECT open_points FROM exchange.wallets") == [(999,)]
