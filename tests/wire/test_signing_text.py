"""The signing text against its published vector, its grammar, and every small change to a signed header."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.property.profiles import tries
from tongdui.signing import (
    HUB_RECEIPT,
    SETTLEMENT_RECEIPT,
    SignatureMalformed,
    SignatureStale,
    content_digest,
    key_id,
    parse_receipt,
    parse_request,
    receipt_base,
    receipt_entries,
    receipt_params,
    registration_text,
    request_base,
    request_entries,
    request_params,
    split_key_id,
    thumbprint,
)

Entries = tuple[tuple[str, str], ...]

EXAMPLE = json.loads((Path(__file__).parent / "signing_example.json").read_text())
PARTNER = EXAMPLE["partner_key"]
HUB = EXAMPLE["hub_key"]
PATH = EXAMPLE["request"]["path"]
AUDIENCE = "hub.example/prod"
REQUEST: Entries = tuple((name, value) for name, value in EXAMPLE["request"]["metadata"])
RECEIPT: Entries = tuple((name, value) for name, value in EXAMPLE["receipt"]["trailing_metadata"])
CREATED = 1767225600
EXPIRES = 1767225720
PARAMS = dict(REQUEST)["signature-input"].removeprefix("td=")
RECEIPT_PARAMS = dict(RECEIPT)["signature-input"].removeprefix("hub=")
DIGEST = dict(REQUEST)["content-digest"]


def sign(key: dict[str, str], base: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key["seed_hex"])).sign(base)


def verifies(key: dict[str, str], signature: bytes, base: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key["public_hex"])).verify(signature, base)
    except InvalidSignature:
        return False
    return True


def changed(entries: Entries, name: str, old: str, new: str) -> Entries:
    """`entries` with the first `old` in the value of `name` replaced, which must be there."""
    assert old in dict(entries)[name]
    return tuple((n, v.replace(old, new, 1) if n == name else v) for n, v in entries)


# The vector.


def test_the_example_keys_have_the_published_key_ids() -> None:
    publics = [bytes.fromhex(key["public_hex"]) for key in (PARTNER, HUB)]

    ids = [key_id("cafe", publics[0]), key_id("hub", publics[1])]

    assert ids == [PARTNER["keyid"], HUB["keyid"]]


def test_thumbprint_is_the_one_of_rfc_8037_appendix_a_3() -> None:
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")

    text = thumbprint(public)

    assert text == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_signing_the_example_request_gives_its_metadata_byte_for_byte() -> None:
    digest = content_digest(bytes.fromhex(EXAMPLE["request"]["message_hex"]))
    params = request_params(CREATED, EXPIRES, PARTNER["keyid"])

    base = request_base(PATH, digest, AUDIENCE, params)
    entries = request_entries(digest, AUDIENCE, params, sign(PARTNER, base))

    assert base == EXAMPLE["request"]["signature_base"].encode()
    assert entries == REQUEST


def test_reading_the_example_request_gives_the_signed_base_back() -> None:
    metadata: list[tuple[str, str | bytes]] = [("user-agent", "x"), ("trace-bin", b"\x00"), *REQUEST]

    request = parse_request(metadata)

    assert (request.created, request.expires) == (CREATED, EXPIRES)
    assert (request.audience, request.key_id) == (AUDIENCE, PARTNER["keyid"])
    assert request.digest_text == content_digest(bytes.fromhex(EXAMPLE["request"]["message_hex"]))
    assert request.base(PATH) == EXAMPLE["request"]["signature_base"].encode()
    assert verifies(PARTNER, request.signature, request.base(PATH))


def test_signing_the_example_receipt_gives_its_metadata_byte_for_byte() -> None:
    request = parse_request(REQUEST)
    digest = content_digest(bytes.fromhex(EXAMPLE["receipt"]["response_hex"]))
    params = receipt_params(1767225601, HUB["keyid"])

    base = receipt_base(digest, PATH, request.digest_text, request.params_text, params)
    entries = receipt_entries(digest, params, sign(HUB, base))

    assert base == EXAMPLE["receipt"]["signature_base"].encode()
    assert entries == RECEIPT


def test_reading_the_example_receipt_gives_the_signed_base_back() -> None:
    request = parse_request(REQUEST)

    receipt = parse_receipt((("grpc-status-details-bin", b"\x00"), *RECEIPT))
    base = receipt.base(PATH, request.digest_text, request.params_text)

    assert (receipt.created, receipt.key_id) == (1767225601, HUB["keyid"])
    assert receipt.digest_text == content_digest(bytes.fromhex(EXAMPLE["receipt"]["response_hex"]))
    assert base == EXAMPLE["receipt"]["signature_base"].encode()
    assert verifies(HUB, receipt.signature, base)


@pytest.mark.parametrize(
    ("path", "request_digest", "params"),
    [
        ("/tongdui.exchange.v1.PointsService/Burn", DIGEST, PARAMS),
        (PATH, content_digest(b"another message"), PARAMS),
        (PATH, DIGEST, PARAMS.replace("1767225600", "1767225601")),
    ],
    ids=["another method", "another message", "another try"],
)
def test_a_receipt_vouches_for_no_other_request(path: str, request_digest: str, params: str) -> None:
    receipt = parse_receipt(RECEIPT)

    base = receipt.base(path, request_digest, params)

    assert not verifies(HUB, receipt.signature, base)


def test_the_protocol_page_prints_the_vector_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    bases = [f"```\n{EXAMPLE[part]['signature_base']}\n```" for part in ("request", "receipt")]
    entries = ["\n".join(f"{name}: {value}" for name, value in part) for part in (REQUEST, RECEIPT)]
    keys = [key[member] for key in (PARTNER, HUB) for member in ("seed_hex", "public_hex", "keyid")]

    missing = [text for text in (*bases, *entries, *keys) if text not in page]

    assert missing == []


# What is refused, by entry.

OTHER_ENTRIES = tuple(entry for entry in REQUEST if entry[0] != "signature")
REQUEST_REFUSALS: list[tuple[str, str, tuple[tuple[str, str | bytes], ...]]] = [
    ("no digest", "content-digest", REQUEST[1:]),
    ("no audience", "tongdui-audience", (REQUEST[0], *REQUEST[2:])),
    ("no input", "signature-input", (*REQUEST[:2], REQUEST[3])),
    ("no signature", "signature", OTHER_ENTRIES),
    ("name in capitals", "signature", (*OTHER_ENTRIES, ("Signature", REQUEST[3][1]))),
    ("twice, equal", "content-digest", (*REQUEST, REQUEST[0])),
    ("twice, different", "signature", (*REQUEST, ("signature", "td=:x:"))),
    ("binary", "signature", (*OTHER_ENTRIES, ("signature", REQUEST[3][1].encode()))),
    ("too long", "tongdui-audience", (REQUEST[0], ("tongdui-audience", "a" * 1025), *REQUEST[2:])),
    ("digest: other algorithm", "content-digest", changed(REQUEST, "content-digest", "sha-256", "sha-512")),
    ("digest: capitals", "content-digest", changed(REQUEST, "content-digest", "sha-256", "SHA-256")),
    ("digest: two of them", "content-digest", changed(REQUEST, "content-digest", "=:", f"=:,{DIGEST}")),
    ("digest: no padding", "content-digest", changed(REQUEST, "content-digest", "XA=:", "XA:")),
    ("digest: unused bits set", "content-digest", changed(REQUEST, "content-digest", "XA=:", "XB=:")),
    ("digest: base64url", "content-digest", changed(REQUEST, "content-digest", "5u3h", "5u-h")),
    ("digest: 31 octets", "content-digest", changed(REQUEST, "content-digest", "SFXA=", "SFU==")),
    ("digest: line break after", "content-digest", changed(REQUEST, "content-digest", "XA=:", "XA=:\n")),
    ("audience: empty", "tongdui-audience", changed(REQUEST, "tongdui-audience", AUDIENCE, "")),
    ("audience: capitals", "tongdui-audience", changed(REQUEST, "tongdui-audience", "hub", "Hub")),
    ("audience: space", "tongdui-audience", changed(REQUEST, "tongdui-audience", "hub", " hub")),
    ("audience: line break", "tongdui-audience", changed(REQUEST, "tongdui-audience", "/prod", "\nprod")),
    ("audience: not ASCII", "tongdui-audience", changed(REQUEST, "tongdui-audience", "hub", "h\u00fcb")),
    ("audience: 129", "tongdui-audience", changed(REQUEST, "tongdui-audience", AUDIENCE, "a" * 129)),
    ("input: other label", "signature-input", changed(REQUEST, "signature-input", "td=", "sig1=")),
    ("input: other tag", "signature-input", changed(REQUEST, "signature-input", "dui-v1", "dui-v2")),
    ("input: no method", "signature-input", changed(REQUEST, "signature-input", '"@method" ', "")),
    ("input: no path", "signature-input", changed(REQUEST, "signature-input", '"@path" ', "")),
    (
        "input: other order",
        "signature-input",
        changed(REQUEST, "signature-input", '"@method" "@path"', '"@path" "@method"'),
    ),
    ("input: more space", "signature-input", changed(REQUEST, "signature-input", ";expires", "; expires")),
    (
        "input: algorithm",
        "signature-input",
        changed(REQUEST, "signature-input", ";tag", ';alg="ed25519";tag'),
    ),
    ("input: nonce", "signature-input", changed(REQUEST, "signature-input", ";tag", ';nonce="1";tag')),
    ("input: no expiry", "signature-input", changed(REQUEST, "signature-input", f";expires={EXPIRES}", "")),
    ("input: tag not last", "signature-input", changed(REQUEST, "signature-input", '-v1"', '-v1";x=1')),
    ("input: second label", "signature-input", changed(REQUEST, "signature-input", '-v1"', '-v1",td2=()')),
    ("input: line break after", "signature-input", changed(REQUEST, "signature-input", '-v1"', '-v1"\n')),
    ("time: leading zero", "signature-input", changed(REQUEST, "signature-input", "=176", "=0176")),
    ("time: sign", "signature-input", changed(REQUEST, "signature-input", "=176", "=-176")),
    ("time: fraction", "signature-input", changed(REQUEST, "signature-input", "600;", "600.0;")),
    ("time: empty", "signature-input", changed(REQUEST, "signature-input", "1767225600", "")),
    ("time: 13 digits", "signature-input", changed(REQUEST, "signature-input", "1767225600", "1" * 13)),
    ("time: other digits", "signature-input", changed(REQUEST, "signature-input", "=1", "=\u0661")),
    ("key: no owner", "signature-input", changed(REQUEST, "signature-input", "cafe.", "")),
    ("key: empty owner", "signature-input", changed(REQUEST, "signature-input", "cafe.", ".")),
    ("key: owner in capitals", "signature-input", changed(REQUEST, "signature-input", "cafe", "Cafe")),
    ("key: owner with a dot", "signature-input", changed(REQUEST, "signature-input", "cafe", "ca.fe")),
    ("key: owner begins -", "signature-input", changed(REQUEST, "signature-input", "cafe", "-cafe")),
    ("key: owner of 33", "signature-input", changed(REQUEST, "signature-input", "cafe", "c" * 33)),
    ("key: short thumbprint", "signature-input", changed(REQUEST, "signature-input", "SYA", "SY")),
    ("key: unused bits set", "signature-input", changed(REQUEST, "signature-input", "SYA", "SYB")),
    ("key: not base64url", "signature-input", changed(REQUEST, "signature-input", "Pmj-", "Pmj+")),
    ("signature: other label", "signature", changed(REQUEST, "signature", "td=", "hub=")),
    ("signature: 63 octets", "signature", changed(REQUEST, "signature", "HH5mDg==", "HH5m")),
    ("signature: unused bits set", "signature", changed(REQUEST, "signature", "Dg==", "Dh==")),
    ("signature: no colon", "signature", changed(REQUEST, "signature", "td=:", "td=")),
    ("signature: second", "signature", changed(REQUEST, "signature", "==:", "==:,td2=:AA==:")),
]


@pytest.mark.parametrize(
    ("entry", "metadata"), [row[1:] for row in REQUEST_REFUSALS], ids=[row[0] for row in REQUEST_REFUSALS]
)
def test_a_request_outside_the_grammar_is_refused_naming_the_entry(
    entry: str, metadata: tuple[tuple[str, str | bytes], ...]
) -> None:
    with pytest.raises(SignatureMalformed) as refusal:
        parse_request(metadata)

    assert refusal.value.detail.split(":")[0] == entry


RECEIPT_REFUSALS: list[tuple[str, str, Entries]] = [
    ("no digest", "content-digest", RECEIPT[1:]),
    ("no input", "signature-input", (RECEIPT[0], RECEIPT[2])),
    ("no signature", "signature", RECEIPT[:2]),
    ("twice", "signature", (*RECEIPT, RECEIPT[2])),
    ("a request", "signature-input", REQUEST),
    ("digest", "content-digest", changed(RECEIPT, "content-digest", "=:", "=")),
    ("other label", "signature-input", changed(RECEIPT, "signature-input", "hub=", "td=")),
    ("other tag", "signature-input", changed(RECEIPT, "signature-input", "receipt-v1", "receipt-v2")),
    ("a partner's key", "signature-input", changed(RECEIPT, "signature-input", '"hub.', '"cafe.')),
    (
        "request not bound",
        "signature-input",
        changed(RECEIPT, "signature-input", ' "content-digest";req', ""),
    ),
    ("method not bound", "signature-input", changed(RECEIPT, "signature-input", ' "@path";req', "")),
    ("other request label", "signature-input", changed(RECEIPT, "signature-input", '"td"', '"x"')),
    ("expiry", "signature-input", changed(RECEIPT, "signature-input", ";keyid", ";expires=9;keyid")),
    ("leading zero", "signature-input", changed(RECEIPT, "signature-input", "=176", "=0176")),
    ("signature label", "signature", changed(RECEIPT, "signature", "hub=", "td=")),
    ("signature padding", "signature", changed(RECEIPT, "signature", "CA==", "CB==")),
]


@pytest.mark.parametrize(
    ("entry", "metadata"), [row[1:] for row in RECEIPT_REFUSALS], ids=[row[0] for row in RECEIPT_REFUSALS]
)
def test_a_receipt_outside_the_grammar_is_refused_naming_the_entry(entry: str, metadata: Entries) -> None:
    with pytest.raises(SignatureMalformed) as refusal:
        parse_receipt(metadata)

    assert refusal.value.detail.split(":")[0] == entry


@pytest.mark.parametrize(
    ("length", "rule"), [(1024, "not of the required form"), (1025, "longer than 1024 bytes")]
)
def test_an_overlong_entry_is_refused_before_its_form_is_looked_at(length: int, rule: str) -> None:
    metadata = changed(REQUEST, "tongdui-audience", AUDIENCE, "a" * length)

    with pytest.raises(SignatureMalformed) as refusal:
        parse_request(metadata)

    assert refusal.value.detail == f"tongdui-audience: {rule}"


def test_a_refusal_repeats_nothing_the_sender_wrote() -> None:
    metadata = changed(REQUEST, "tongdui-audience", AUDIENCE, "<script>")

    with pytest.raises(SignatureMalformed) as refusal:
        parse_request(metadata)

    assert str(refusal.value) == refusal.value.detail == "tongdui-audience: not of the required form"


SETTLEMENT_KEY_ID = key_id("operator", bytes.fromhex(HUB["public_hex"]))


def settlement_receipt() -> Entries:
    """The example's answer under a receipt of settlement's, with the example's hub key as if it were settlement's."""
    digest = dict(RECEIPT)["content-digest"]
    params = receipt_params(CREATED + 1, SETTLEMENT_KEY_ID, SETTLEMENT_RECEIPT)
    base = receipt_base(digest, PATH, DIGEST, PARAMS, params, SETTLEMENT_RECEIPT)
    return receipt_entries(digest, params, sign(HUB, base), SETTLEMENT_RECEIPT)


def test_settlements_receipt_is_the_one_in_the_document() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()

    for name, value in settlement_receipt():
        assert f"\n{name}: {value}\n" in page


def test_settlements_receipt_is_read_and_verifies_in_its_own_form() -> None:
    receipt = parse_receipt(settlement_receipt(), SETTLEMENT_RECEIPT)

    assert receipt.key_id == SETTLEMENT_KEY_ID
    assert verifies(HUB, receipt.signature, receipt.base(PATH, DIGEST, PARAMS))


def test_neither_signers_receipt_passes_for_the_others() -> None:
    relabelled = tuple((name, value.replace("hub=", "settlement=", 1)) for name, value in RECEIPT)

    for metadata, form in (
        (settlement_receipt(), HUB_RECEIPT),
        (RECEIPT, SETTLEMENT_RECEIPT),
        (relabelled, SETTLEMENT_RECEIPT),
    ):
        with pytest.raises(SignatureMalformed):
            parse_receipt(metadata, form)


def test_the_hubs_key_signs_no_receipt_of_settlements_nor_another_key_one_of_the_hubs() -> None:
    for name, form in ((HUB["keyid"], SETTLEMENT_RECEIPT), (SETTLEMENT_KEY_ID, HUB_RECEIPT)):
        with pytest.raises(SignatureMalformed):
            receipt_params(CREATED, name, form)


@pytest.mark.parametrize("last", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
def test_base64_is_accepted_exactly_when_it_re_encodes_to_itself(last: str) -> None:
    digest, signature = "A" * 42 + last + "=", "A" * 85 + last + "=="
    with_digest = changed(REQUEST, "content-digest", DIGEST, f"sha-256=:{digest}:")
    with_signature = (*OTHER_ENTRIES, ("signature", f"td=:{signature}:"))

    accepted = [parses(with_digest), parses(with_signature)]

    canonical = [base64.b64encode(base64.b64decode(text)).decode() == text for text in (digest, signature)]
    assert accepted == canonical


def parses(metadata: Entries) -> bool:
    try:
        parse_request(metadata)
    except SignatureMalformed:
        return False
    return True


# Nothing outside the grammar can be built either.


@pytest.mark.parametrize(
    ("path", "digest", "audience", "params", "part"),
    [
        ('/a.B/C\n"x": y', DIGEST, AUDIENCE, PARAMS, "path"),
        ("a.B/C", DIGEST, AUDIENCE, PARAMS, "path"),
        ("/a.B/C/D", DIGEST, AUDIENCE, PARAMS, "path"),
        ("/a.B/C?d", DIGEST, AUDIENCE, PARAMS, "path"),
        (PATH, "sha-256=::", AUDIENCE, PARAMS, "content-digest"),
        (PATH, DIGEST, "hub\nx", PARAMS, "tongdui-audience"),
        (PATH, DIGEST, AUDIENCE, RECEIPT_PARAMS, "signature-input"),
    ],
)
def test_no_request_base_is_made_of_parts_outside_the_grammar(
    path: str, digest: str, audience: str, params: str, part: str
) -> None:
    with pytest.raises(SignatureMalformed) as refusal:
        request_base(path, digest, audience, params)

    assert refusal.value.detail.split(":")[0] == part


@pytest.mark.parametrize(
    ("created", "expires", "key", "part"),
    [
        (-1, EXPIRES, PARTNER["keyid"], "created"),
        (CREATED, 10**12, PARTNER["keyid"], "expires"),
        (CREATED, EXPIRES, "cafe", "keyid"),
        (CREATED, EXPIRES, PARTNER["keyid"] + '";x="', "keyid"),
    ],
)
def test_no_request_params_are_made_of_parts_outside_the_grammar(
    created: int, expires: int, key: str, part: str
) -> None:
    with pytest.raises(SignatureMalformed) as refusal:
        request_params(created, expires, key)

    assert refusal.value.detail.split(":")[0] == part


def test_no_receipt_is_made_with_a_partners_key() -> None:
    partner_key = PARTNER["keyid"]

    with pytest.raises(SignatureMalformed) as refusal:
        receipt_params(CREATED, partner_key)

    assert refusal.value.detail.split(":")[0] == "keyid"


@pytest.mark.parametrize("octets", [0, 63, 65])
def test_no_entries_are_made_with_a_signature_of_another_length(octets: int) -> None:
    signature = bytes(octets)

    with pytest.raises(SignatureMalformed, match="signature: "):
        request_entries(DIGEST, AUDIENCE, PARAMS, signature)
    with pytest.raises(SignatureMalformed, match="signature: "):
        receipt_entries(DIGEST, RECEIPT_PARAMS, signature)


# Keys and their registration.


def test_splitting_a_key_id_undoes_making_it() -> None:
    public = bytes.fromhex(PARTNER["public_hex"])

    parts = split_key_id(key_id("a-1", public))

    assert parts == ("a-1", thumbprint(public))


@pytest.mark.parametrize("owner", ["", "Cafe", "-a", "a.b", "a_b", "a" * 33, "a\n", "caf\u00e9"])
def test_an_owner_outside_the_grammar_gets_no_key_id(owner: str) -> None:
    public = bytes.fromhex(PARTNER["public_hex"])

    with pytest.raises(SignatureMalformed, match="owner"):
        key_id(owner, public)


@pytest.mark.parametrize("octets", [0, 31, 33])
def test_a_public_key_of_another_length_has_no_thumbprint(octets: int) -> None:
    public = bytes(octets)

    with pytest.raises(SignatureMalformed, match="public_key"):
        thumbprint(public)


def test_the_registration_text_is_the_published_vector() -> None:
    public, challenge = bytes.fromhex(PARTNER["public_hex"]), bytes(range(32))

    text = registration_text(AUDIENCE, "operator", "chen.wei", public, challenge)

    assert text.decode("ascii").split("\n") == [
        "tongdui-key-registration-v1",
        "hub.example/prod",
        "operator",
        "chen.wei",
        "9ZbdOiC6msMINCI_hl_9pCXmHJdzsmqCQyYQo1J3tiA",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    ]
    assert base64.b64encode(sign(PARTNER, text)).decode() == (
        "HYmqB6co6inlGq580ftz82cczGRFUKidtEmy7HTbhf3aihHaphaMvasY5ayhsqd9kceezJ6OeG25horL3L0oBQ=="
    )


def test_a_key_without_a_holder_has_an_empty_line_in_its_place() -> None:
    public = bytes.fromhex(PARTNER["public_hex"])

    text = registration_text(AUDIENCE, "cafe", "", public, bytes(32))

    assert text.split(b"\n")[2:4] == [b"cafe", b""]


@pytest.mark.parametrize(
    ("audience", "owner", "holder", "challenge", "part"),
    [
        ("Hub", "cafe", "till-1", bytes(32), "tongdui-audience"),
        (AUDIENCE, "cafe\nx", "till-1", bytes(32), "owner"),
        (AUDIENCE, "cafe", " till", bytes(32), "holder"),
        (AUDIENCE, "cafe", "a\nb", bytes(32), "holder"),
        (AUDIENCE, "cafe", "a" * 65, bytes(32), "holder"),
        (AUDIENCE, "cafe", "till-1", bytes(31), "challenge"),
        (AUDIENCE, "cafe", "till-1", bytes(33), "challenge"),
    ],
)
def test_no_registration_text_is_made_of_parts_outside_the_grammar(
    audience: str, owner: str, holder: str, challenge: bytes, part: str
) -> None:
    public = bytes.fromhex(PARTNER["public_hex"])

    with pytest.raises(SignatureMalformed) as refusal:
        registration_text(audience, owner, holder, public, challenge)

    assert refusal.value.detail.split(":")[0] == part


# Times.


@pytest.mark.parametrize(
    ("created", "expires", "stale"),
    [
        (1000, 1120, False),
        (1060, 1180, False),  # the last second of allowed skew
        (1061, 1181, True),
        (880, 1000, False),  # the last second of its life
        (879, 999, True),
        (1000, 1300, False),  # the longest life
        (1000, 1301, True),
        (1000, 1000, False),  # a life of one instant
        (1010, 1009, True),  # expires before it was created
    ],
)
def test_a_request_is_in_force_from_a_minute_ahead_to_its_expiry(
    created: int, expires: int, stale: bool
) -> None:
    params = request_params(created, expires, PARTNER["keyid"])
    request = parse_request(request_entries(DIGEST, AUDIENCE, params, bytes(64)))

    refused = False
    try:
        request.check_times(1000)
    except SignatureStale:
        refused = True

    assert refused == stale


# Any small change.


@st.composite
def edited(draw: st.DrawFn, entries: Entries) -> Entries:
    """`entries` with one character of one value replaced, put in, left out, or swapped with the next."""
    index = draw(st.integers(0, len(entries) - 1))
    name, value = entries[index]
    at = draw(st.integers(0, len(value) - 1))
    # Half of the new characters come from the values' own alphabet: those are the edits that parse.
    character = draw(st.characters() | st.sampled_from(sorted(set(value + "=:+/-_.,; \n\t\x000"))))
    variants = {
        "replace": value[:at] + character + value[at + 1 :],
        "insert": value[:at] + character + value[at:],
        "delete": value[:at] + value[at + 1 :],
        "swap": value[:at] + value[at : at + 2][::-1] + value[at + 2 :],
    }
    new = variants[draw(st.sampled_from(sorted(variants)))]
    assume(new != value)
    return (*entries[:index], (name, new), *entries[index + 1 :])


@tries(1500)
@given(edited(REQUEST))
def test_no_one_character_edit_of_a_request_leaves_it_verifiable(metadata: Entries) -> None:
    try:
        request = parse_request(metadata)
    except SignatureMalformed:
        return

    proven = verifies(PARTNER, request.signature, request.base(PATH))

    assert not proven


@tries(1500)
@given(edited(RECEIPT))
def test_no_one_character_edit_of_a_receipt_leaves_it_verifiable(metadata: Entries) -> None:
    try:
        receipt = parse_receipt(metadata)
    except SignatureMalformed:
        return

    proven = verifies(HUB, receipt.signature, receipt.base(PATH, DIGEST, PARAMS))

    assert not proven
