"""Every command through the real store: what one batch writes is what the next one reads, however they are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from hashlib import sha256
from typing import Any, Final

import psycopg
import pytest

from exchange.batch import Answer
from exchange.batcher import Batcher
from exchange.core import commands as core
from exchange.core.commands import Asked, Authority, MoneyMove, Quote
from exchange.core.ids import OPERATOR
from tests.builders import NOON, earn
from tests.postgres.ledger_at_work import WIDE, Office, begin_anew, new_card, open_office
from tests.postgres.shop import Shop, posting, reason
from tongdui.exchange.v1 import accounts_service_pb2, commands_pb2

A, B = 1, 2
CODE: Final = sha256(b"12345678901234567890").digest()
SOON: Final = datetime(2999, 1, 1, tzinfo=UTC)
RESPONSES: Final[dict[str, Any]] = {
    "earn": commands_pb2.EarnResponse,
    "confirm_earn": commands_pb2.ConfirmEarnResponse,
    "claw_back_earn": commands_pb2.ClawBackEarnResponse,
    "authorize_burn": commands_pb2.AuthorizeBurnResponse,
    "extend_hold": commands_pb2.ExtendHoldResponse,
    "capture_burn": commands_pb2.CaptureBurnResponse,
    "refund_burn": commands_pb2.RefundBurnResponse,
    "exchange_in": commands_pb2.ExchangeInResponse,
    "exchange_out": commands_pb2.ExchangeOutResponse,
    "confirm_exchange_out": commands_pb2.ConfirmExchangeOutResponse,
    "adjust": accounts_service_pb2.ApproveAdjustmentResponse,
    "merge": accounts_service_pb2.MergeMembersResponse,
}

STATE: Final = (
    "SELECT member_id, lot_sequence, issuer_id, rate_version, expiry_date, spent, issued_points, moved_in_points,"
    " open_points, held_points, burned_points, expired_points, clawed_back_points, absorbed_points, moved_out_points,"
    " transferred_points, deficit_raised_points FROM exchange.lots ORDER BY 1, 2",
    "SELECT member_id, state, survivor_id, open_points, pending_points, held_points, deficit_points, lot_sequence,"
    " deficit_sequence, next_expiry_date, next_cancel_date, spent_count, spent_points, transferred_points"
    " FROM exchange.wallets ORDER BY 1",
    "SELECT partner_id, request_id, member_id, kind, points FROM exchange.holds ORDER BY 1, 2",
    "SELECT partner_id, request_id, member_id, points, due_date, expiry_date FROM exchange.pending_earns ORDER BY 1, 2",
    "SELECT member_id, deficit_sequence, issuer_id, funding_micros, raised_points, moved_in_points, absorbed_points,"
    " forgiven_points, moved_out_points, moved_from_member_id, moved_from_sequence FROM exchange.deficits",
    "SELECT from_member_id, from_lot_sequence, to_member_id, to_lot_sequence, why, points FROM exchange.lot_moves"
    " ORDER BY move_id",
    "SELECT member_id, partner_id, once_rule FROM exchange.marks ORDER BY 1, 2, 3",
    "SELECT quote_id FROM exchange.quotes ORDER BY 1",
    "SELECT digest, used FROM exchange.pay_codes ORDER BY 1",
    "SELECT partner_id, store_id, terminal_id, wrong_tries, locked FROM exchange.terminals ORDER BY 1, 2, 3",
    "SELECT member_id, partner_id, burned_points FROM exchange.links ORDER BY 1, 2",
    "SELECT payer_id, payer_component, payee_id, payee_component, sum(micros)::bigint FROM exchange.lines"
    " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
    "SELECT entries.kind, entries.request_id, entries.points, entries.spend_minor, entries.native_points,"
    " original.request_id FROM exchange.entries JOIN exchange.batches USING (batch_id)"
    " LEFT JOIN exchange.entries AS original ON original.batch_id = entries.original_batch_id"
    " AND original.entry_index = entries.original_entry_index ORDER BY batches.sequence, entries.entry_index",
)
"""All that a ledger holds, without what depends on how commands were cut into batches."""


def ask(kind: type[Any], request_id: str, member_id: int, *own: Any, partner: int = A, **more: Any) -> Any:
    """A command of any kind, whose reference is its request id."""
    head = (partner, request_id, sha256(request_id.encode()).digest(), member_id, NOON, "s-1", "t-1")
    return kind(*head, "" if partner == OPERATOR else request_id, "", "", "", *own, **more)


def story(first: int, second: int, third: int, fourth: int) -> list[Asked]:
    """A day in which every kind of command happens, mostly with success."""
    code = Authority(pay_code=CODE)
    missing = replace(earn("late", points=40, member_id=first), event_time=NOON - timedelta(days=60))
    return [
        ask(core.Earn, "e-1", first, 0, 10_000, None),
        ask(core.Earn, "welcome", first, 50, 0, None, once_rule="welcome"),
        ask(core.Earn, "welcome-again", first, 50, 0, None, once_rule="welcome"),
        ask(core.Earn, "native", first, 0, 0, None, 100),
        ask(core.Earn, "quoted", first, 7, 0, None, quote=Quote("q-1", 1, SOON)),
        ask(core.Earn, "quoted-again", first, 7, 0, None, quote=Quote("q-1", 1, SOON)),
        ask(core.Earn, "p-1", first, 30, 0, date(2026, 1, 9), pending=True),
        ask(core.Earn, "p-2", first, 20, 0, None, pending=True),
        ask(core.ClawBackEarn, "p-1-less", first, "p-1", 0, 10, 0),
        ask(core.ConfirmEarn, "p-1-yes", first, "p-1"),
        ask(core.CancelEarn, "p-2-no", first, "p-2"),
        ask(core.AuthorizeBurn, "h-1", first, 40, 600, partner=B),
        ask(core.ExtendHold, "h-1-longer", first, "h-1", 1200, partner=B),
        ask(core.CaptureBurn, "h-1-part", first, "h-1", 25, partner=B),
        ask(core.CaptureBurn, "h-1-again", first, "h-1", 5, partner=B),
        ask(core.AuthorizeBurn, "h-2", first, 10, partner=B),
        ask(core.VoidBurn, "h-2-void", first, "h-2", partner=B),
        ask(core.AuthorizeBurn, "h-3", first, 3, partner=B),
        ask(core.Burn, "b-1", first, 60, partner=B),
        ask(core.RefundBurn, "b-1-back", first, "b-1", 0, 20, partner=B),
        ask(core.RefundBurn, "h-1-back", first, "h-1-part", 0, 5, partner=B),
        ask(core.ExchangeIn, "x-in", second, 1001, None, partner=B),
        ask(core.ExchangeOut, "x-1", second, 12, partner=B),
        ask(core.ConfirmExchangeOut, "x-1-yes", second, "x-1", partner=B),
        ask(core.ExchangeOut, "x-2", second, 9, partner=B),
        ask(core.RefuseExchangeOut, "x-2-no", second, "x-2", partner=B),
        ask(core.Burn, "with-code", second, 11, code, partner=B),
        ask(core.Burn, "with-code-again", second, 1, code, partner=B),
        ask(core.Transfer, "t-1", second, third, 100, partner=B),
        ask(core.Burn, "spent", third, 80, partner=A),
        ask(core.Earn, "e-3", third, 90, 0, None),
        ask(core.Burn, "e-3-spent", third, 90, partner=B),
        ask(core.ClawBackEarn, "e-3-back", third, "e-3", 0, 90, 0),
        ask(core.Earn, "repays", third, 30, 0, None, partner=B),
        ask(core.Adjust, "adj-1", first, missing, 1, partner=OPERATOR),
        ask(core.Adjust, "adj-2", 0, MoneyMove(A, OPERATOR, 1_000), 2, partner=OPERATOR),
        ask(core.ChangeState, "frost", fourth, "freeze", partner=OPERATOR),
        ask(core.Earn, "cold", fourth, 5, 0, None),
        ask(core.ChangeState, "thaw", fourth, "unfreeze", partner=OPERATOR),
        ask(core.Earn, "warm", fourth, 15, 0, None),
        ask(core.Merge, "merge", third, fourth, partner=OPERATOR),
        ask(core.Earn, "after-merge", third, 200, 0, None),
        ask(core.RefundBurn, "after-merge-back", third, "e-3-spent", 0, 30, partner=B),
        ask(core.Unmerge, "unmerge", third, "merge", partner=OPERATOR),
        ask(core.ChangeState, "close", second, "close", partner=OPERATOR),
    ]


@pytest.fixture
def shop(office: Office) -> Shop:
    """Partners a and b exchange native points; four members of both, and a pay code of the second."""
    return open_exchange(office)


def open_exchange(office: Office) -> Shop:
    a, b = office.partner("a"), office.partner("b")
    rates = {
        "native_rate_in": Fraction(2, 5),
        "native_rate_out": Fraction(2),
        "exchange_spread": Fraction(1, 50),
    }
    for code in ("a", "b"):
        office.approve_card(office.propose(new_card(code, **rates)))
    members = [office.enroll(a, f"c-{number}", WIDE) for number in range(4)]
    for number, member_id in enumerate(members):
        office.link(b, member_id, f"c-{number}", WIDE)
    with psycopg.connect(office.url) as connection:
        connection.execute(
            "INSERT INTO exchange.pay_codes (digest, member_id, partner_id, max_points, issue_time, expire_time)"
            " VALUES (%s, %s, 0, 50, '2025-12-31', '2999-01-01')",
            (CODE, members[1]),
        )
    return Shop(office, a, b, members)


def decide(shop: Shop, commands: Sequence[Asked], size: int) -> dict[str, Answer]:
    """Decides the commands in batches of `size`; the answers by request id."""

    async def work(batcher: Batcher) -> list[Answer]:
        answers: list[Answer] = []
        for first in range(0, len(commands), size):
            answers += await batcher.submit(commands[first : first + size], None)
        return answers

    answers = posting(shop, work)
    return {command.request_id: answer for command, answer in zip(commands, answers, strict=True)}


def read(answers: dict[str, Answer], request_id: str) -> Any:
    answer = answers[request_id]
    assert answer.accepted, reason(answer)
    return RESPONSES[answer.kind].FromString(answer.body)


def state(shop: Shop) -> list[list[tuple[Any, ...]]]:
    """Rows with members by their place in the shop, as their numbers are random; so sorted again."""
    place = {member_id: -number for number, member_id in enumerate(shop.members, 1)}
    with psycopg.connect(shop.url) as connection:
        tables = [connection.execute(query.encode()).fetchall() for query in STATE]
    named = [[tuple(place.get(value, value) for value in row) for row in rows] for rows in tables]
    return [
        rows if "sequence, entries" in query else sorted(rows, key=repr)
        for query, rows in zip(STATE, named, strict=True)
    ]


def test_every_kind_is_decided_with_the_figures_of_the_rules(shop: Shop) -> None:
    commands = story(*shop.members)

    answers = decide(shop, commands, 1)

    refused = {name: reason(answer) for name, answer in answers.items() if not answer.accepted}
    assert refused == {
        "welcome-again": "ALREADY_EARNED",
        "quoted-again": "QUOTE_USED",
        "h-1-again": "HOLD_CLOSED",
        "with-code-again": "PAY_CODE_INVALID",
        "cold": "MEMBER_FROZEN",
    }
    assert (read(answers, "native").points, read(answers, "e-1").points) == (40, 100)
    assert read(answers, "p-1-yes").points == 20
    assert read(answers, "h-1-part").released_points == 15
    assert read(answers, "b-1-back").remaining_points == 40
    assert (read(answers, "x-in").points, read(answers, "x-1").native_points) == (392, 24)
    assert read(answers, "e-3-back").deficit_points > 0


@pytest.mark.parametrize("size", [7, 100, 1000])
def test_how_commands_are_cut_into_batches_changes_nothing_that_is_kept(
    shop: Shop, ledger_url: str, size: int
) -> None:
    """More than 100 are copied in, where fewer are inserted: the filler is there to make it more."""

    def day(at: Shop) -> list[Asked]:
        filler = [ask(core.Earn, f"filler-{number}", at.members[0], 1, 0, None) for number in range(120)]
        return story(*at.members) + filler

    one_by_one = decide(shop, day(shop), 1)
    kept = state(shop)
    begin_anew(ledger_url)
    office = open_office(ledger_url)
    again = open_exchange(office)
    together = decide(again, day(again), size)

    assert {name: reason(it) for name, it in together.items()} == {
        name: reason(it) for name, it in one_by_one.items()
    }
    assert state(again) == kept
    office.engine.dispose()


def test_a_capture_has_its_points_once_though_a_command_beside_its_refund_names_the_hold(shop: Shop) -> None:
    first = shop.members[0]
    decide(
        shop,
        [
            ask(core.Earn, "e-1", first, 100, 0, None),
            ask(core.Burn, "another", first, 40, partner=B),
            ask(core.AuthorizeBurn, "h-1", first, 30, partner=B),
            ask(core.CaptureBurn, "c-1", first, "h-1", 0, partner=B),
        ],
        4,
    )

    answers = decide(
        shop,
        [
            ask(core.VoidBurn, "void", first, "h-1", partner=B),
            ask(core.RefundBurn, "back", first, "c-1", 0, 30, partner=B),
            ask(core.RefundBurn, "back-again", first, "c-1", 1, 30, partner=B),
        ],
        3,
    )

    assert {name: reason(it) for name, it in answers.items()} == {
        "void": "HOLD_CLOSED",
        "back": "",
        "back-again": "OVER_ORIGINAL",
    }
    assert read(answers, "back").remaining_points == 0


def test_a_row_that_an_unmerge_finds_nothing_in_keeps_the_number_it_was_given(shop: Shop) -> None:
    first, second, third, _ = shop.members
    commands = [
        ask(core.Earn, "e-1", first, 10, 0, None),
        ask(core.Merge, "merge-1", first, second, partner=OPERATOR),
        ask(core.Burn, "spent", second, 10),
        ask(core.Merge, "merge-2", second, third, partner=OPERATOR),
        ask(core.Unmerge, "unmerge", first, "merge-1", partner=OPERATOR),
    ]

    answers = decide(shop, commands, 1)

    assert {reason(it) for it in answers.values()} == {""}
    numbered = (
        "SELECT lot_sequence,"
        " (SELECT max(lots.lot_sequence) FROM exchange.lots WHERE lots.member_id = wallets.member_id)"
        " FROM exchange.wallets WHERE member_id = :third"
    )
    assert shop.office.rows(numbered, third=third) == [(1, 1)]
