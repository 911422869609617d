"""Sealing members' contacts, and the one form under which a contact is found."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidTag

from exchange.registrar.contacts import normalised
from exchange.registrar.envelope import Contact, Envelope, open_contact, pay_code_digest, seal_contact

PHONE = Contact("phone", "+8613800138000")
MASTER = hashlib.sha256(b"master").digest()


def test_a_contact_opens_under_the_members_own_key() -> None:
    data_key, sealed_key = Envelope(MASTER).new_data_key(7)

    sealed = seal_contact(data_key, 7, PHONE)

    assert open_contact(Envelope(MASTER).open_data_key(7, sealed_key), 7, "phone", sealed) == PHONE
    assert b"138" not in sealed
    assert data_key not in sealed_key


def test_the_same_contact_is_sealed_differently_each_time() -> None:
    data_key, _ = Envelope(MASTER).new_data_key(7)

    assert seal_contact(data_key, 7, PHONE) != seal_contact(data_key, 7, PHONE)


def test_a_sealed_row_is_of_no_use_to_another_member_or_as_another_kind() -> None:
    data_key, sealed_key = Envelope(MASTER).new_data_key(7)
    sealed = seal_contact(data_key, 7, PHONE)

    with pytest.raises(InvalidTag):
        open_contact(data_key, 8, "phone", sealed)
    with pytest.raises(InvalidTag):
        open_contact(data_key, 7, "email", sealed)
    with pytest.raises(InvalidTag):
        Envelope(MASTER).open_data_key(8, sealed_key)
    with pytest.raises(InvalidTag):
        Envelope(bytes(32)).open_data_key(7, sealed_key)


def test_every_use_of_the_master_key_has_a_key_of_its_own() -> None:
    envelope = Envelope(MASTER)

    made = {
        envelope.key_check,
        envelope.lookup(PHONE),
        envelope.keyed_fingerprint(b"+8613800138000"),
        envelope.code_hash("phone", "+8613800138000"),
    }

    assert len(made) == 4
    assert all(len(it) == 32 for it in made)
    assert Envelope(bytes(32)).lookup(PHONE) != envelope.lookup(PHONE)


def test_the_parts_of_a_keyed_hash_can_not_be_shifted() -> None:
    envelope = Envelope(MASTER)

    assert envelope.code_hash("ab", "c") != envelope.code_hash("a", "bc")


def test_an_envelope_shows_nothing_of_its_key() -> None:
    assert repr(Envelope(MASTER)) == "Envelope()"


def test_a_pay_code_is_20_digits_the_same_for_the_same_request_alone() -> None:
    envelope = Envelope(MASTER)
    codes = {envelope.pay_code(1, f"r-{number}", b"f") for number in range(500)}

    again = envelope.pay_code(1, "r-1", b"f")

    assert again in codes
    assert len(codes) == 500
    assert all(len(code) == 20 and code.isdecimal() for code in codes)
    assert len({again, envelope.pay_code(2, "r-1", b"f"), envelope.pay_code(1, "r-1", b"g")}) == 3
    assert any(code.startswith("0") for code in codes)  # the whole range is used


def test_a_pay_code_is_stored_as_the_hash_of_its_digits() -> None:
    assert pay_code_digest("00000000000000000001") == hashlib.sha256(b"00000000000000000001").digest()


@pytest.mark.parametrize("text", ["+86 138-0013-8000", "+8613800138000", "+86 (138) 0013.8000"])
def test_a_phone_is_found_however_it_is_written(text: str) -> None:
    assert normalised("phone", text) == PHONE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "13800138000",  # without a country code
        "+08613800138000",
        "+1234567890123456",  # 16 digits
        "+861380013800a",
        "+" + "\uff18\uff16" + "13800138000",  # digits, but not those of E.164
    ],
)
def test_what_is_no_phone_is_refused(text: str) -> None:
    assert normalised("phone", text) is None


@pytest.mark.parametrize("text", ["Li.Na@Example.COM", " li.na@example.com ", "li.na@\uff45xample.com"])
def test_an_email_is_found_however_it_is_written(text: str) -> None:
    assert normalised("email", text) == Contact("email", "li.na@example.com")


@pytest.mark.parametrize(
    "text", ["", "li.na", "li.na@", "@example.com", "a@b", "a b@c.de", "a@b@c.de", "a\x00@b.de"]
)
def test_what_is_no_email_is_refused(text: str) -> None:
    assert normalised("email", text) is None


def test_an_email_of_more_than_254_characters_is_refused() -> None:
    assert normalised("email", "a@" + "b" * 250 + ".de") is None
