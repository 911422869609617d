"""Identifiers: what goes out on the wire comes back as the same number, and nothing else does."""

from __future__ import annotations

import pytest

from exchange.core.ids import (
    MEMBER_BITS,
    RESERVED_PARTNER_IDS,
    UNKNOWN_MEMBER,
    entry_text,
    expiry_request_id,
    member_number,
    member_text,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "m-000000000000"),
        (1, "m-000000000001"),
        (31, "m-00000000000v"),
        (32, "m-000000000010"),
        (2**MEMBER_BITS - 1, "m-vvvvvvvvvvvv"),
        (0x123456789ABCDEF, "m-28q5cu4qnjff"),
    ],
)
def test_a_members_text_is_its_number_in_base_32_and_back(number: int, text: str) -> None:
    assert member_text(number) == text
    assert member_number(text) == number


@pytest.mark.parametrize("bit", range(MEMBER_BITS))
def test_every_bit_of_a_members_number_survives(bit: int) -> None:
    assert member_number(member_text(1 << bit)) == 1 << bit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m-",
        "m-00000000000",  # too short
        "m-0000000000000",  # too long
        "M-000000000001",
        "x-000000000001",
        "m_000000000001",
        "m-00000000000w",  # no digit of base 32
        "m-00000000000V",  # would be a second spelling of the same member
        "m-0000_0000_01",  # int() would skip the underscores
        "m-+00000000001",  # int() would take a sign
        "m--00000000001",
        "m- 00000000001",  # int() would strip the space
        "m-00000000001\n",
        "m-0b0000000001\x00",
        "m-٠٠٠٠٠٠٠٠٠٠٠١",  # noqa: RUF001 - digits that int() would take
        "m-００００００００００００",  # noqa: RUF001 - full-width digits
        "m-0000-0001",
    ],
)
def test_a_text_the_hub_never_gave_out_names_no_member(text: str) -> None:
    assert member_number(text) == UNKNOWN_MEMBER


def test_a_text_that_looks_like_a_number_prefix_is_read_as_digits() -> None:
    number = member_number("m-0b0000000001")

    assert member_text(number) == "m-0b0000000001"


def test_no_member_has_the_unknown_members_number() -> None:
    assert UNKNOWN_MEMBER not in range(2**MEMBER_BITS)


def test_entries_and_expiries_are_named_by_their_place_and_their_lot() -> None:
    assert entry_text(12, 0) == "12-0"
    assert expiry_request_id(33, 7, "2026-01-31") == "expire:m-000000000011.7:2026-01-31"


def test_reserved_parties_are_below_every_partner() -> None:
    assert sorted(RESERVED_PARTNER_IDS) == [-2, -1, 0]
