"""`verify` on a receipt of the hub's: with the caller's key too, no byte of the file can change unseen."""

import json
from pathlib import Path

import pytest

from merchant_adapter import HubKeys, Key, Receipt, ReceiptInvalid, Unreadable
from merchant_adapter.evidence import CheckedReceipt, Trusted, check_files
from merchant_adapter.evidence_wrong import EvidenceWrong
from merchant_adapter.keys import load_public_keys
from merchant_adapter.private_files import FileRefused
from merchant_adapter.signing import verify_request
from tests.core.test_adapter_receipts import EXAMPLE, HUB_KEYS, PARTNER, RECEIPT, changed

FILE = (RECEIPT.to_json() + "\n").encode()
CALLERS = {PARTNER.key_id: PARTNER.public_key}


def is_found(content: bytes, callers: dict[str, bytes]) -> bool:
    try:
        check_files([("r.json", content)], Trusted(HUB_KEYS, None, callers))
    except (EvidenceWrong, Unreadable) as error:
        return str(error).startswith("r.json: ")
    return False


def test_one_flipped_byte_anywhere_in_a_receipt_is_found() -> None:
    for at in range(len(FILE)):
        damaged = FILE[:at] + bytes([FILE[at] ^ (1 << (at % 7))]) + FILE[at + 1 :]

        assert is_found(damaged, CALLERS), at


def test_without_the_callers_key_its_signature_is_said_to_be_unchecked() -> None:
    other = Receipt.from_json(FILE)
    spoilt = changed(other.request_entries, "tongdui-audience", "prod", "trod")
    forged = Receipt(other.path, other.request, spoilt, other.answer, other.answer_entries)
    content = forged.to_json().encode()

    (checked,) = check_files([("r.json", content)], Trusted(HUB_KEYS))

    assert isinstance(checked, CheckedReceipt)
    assert not checked.is_request_verified
    assert is_found(content, CALLERS)


def test_a_request_signed_with_an_unknown_key_is_not_judged() -> None:
    assert verify_request(RECEIPT, CALLERS)
    assert not verify_request(RECEIPT, {})
    with pytest.raises(ReceiptInvalid, match="request entries"):
        verify_request(RECEIPT, {PARTNER.key_id: Key.generate("cafe").public_key})


def test_a_callers_key_is_read_from_its_file_its_public_half_or_a_set(tmp_path: Path) -> None:
    saved = PARTNER.save(tmp_path / "keys")
    jwk = {name: value for name, value in json.loads(saved.read_text()).items() if name != "d"}
    (tmp_path / "one.jwk").write_text(json.dumps(jwk))
    (tmp_path / "set.jwks").write_text(json.dumps({"keys": [jwk]}))

    read = [load_public_keys(path) for path in (saved, tmp_path / "one.jwk", tmp_path / "set.jwks")]

    assert read == [CALLERS] * 3


@pytest.mark.parametrize("change", [{"kid": "cafe.x"}, {"kid": EXAMPLE["hub_key"]["keyid"]}, {"kty": "RSA"}])
def test_a_file_that_is_no_callers_key_is_unreadable(tmp_path: Path, change: dict[str, str]) -> None:
    saved = PARTNER.save(tmp_path / "keys")
    jwk = {name: value for name, value in json.loads(saved.read_text()).items() if name != "d"}
    (tmp_path / "one.jwk").write_text(json.dumps(jwk | change))

    with pytest.raises(Unreadable, match=r"one\.jwk"):
        load_public_keys(tmp_path / "one.jwk")


def test_a_private_key_open_to_others_is_refused_here_too(tmp_path: Path) -> None:
    saved = PARTNER.save(tmp_path / "keys")
    saved.chmod(0o644)

    with pytest.raises(FileRefused):
        load_public_keys(saved)


def test_keys_of_another_hub_do_not_verify_it() -> None:
    other = Key.generate("hub")

    with pytest.raises(EvidenceWrong) as raised:
        check_files([("r.json", FILE)], Trusted(HubKeys({other.key_id: other.public_key})))

    assert (raised.value.file, raised.value.field) == ("r.json", "receipt")
