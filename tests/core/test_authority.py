"""Who may spend: pay codes, consent, daily limits, and quotes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from exchange.core.book import PayCode
from exchange.core.commands import Authority, AuthorizeBurn, Burn, Earn, ExchangeIn, Quote, Transfer
from tests.builders import M1, M2, MICROSECOND, NOON, TERMS, A, B, C, asked, at, card
from tests.ledger import Ledger

DIGEST = sha256(b"01234567890123456789").digest()
CODE = Authority(pay_code=DIGEST)
MINUTE = timedelta(seconds=60)


def ledger_with_code(**fields: Any) -> Ledger:
    """M1 has 1,000 points, no consent at B, and a pay code for up to 100 of them."""
    ledger = Ledger(terms=fields.pop("terms", TERMS))
    ledger.do(Earn, "earn", points=1_000)
    for link in ledger.rows.links.values():
        link.per_burn_limit_points = 0
    code = PayCode(DIGEST, M1, 0, 100, NOON, NOON + MINUTE)
    ledger.rows.pay_codes[DIGEST] = replace(code, **fields)
    return ledger


def test_without_code_or_consent_a_merchant_spends_nothing() -> None:
    ledger = ledger_with_code()

    reasons = {
        ledger.refusal(Burn, "1", points=1, partner_id=B),
        ledger.refusal(AuthorizeBurn, "2", points=1, partner_id=B),
        ledger.refusal(Transfer, "3", points=1, partner_id=B, to_member_id=M2),
    }

    assert reasons == {"CONSENT_REQUIRED"}


def test_a_pay_code_is_authority_without_consent_and_only_once() -> None:
    ledger = ledger_with_code()

    answer = ledger.do(Burn, "1", points=100, partner_id=B, authority=CODE)
    again = ledger.refusal(Burn, "2", points=1, partner_id=B, authority=CODE)

    assert answer["points"] == 100
    assert again == "PAY_CODE_INVALID"
    assert ledger.rows.links[M1, B].burned_points == 0  # the consent is not used up


@pytest.mark.parametrize(
    ("code", "burn"),
    [
        pytest.param({}, {"authority": Authority(pay_code=b"unknown")}, id="unknown"),
        pytest.param({"member_id": M2}, {}, id="another member's"),
        pytest.param({"partner_id": C}, {}, id="for another partner"),
        pytest.param({"used": True}, {}, id="used"),
        pytest.param({"expire_time": NOON - MICROSECOND}, {}, id="expired"),
        pytest.param({}, {"event_time": NOON - MINUTE - MICROSECOND}, id="shown before it was issued"),
    ],
)
def test_an_invalid_code_is_refused_and_counted(code: dict[str, Any], burn: dict[str, Any]) -> None:
    ledger = ledger_with_code(**code)

    reason = ledger.refusal(Burn, "1", **{"points": 1, "partner_id": B, "authority": CODE, **burn})

    assert reason == "PAY_CODE_INVALID"
    assert ledger.rows.terminals[B, "s-1", "t-1"].wrong_tries == 1


def test_a_code_is_good_to_the_end_of_its_life_by_the_wall_clock_alone() -> None:
    """The ledger clock may show another year, and does wherever history is posted."""
    in_time, late = ledger_with_code(), ledger_with_code()
    for ledger, wall in ((in_time, NOON + MINUTE), (late, NOON + MINUTE + MICROSECOND)):
        ledger.now, ledger.wall = at("2031-05-05 08:00"), wall

    answer = in_time.do(Burn, "1", points=1, partner_id=B, authority=CODE)
    reason = late.refusal(Burn, "1", points=1, partner_id=B, authority=CODE)

    assert answer["points"] == 1
    assert reason == "PAY_CODE_INVALID"


def test_points_over_the_codes_maximum_are_refused_and_not_counted() -> None:
    ledger = ledger_with_code()

    answer = ledger.ask(asked(Burn, "1", points=101, partner_id=B, authority=CODE))

    assert (answer["reason"], answer["limit_points"]) == ("PAY_CODE_LIMIT_EXCEEDED", "100")
    assert ledger.rows.terminals[B, "s-1", "t-1"].wrong_tries == 0
    ledger.do(Burn, "2", points=100, partner_id=B, authority=CODE)


def test_only_an_accepted_command_uses_a_code() -> None:
    ledger = ledger_with_code(max_points=5_000)

    assert ledger.refusal(Burn, "1", points=1_001, partner_id=B, authority=CODE) == "INSUFFICIENT_POINTS"
    ledger.do(Burn, "2", points=1_000, partner_id=B, authority=CODE)


def test_five_wrong_codes_lock_a_terminal_and_no_other() -> None:
    ledger = ledger_with_code()
    wrong = Authority(pay_code=b"wrong")

    tries = [ledger.refusal(Burn, str(n), points=1, partner_id=B, authority=wrong) for n in range(6)]

    assert tries == ["PAY_CODE_INVALID"] * 5 + ["TERMINAL_LOCKED"]
    assert ledger.refusal(Burn, "right", points=1, partner_id=B, authority=CODE) == "TERMINAL_LOCKED"
    ledger.do(Burn, "next till", points=1, partner_id=B, authority=CODE, terminal_id="t-2")


def test_a_good_code_lets_a_terminal_start_counting_anew() -> None:
    ledger = ledger_with_code()
    wrong = Authority(pay_code=b"wrong")
    for number in range(4):
        ledger.refusal(Burn, str(number), points=1, partner_id=B, authority=wrong)

    ledger.do(Burn, "right", points=1, partner_id=B, authority=CODE)

    assert ledger.refusal(Burn, "5", points=1, partner_id=B, authority=wrong) == "PAY_CODE_INVALID"
    assert not ledger.rows.terminals[B, "s-1", "t-1"].locked


def test_a_replay_is_answered_before_its_code_is_looked_at() -> None:
    ledger = ledger_with_code()
    command = asked(Burn, "1", points=1, partner_id=B, authority=CODE)

    first, second = ledger.ask(command), ledger.ask(command)

    assert first == second
    assert ledger.rows.terminals[B, "s-1", "t-1"].wrong_tries == 0


@pytest.mark.parametrize(
    ("limits", "reason", "figures"),
    [
        ({"member_daily_burns": 2}, "MEMBER_DAILY_LIMIT_EXCEEDED", {"limit_burns": "2"}),
        (
            {"member_daily_points": 29},
            "MEMBER_DAILY_LIMIT_EXCEEDED",
            {"limit_points": "29", "burned_points": "20"},
        ),
        ({"terminal_daily_burns": 2}, "TERMINAL_DAILY_LIMIT_EXCEEDED", {"limit_burns": "2"}),
        (
            {"terminal_daily_points": 29},
            "TERMINAL_DAILY_LIMIT_EXCEEDED",
            {"limit_points": "29", "burned_points": "20"},
        ),
    ],
)
def test_a_day_has_its_limits_and_the_next_begins_anew(
    limits: dict[str, Any], reason: str, figures: dict[str, str]
) -> None:
    ledger = Ledger(terms=replace(TERMS, **limits))
    ledger.do(Earn, "earn", points=1_000)
    ledger.do(Burn, "1", points=10, partner_id=B)
    ledger.do(Transfer, "2", points=10, partner_id=B, to_member_id=M2)  # counts as a burn does

    answer = ledger.ask(asked(AuthorizeBurn, "3", points=10, partner_id=B))
    ledger.move(at("2026-01-02 00:00"))
    tomorrow = ledger.do(AuthorizeBurn, "4", points=10, partner_id=B)

    assert {"reason": reason, **figures}.items() <= answer.items()
    assert tomorrow["points"] == 10


def test_limits_of_a_terminal_are_its_own() -> None:
    ledger = Ledger(terms=replace(TERMS, terminal_daily_burns=1))
    ledger.do(Earn, "earn", points=1_000)
    ledger.do(Burn, "1", points=10, partner_id=B)

    assert ledger.refusal(Burn, "2", points=10, partner_id=B) == "TERMINAL_DAILY_LIMIT_EXCEEDED"
    ledger.do(Burn, "3", points=10, partner_id=B, terminal_id="t-2")


NEW_CARD = card(B, 2, valid_from="2026-01-01 12:00", reimbursement=1, face_value=1)


def quote(expire_time: datetime = NOON + MINUTE) -> Quote:
    return Quote("q-1", 1, expire_time)


def test_a_quote_keeps_its_card_when_the_next_comes_into_force() -> None:
    ledger = Ledger(cards=[card(B), NEW_CARD])
    ledger.do(Earn, "earn", points=100)

    quoted = ledger.do(Burn, "1", points=10, partner_id=B, authority=Authority(quote=quote()))
    plain = ledger.do(Burn, "2", points=10, partner_id=B)

    assert (quoted["rate_version"], quoted["value_micros"]) == (1, 100_000)
    assert (plain["rate_version"], plain["value_micros"]) == (2, 10)


def test_a_quote_counts_once_and_a_refused_command_leaves_it() -> None:
    ledger = Ledger(cards=[card(B), NEW_CARD])
    ledger.do(Earn, "earn", points=100)
    authority = Authority(quote=quote())

    assert ledger.refusal(Burn, "1", points=101, partner_id=B, authority=authority) == "INSUFFICIENT_POINTS"
    ledger.do(Burn, "2", points=10, partner_id=B, authority=authority)
    assert ledger.refusal(Burn, "3", points=10, partner_id=B, authority=authority) == "QUOTE_USED"
    assert ledger.refusal(Earn, "4", points=10, partner_id=B, quote=quote()) == "QUOTE_USED"


def test_a_quote_holds_until_its_time_by_the_wall_clock() -> None:
    ledger = Ledger(cards=[card(B), NEW_CARD])
    ledger.do(Earn, "earn", points=100)
    ledger.wall = NOON + MINUTE + MICROSECOND

    reasons = {
        ledger.refusal(Burn, "1", points=1, partner_id=B, authority=Authority(quote=quote())),
        ledger.refusal(Earn, "2", points=1, partner_id=B, quote=quote()),
        ledger.refusal(ExchangeIn, "3", native_points=1, partner_id=B, quote=quote()),
        ledger.refusal(Transfer, "4", points=1, to_member_id=M2, authority=Authority(quote=quote())),
    }

    assert reasons == {"QUOTE_EXPIRED"}


def test_a_quoted_earn_joins_the_lot_of_the_quoted_card() -> None:
    ledger = Ledger(cards=[card(B), NEW_CARD])
    ledger.do(Earn, "before", points=1, partner_id=B, event_time=NOON - MINUTE)

    ledger.do(Earn, "quoted", points=1, partner_id=B, quote=quote())

    assert ledger.lot(M1, 1).open_points == 2
    assert ledger.rows.quotes == {"q-1"}
    assert A not in {lot.issuer_id for lot in ledger.rows.lots.values()}
