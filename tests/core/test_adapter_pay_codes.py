"""Pay codes as pictures, and what a till reads of them."""

from __future__ import annotations

import struct
from xml.etree import ElementTree  # our own picture

import pytest

from merchant_adapter.pay_codes import digits_of, to_png, to_svg

CODE = "01234567890123456789"
MODULES = 25 + 2 * 4  # version 2, and a border of 4 on each side


def test_a_png_is_a_square_of_whole_modules() -> None:
    made = to_png("TONGDUI:" + CODE, scale=5)

    assert made.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", made[16:24]) == (MODULES * 5, MODULES * 5)


def test_an_svg_is_as_large_as_the_png() -> None:
    root = ElementTree.fromstring(to_svg("TONGDUI:" + CODE, scale=5))  # noqa: S314  # our own picture

    assert root.tag.endswith("svg")
    assert (root.get("width"), root.get("height")) == (str(MODULES * 5), str(MODULES * 5))


def test_two_codes_are_two_pictures() -> None:
    assert to_png("TONGDUI:" + CODE) != to_png("TONGDUI:" + CODE[::-1])


@pytest.mark.parametrize(
    "scanned", ["TONGDUI:" + CODE, CODE, " 0123 4567 8901 2345 6789 ", "01234-56789-01234-56789\n"]
)
def test_a_till_reads_the_digits_scanned_or_typed(scanned: str) -> None:
    assert digits_of(scanned) == CODE


@pytest.mark.parametrize("scanned", ["", CODE[:-1], CODE + "0", "OTHER:" + CODE, "\u0661" * 20, "a" * 20])
def test_what_is_no_pay_code_is_not_read(scanned: str) -> None:
    with pytest.raises(ValueError, match="20 digits"):
        digits_of(scanned)
