"""Settlement's key files and the hub's pinned keys."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from settlement.rpc.keys import (
    HubKeys,
    KeyFileError,
    PrivateKey,
    load_hub_keys,
    load_private_key,
    save_private_key,
    verifies,
)
from tests.settlement_hub import HUB_KEY, HUB_KEY_ID
from tongdui.signing import SignatureMalformed, public_key_text

KEY = PrivateKey("operator", b"k" * 32)
HUB_PUBLIC_TEXT = public_key_text(bytes(HUB_KEY.verify_key))
HUB_JWK = {"kty": "OKP", "crv": "Ed25519", "kid": HUB_KEY_ID, "x": HUB_PUBLIC_TEXT}


def test_a_saved_key_comes_back_and_signs_the_same(tmp_path: Path) -> None:
    path = save_private_key(KEY, tmp_path / "keys")

    loaded = load_private_key(path)

    assert loaded.key_id == KEY.key_id
    assert loaded.sign(b"text") == KEY.sign(b"text")
    assert verifies(KEY.public_key, loaded.sign(b"text"), b"text")
    assert not verifies(KEY.public_key, loaded.sign(b"text"), b"other")


def test_a_saved_key_is_its_users_alone(tmp_path: Path) -> None:
    path = save_private_key(KEY, tmp_path / "keys")

    assert path.name == f"{KEY.key_id}.jwk"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    save_private_key(KEY, tmp_path / "keys")

    with pytest.raises(KeyFileError, match="there already"):
        save_private_key(KEY, tmp_path / "keys")


def test_a_directory_open_to_others_takes_no_key(tmp_path: Path) -> None:
    directory = tmp_path / "open"
    directory.mkdir()
    directory.chmod(0o750)

    with pytest.raises(KeyFileError, match="chmod 700"):
        save_private_key(KEY, directory)


def test_a_key_file_open_to_others_is_refused_with_the_command_to_run(tmp_path: Path) -> None:
    path = save_private_key(KEY, tmp_path / "keys")
    path.chmod(0o640)

    with pytest.raises(KeyFileError, match=r"mode 640.*chmod 600"):
        load_private_key(path)


def jwk(**changes: Any) -> bytes:
    fields = {"kty": "OKP", "crv": "Ed25519", "kid": KEY.key_id, "x": KEY.public_key_text, "d": "a2tr"}
    return json.dumps(fields | changes).encode()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not JSON"),
        (b"[]", "JSON object"),
        (b"[" * 100_000, "not JSON"),
        (jwk(kty="RSA"), "kty OKP"),
        (jwk(kid="nobody"), "keyid"),
        (jwk(kid=3), "kid is missing"),
        (jwk(d="***"), "d is not base64url"),
        (jwk(), "exactly 32 bytes"),
        (jwk(d="b" * 43), "do not belong"),
    ],
    ids=range(9),
)
def test_a_damaged_key_file_is_refused_by_name(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "key.jwk"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(KeyFileError, match=complaint) as refusal:
        load_private_key(path)

    assert str(path) in str(refusal.value)


def test_a_key_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        load_private_key(tmp_path / "none")


def test_a_directory_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="not a regular file"):
        load_private_key(tmp_path)


def test_a_key_can_go_by_the_id_another_office_registered_it_with() -> None:
    renamed = KEY.known_as(KEY.key_id.replace("operator.", "finance."))

    assert renamed.owner == "finance"
    assert renamed.sign(b"text") == KEY.sign(b"text")


def test_a_key_cannot_go_by_another_keys_id() -> None:
    with pytest.raises(KeyFileError, match="not an id of the key"):
        KEY.known_as(PrivateKey("operator", b"x" * 32).key_id)


def test_a_key_does_not_print_its_secret() -> None:
    assert repr(KEY) == f"PrivateKey({KEY.key_id})"


@pytest.mark.parametrize(
    "content", [{HUB_KEY_ID: HUB_PUBLIC_TEXT}, {"keys": [HUB_JWK]}], ids=["flat", "jwks"]
)
def test_hub_keys_are_read_in_both_forms(tmp_path: Path, content: object) -> None:
    path = tmp_path / "hub-keys.json"
    path.write_text(json.dumps(content))

    keys = load_hub_keys(path)

    assert HUB_KEY_ID in keys
    assert keys.verifies(HUB_KEY_ID, HUB_KEY.sign(b"text").signature, b"text")
    assert not keys.verifies(HUB_KEY_ID, HUB_KEY.sign(b"text").signature, b"other")
    assert not keys.verifies("hub.unknown", HUB_KEY.sign(b"text").signature, b"text")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{}", "holds no key"),
        ('{"keys": []}', "holds no key"),
        ('{"keys": [1]}', "JSON Web Key"),
        (json.dumps({HUB_KEY_ID: "AAAA"}), "3 bytes"),
        (json.dumps({KEY.key_id: KEY.public_key_text}), "not the key id of this hub key"),
        (json.dumps({HUB_KEY_ID: 5}), "missing or not a text"),
        ("nonsense", "not JSON"),
    ],
)
def test_damaged_hub_keys_are_refused(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "hub-keys.json"
    path.write_text(content)

    with pytest.raises(KeyFileError, match=complaint):
        load_hub_keys(path)


def test_hub_keys_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        load_hub_keys(tmp_path / "none")


def test_a_hub_key_must_go_by_its_own_id() -> None:
    with pytest.raises(SignatureMalformed, match="not the key id"):
        HubKeys({HUB_KEY_ID: KEY.public_key})
