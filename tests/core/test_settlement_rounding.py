"""Rounding carried to date, the account it leaves over, and statements made of it."""

from datetime import date

import pytest

from settlement.core.amounts import decimal_text, micros_per_minor, micros_texts, minor_text, round_half_up
from settlement.core.netting import Flow, Movement, movements
from settlement.core.parties import OPERATOR, POOL
from settlement.core.rounding import ESCROW, ROUNDING_PAIR, StatementLine, rounding_bounds, settle_lines
from settlement.core.statement import party_statement, payable_minor, statements

FEN = 10_000
DAY = date(2026, 1, 1)


def fee(partner: str, micros: int) -> Flow:
    return Flow(partner, "ISSUE_FEE", OPERATOR, "ISSUE_FEE", micros, 1)


def by_pair(lines: tuple[StatementLine, ...]) -> dict[tuple[str, str], StatementLine]:
    return {line.pair: line for line in lines}


@pytest.mark.parametrize(
    ("micros", "minor"),
    [(4_999, 0), (5_000, 1), (-4_999, 0), (-5_000, -1), (14_999, 1), (15_000, 2), (-15_000, -2), (0, 0)],
)
def test_a_half_fen_rounds_away_from_zero_for_both_signs(micros: int, minor: int) -> None:
    assert round_half_up(micros, FEN) == minor


def test_a_currency_without_minor_units_rounds_to_whole_ones() -> None:
    assert round_half_up(1_500_000, micros_per_minor(0)) == 2


def test_a_currency_as_fine_as_a_micro_rounds_nothing() -> None:
    assert round_half_up(-7, micros_per_minor(6)) == -7


def test_a_minor_unit_finer_than_a_micro_is_refused() -> None:
    with pytest.raises(ValueError, match="minor_unit_digits"):
        micros_per_minor(7)


def test_small_fees_are_billed_in_the_window_in_which_they_add_up_to_a_fen() -> None:
    lines: tuple[StatementLine, ...] = ()
    billed = []

    for _ in range(5):
        lines = settle_lines(lines, movements([fee("A", 3_200)]), FEN)
        billed.append(by_pair(lines)["A", "ISSUE_FEE"].amount_minor)

    assert billed == [0, -1, 0, 0, -1]  # to date -0.32, -0.64, -0.96, -1.28, -1.60 fen


def test_a_line_that_did_not_move_is_carried_on_and_settles_nothing() -> None:
    first = settle_lines((), movements([fee("A", 12_345)]), FEN)

    second = by_pair(settle_lines(first, {}, FEN))["A", "ISSUE_FEE"]

    assert (second.line_count, second.exact_micros, second.amount_minor) == (0, 0, 0)
    assert (second.exact_to_date_micros, second.amount_to_date_minor) == (-12_345, -1)
    assert not second.moved


def test_the_pool_is_rounded_once_as_one_figure() -> None:
    moved = {(POOL, "ISSUE_FUNDING"): Movement(5_000, 1), (POOL, "BURN_FUNDING"): Movement(4_999, 1)}

    lines = by_pair(settle_lines((), moved, FEN))

    assert lines[POOL, ESCROW].amount_minor == 1  # by component it would have been 1 + 0
    assert lines[POOL, ESCROW].exact_micros == 9_999
    assert (POOL, "ISSUE_FUNDING") not in lines


def test_what_the_roundings_leave_over_is_booked_to_an_account_of_its_own() -> None:
    flows = [fee(partner, 5_000) for partner in "ABC"]

    lines = by_pair(settle_lines((), movements(flows), FEN))

    assert lines[OPERATOR, "ISSUE_FEE"].amount_minor == 2  # 1.5 fen
    assert lines[ROUNDING_PAIR].amount_minor == 1  # three partners paid a whole fen each
    assert sum(line.amount_minor for line in lines.values()) == 0


def test_the_rounding_account_reaches_its_bound_and_no_further() -> None:
    lines = settle_lines((), movements([fee(partner, 5_000) for partner in "ABC"]), FEN)

    bounds = rounding_bounds(lines)

    assert (bounds.to_date_minor, bounds.pair_count, bounds.window_minor, bounds.line_count) == (1, 4, 1, 4)
    assert bounds.holds_to_date
    assert bounds.holds_in_window


def test_an_empty_first_window_has_statements_of_zeros() -> None:
    lines = settle_lines((), {}, FEN)

    settled = statements(DAY, lines)

    assert [(s.party_id, s.opening_minor, s.net_minor, s.closing_minor) for s in settled] == [
        (POOL, 0, 0, 0),
        (OPERATOR, 0, 0, 0),
    ]


def test_a_statement_opens_where_the_one_before_closed() -> None:
    first = settle_lines((), movements([fee("A", 1_000_000)]), FEN)
    second = settle_lines(first, movements([fee("A", 500_000), Flow(POOL, "X", "A", "Y", 70_000, 2)]), FEN)

    statement = party_statement(DAY, "A", [line for line in second if line.party_id == "A"])

    assert (statement.opening_minor, statement.net_minor, statement.closing_minor) == (-100, -43, -143)
    assert [line.component for line in statement.lines] == ["ISSUE_FEE", "Y"]
    assert statement.exact_micros == -430_000


def test_a_partner_that_never_moved_has_a_statement_of_zeros() -> None:
    statement = party_statement(DAY, "C", ())

    assert (statement.opening_minor, statement.lines, statement.closing_minor) == (0, (), 0)


def test_statements_list_partners_first_and_the_operator_last() -> None:
    flows = [fee("b", 1), fee("a", 1), Flow("a", "F", POOL, "F", 1, 1)]

    order = [statement.party_id for statement in statements(DAY, settle_lines((), movements(flows), FEN))]

    assert order == ["a", "b", POOL, OPERATOR]


def test_what_is_payable_is_what_the_paying_parties_owe() -> None:
    flows = [fee("A", 1_000_000), Flow(POOL, "X", "B", "Y", 250_000, 1)]

    assert payable_minor(statements(DAY, settle_lines((), movements(flows), FEN))) == 125


def test_a_party_cannot_owe_itself() -> None:
    with pytest.raises(ValueError, match="payer_id"):
        Flow("A", "X", "A", "Y", 1, 1)


@pytest.mark.parametrize(("micros", "lines"), [(0, 1), (-1, 1), (1, 0)])
def test_a_flow_is_positive(micros: int, lines: int) -> None:
    with pytest.raises(ValueError, match="exact_micros"):
        Flow("A", "X", "B", "Y", micros, lines)


def test_amounts_read_as_finance_writes_them() -> None:
    assert minor_text(123_456, 2) == "1,234.56"
    assert minor_text(-5, 2) == "-0.05"
    assert minor_text(0, 2) == "0.00"
    assert minor_text(1_234, 0) == "1,234"
    assert micros_texts([38_313_500], 2) == ["38.3135"]
    assert micros_texts([-3_100_000], 2) == ["-3.10"]
    assert micros_texts([1_234_000_001, 0, -500_000], 2) == ["1,234.000001", "0.000000", "-0.500000"]
    assert micros_texts([], 2) == []
    assert decimal_text(-123_456, 2) == "-1234.56"
    assert decimal_text(38_313_500, 6) == "38.313500"
