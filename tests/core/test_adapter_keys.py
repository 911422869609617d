"""Keys on disk: readable by their user alone, self-describing, never overwritten."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merchant_adapter import FileRefused, HubKeys, Key, Unreadable
from merchant_adapter.keys import verifies
from tongdui.signing import SignatureMalformed

EXAMPLE = json.loads((Path(__file__).parents[1] / "wire" / "signing_example.json").read_text())
IDENTITY_POINT = b"\x01" + bytes(31)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_example_seed_gives_the_published_key_id() -> None:
    seed = bytes.fromhex(EXAMPLE["partner_key"]["seed_hex"])

    key = Key("cafe", seed)

    assert key.key_id == EXAMPLE["partner_key"]["keyid"]
    assert key.public_key.hex() == EXAMPLE["partner_key"]["public_hex"]


def test_a_saved_key_is_in_a_0700_directory_in_a_0600_file_named_like_it(tmp_path: Path) -> None:
    key = Key.generate("cafe")

    path = key.save(tmp_path / "keys")

    assert path.name == f"{key.key_id}.jwk"
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


def test_a_loaded_key_is_the_saved_one(tmp_path: Path) -> None:
    key = Key.generate("operator", "chen.wei")

    loaded = Key.load(key.save(tmp_path / "keys"))

    assert (loaded.key_id, loaded.owner, loaded.holder) == (key.key_id, "operator", "chen.wei")
    assert verifies(key.public_key, loaded.sign(b"text"), b"text")


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_can_open_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, bits: int
) -> None:
    path = Key.generate("cafe").save(tmp_path / "keys")
    path.chmod(bits)

    with pytest.raises(FileRefused) as refused:
        Key.load(path)

    assert f"chmod 600 {path}" in str(refused.value)


def test_no_key_is_saved_into_a_directory_that_others_can_open(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)

    with pytest.raises(FileRefused, match="chmod 700"):
        Key.generate("cafe").save(folder)

    assert list(folder.iterdir()) == []


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    key = Key.generate("cafe")
    path = key.save(tmp_path / "keys")
    before = path.read_bytes()

    with pytest.raises(FileRefused, match="never overwritten"):
        key.save(tmp_path / "keys")

    assert path.read_bytes() == before


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.jwk"

    with pytest.raises(FileRefused, match=r"none\.jwk: No such file"):
        Key.load(path)


def test_a_named_pipe_is_no_key_file_and_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o600)

    with pytest.raises(FileRefused, match="not a regular file"):
        Key.load(path)


def test_a_directory_is_no_key_file_and_is_not_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def opening(*how: Any, really: Callable[..., int] = os.open) -> int:
        opened.append(really(*how))
        return opened[-1]

    monkeypatch.setattr(os, "open", opening)

    with pytest.raises(FileRefused, match="not a regular file"):
        Key.load(tmp_path)

    (descriptor,) = opened
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kty": "EC"}, "kty"),
        ({"crv": "X25519"}, "crv"),
        ({"kid": "cafe.x"}, "keyid"),
        ({"kid": Key("bank", bytes(32)).key_id}, "kid"),
        ({"x": "AAAA"}, "x"),
        ({"d": "AAAA"}, "seed"),
        ({"d": "not base64url!"}, "d"),
        ({"d": None}, "d"),
        ({"holder": 5}, "holder"),
    ],
)
def test_a_key_file_whose_parts_do_not_belong_together_is_refused_by_name(
    tmp_path: Path, change: dict[str, object], named: str
) -> None:
    path = Key.generate("cafe").save(tmp_path / "keys")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(Unreadable, match=rf"\b{named}\b"):
        Key.load(path)


@pytest.mark.parametrize("text", ["", "[]", "5", "{", "\udcff", "[" * 20_000])
def test_what_is_no_json_object_is_no_key_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.jwk"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)

    with pytest.raises(Unreadable, match=r"key\.jwk"):
        Key.load(path)


def test_the_private_key_is_in_no_repr() -> None:
    key = Key("cafe", bytes(range(32)))

    text = repr(key)

    assert text == f"Key({key.key_id})"


@pytest.mark.parametrize("owner", ["", "Cafe", "a.b", "-cafe", "c" * 33, "cafe\n"])
def test_an_owner_out_of_form_makes_no_key(owner: str) -> None:
    seed = bytes(32)

    with pytest.raises(SignatureMalformed, match="owner"):
        Key(owner, seed)


def test_hub_keys_survive_their_file() -> None:
    hub = Key.generate("hub")
    keys = HubKeys({hub.key_id: hub.public_key})

    read = HubKeys.from_json(keys.to_json())

    assert hub.key_id in read
    assert read.verifies(hub.key_id, hub.sign(b"text"), b"text")
    assert not read.verifies(hub.key_id, hub.sign(b"text"), b"other")


def test_a_hub_key_under_another_key_id_is_refused() -> None:
    one, other = Key.generate("hub"), Key.generate("hub")

    with pytest.raises(SignatureMalformed, match="not the key id"):
        HubKeys({one.key_id: other.public_key})


def test_a_partners_key_is_no_hub_key() -> None:
    cafe = Key.generate("cafe")

    with pytest.raises(SignatureMalformed, match="not the key id"):
        HubKeys({cafe.key_id: cafe.public_key})


def test_a_hub_key_under_which_one_signature_fits_every_message_is_refused() -> None:
    name = "hub." + Key.generate("hub").key_id.partition(".")[2]

    with pytest.raises(SignatureMalformed):
        HubKeys({name: IDENTITY_POINT})


@pytest.mark.parametrize("text", ["{}", '{"keys": []}', '{"keys": {}}', '{"keys": [1]}', '{"keys": [{}]}'])
def test_hub_keys_without_a_key_are_refused(text: str) -> None:
    with pytest.raises(Unreadable, match="hub keys"):
        HubKeys.from_json(text)


def test_a_missing_hub_keys_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hub-keys.json"

    with pytest.raises(Unreadable, match=r"hub-keys\.json: No such file"):
        HubKeys.load(path)
