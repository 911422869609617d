"""Page tokens."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.rpc.errors import InvalidField
from exchange.rpc.paging import from_token, number_in, page_limit, split_page, text_in, to_token
from tests.property.profiles import tries


def encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@tries(100)
@given(st.integers(0, 2**63 - 1), st.from_regex(r"[a-z0-9.-]{0,80}", fullmatch=True))
def test_a_token_gives_back_the_key_it_was_made_of(number: int, text: str) -> None:
    assert from_token(to_token(number, text), int, str) == [number, text]
    assert number_in(to_token(number)) == number
    assert text_in(to_token(text)) == text


def test_no_token_means_the_beginning() -> None:
    assert from_token("", int, str) is None
    assert number_in("") is None
    assert text_in("") == ""


@pytest.mark.parametrize(
    "token",
    [
        "*",
        "A",
        "é",
        encoded(b"7"),
        encoded(b"[7"),
        encoded(b'["7"]'),
        encoded(b"[true]"),
        encoded(b"[7.0]"),
        encoded(b"[-1]"),
        encoded(b"[9223372036854775808]"),
        encoded(b"[7, 8]"),
        encoded(b"\xff"),
        encoded(b"[" * 300),
        to_token(7) + "=",
        to_token(7) + "!",
        "A" * 100_000,
    ],
)
def test_a_token_that_is_not_ours_is_a_bad_field(token: str) -> None:
    with pytest.raises(InvalidField) as refused:
        number_in(token)

    assert refused.value.field == "page_token"


def test_a_token_holds_no_control_character() -> None:
    with pytest.raises(InvalidField):
        text_in(encoded(b'["a\\u0000"]'))


@pytest.mark.parametrize(("asked", "limit"), [(0, 100), (1, 1), (1000, 1000)])
def test_a_page_has_a_hundred_rows_unless_asked_otherwise(asked: int, limit: int) -> None:
    assert page_limit(asked) == limit


@pytest.mark.parametrize("asked", [-1, 1001, 2**31 - 1])
def test_a_page_has_at_most_a_thousand_rows(asked: int) -> None:
    with pytest.raises(InvalidField) as refused:
        page_limit(asked)

    assert refused.value.field == "page_size"


def test_a_page_is_the_last_where_no_row_follows() -> None:
    assert split_page([1, 2, 3], 3) == ([1, 2, 3], None)
    assert split_page([1, 2, 3, 4], 3) == ([1, 2, 3], 3)
    assert split_page([], 3) == ([], None)
