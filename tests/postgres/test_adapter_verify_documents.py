"""`tongdui-adapter verify` on statements and certificates of settlement: what holds, and every forgery is named."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from google.type.date_pb2 import Date

from merchant_adapter import HubKeys, Key, Receipt, SettlementKeys, Unreadable
from merchant_adapter.__main__ import main
from merchant_adapter.evidence import Checked, CheckedReceipt, Trusted, check_files
from merchant_adapter.evidence_certificate import CHECKS, CheckedCertificate
from merchant_adapter.evidence_wrong import EvidenceWrong
from merchant_adapter.signing import RequestSigner
from settlement.core.certificate import canonical_json, document_bytes, signed_text, split_document
from settlement.rpc.keys import PrivateKey, public_key_set
from settlement.rpc.signed_answers import ReceiptSigner
from settlement.store.engine import open_engine
from tests.conftest import Databases
from tests.postgres.settlement_served import AUDITOR, SETTLEMENT_KEY, register_keys, serving
from tests.settled_days import SIGNER, settled_days
from tests.settlement_hub import AUDIENCE, DAY_1, DAY_2, HUB_KEY, HUB_KEY_ID, prepare
from tongdui.settlement.v1.settlement_service_pb2 import (
    GetStatementRequest,
    GetStatementResponse,
)
from tongdui.signing import parse_request

KEY_A, KEY_B = Key("a", b"a" * 32), Key("b", b"b" * 32)
STATEMENT = "/tongdui.settlement.v1.SettlementService/GetStatement"
HUB_KEYS = HubKeys({HUB_KEY_ID: bytes(HUB_KEY.verify_key)})
SETTLEMENT_KEYS = SettlementKeys({key.key_id: key.public_key for key in (SETTLEMENT_KEY, SIGNER)})
TRUSTED = Trusted(HUB_KEYS, SETTLEMENT_KEYS, {KEY_A.key_id: KEY_A.public_key, KEY_B.key_id: KEY_B.public_key})
Content = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Documents:
    """Two settled days, as partner b and an auditor got them from settlement with the command line."""

    folder: Path

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def read(self, *names: str) -> list[tuple[str, bytes]]:
        return [(name, (self.folder / name).read_bytes()) for name in names]

    def statement(self, day: date = DAY_1) -> GetStatementResponse:
        receipt = Receipt.from_json(self.read(f"statement-{day}.json")[0][1])
        return GetStatementResponse.FromString(receipt.answer)

    @property
    def keys(self) -> list[str]:
        return ["--settlement-keys", self.path("settlement-keys.json"), "--hub-keys", self.path("hub.jwks")]


ALL = tuple(f"{kind}-{day}.json" for day in (DAY_1, DAY_2) for kind in ("statement", "certificate"))


@pytest.fixture(scope="module")
def documents(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Documents:
    folder = tmp_path_factory.mktemp("documents")
    sets = [public_key_set(key)["keys"][0] for key in (SETTLEMENT_KEY, SIGNER)]
    (folder / "settlement-keys.json").write_text(json.dumps({"keys": sets}))
    (folder / "hub.jwks").write_text(HUB_KEYS.to_json())
    b, auditor = KEY_B.save(folder / "keys"), Key("operator", b"u" * 32).save(folder / "keys")
    address = f"unix:{folder / 's.sock'}"
    where = ["--settlement", address, "--audience", AUDIENCE]
    where += ["--settlement-keys", str(folder / "settlement-keys.json")]
    with databases.fresh() as url, pytest.MonkeyPatch.context() as monkeypatch:
        prepare(url)
        with settled_days(url, folder, monkeypatch, through=2) as days:
            register_keys(days.ledger)
            engine = open_engine(url)
            with serving(engine, address):
                for day in (str(DAY_1), str(DAY_2)):
                    out = ["--date", day, "--out", str(folder / f"statement-{day}.json")]
                    assert main(["statement", *where, "--key", str(b), *out]) == 0
                    out = ["--date", day, "--out", str(folder / f"certificate-{day}.json")]
                    assert main(["certificate", *where, "--key", str(auditor), *out]) == 0
                    assert main(["certificate", *where, "--key", str(b), *out]) == 4
            engine.dispose()
    return Documents(folder)


def answered(path: str, request: bytes, answer: bytes, by: Key = KEY_B) -> Receipt:
    """What settlement gives a caller, whatever it says: signed by both, as a settlement that lies would."""
    entries = RequestSigner(by, AUDIENCE).sign(path, request)
    signed = ReceiptSigner(SETTLEMENT_KEY).receipt(path, parse_request(entries), answer)
    return Receipt(path, request, entries, answer, signed)


def of_day(day: date) -> Date:
    return Date(year=day.year, month=day.month, day=day.day)


def stated(answer: GetStatementResponse, day: date = DAY_1, by: Key = KEY_B, of: str = "") -> bytes:
    request = GetStatementRequest(window_date=of_day(day), partner_id=of)
    receipt = answered(STATEMENT, request.SerializeToString(), answer.SerializeToString(), by)
    return receipt.to_json().encode()


def certified(documents: Documents, change: Callable[[Content], object], key: PrivateKey = SIGNER) -> bytes:
    """The first day's certificate with other content, signed by settlement all the same."""
    document = documents.read(f"certificate-{DAY_1}.json")[0][1]
    content = json.loads(split_document(document)[0])
    change(content)
    raw = canonical_json(content)
    return document_bytes(raw, key.key_id, key.public_key_text, key.sign(signed_text(raw)))


def wrong(files: Sequence[tuple[str, bytes]], trusted: Trusted = TRUSTED) -> tuple[str, str]:
    """File and field of the first thing that is wrong."""
    with pytest.raises(EvidenceWrong) as raised:
        check_files(files, trusted)
    return raised.value.file, raised.value.field


def test_statements_and_certificates_hold_by_themselves_and_together(
    documents: Documents, capsys: pytest.CaptureFixture[str]
) -> None:
    key = documents.path(f"keys/{KEY_B.key_id}.jwk")
    capsys.readouterr()

    code = main(["verify", *map(documents.path, ALL), *documents.keys, "--key", key, "--json"])

    found = json.loads(capsys.readouterr().out)
    of_1, certificate_1, of_2, certificate_2 = found["files"]
    assert (code, found["verified"]) == (0, True)
    assert [one["kind"] for one in found["files"]] == ["statement", "certificate"] * 2
    assert of_1["request_signature"] == "verified"
    assert of_2["certificate"] == f"agrees with {certificate_2['file']}"
    assert (certificate_1["previous"], certificate_1["hub_receipt"]) == ("none, the first day", "verified")
    assert certificate_2["previous"] == certificate_1["file"]
    assert certificate_1["sha256"] == documents.statement().certificate_sha256.hex()


def test_the_screen_says_of_each_file_what_it_is_and_what_it_was_held_against(
    documents: Documents, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # a long path leaves the other columns a word a line
    capsys.readouterr()

    several = main(["verify", *map(documents.path, ALL[:3]), *documents.keys[:2]])
    shown = " ".join(capsys.readouterr().out.split())
    one = main(["verify", documents.path(ALL[1]), *documents.keys[:2]])
    alone = capsys.readouterr().out

    assert (several, one) == (0, 0)
    assert "statement of b" in shown
    assert "hub's receipt not checked" in shown
    assert "nets_zero" in alone


def test_a_statement_of_another_day_is_not_taken_for_certified(documents: Documents) -> None:
    names = (f"statement-{DAY_2}.json", f"certificate-{DAY_1}.json")

    statement, _ = check_files(documents.read(*names), TRUSTED)

    assert isinstance(statement, CheckedReceipt)
    assert statement.statement is not None
    assert statement.statement.statement.certificate_sha256 != ""
    relabelled = documents.statement(DAY_2)
    relabelled.window_date.CopyFrom(of_day(DAY_1))
    assert wrong([("s.json", stated(relabelled)), *documents.read(names[1])]) == (
        "s.json",
        "answer.certificate_sha256",
    )
    relabelled.certificate_sha256 = b""
    assert wrong([("s.json", stated(relabelled)), *documents.read(names[1])])[1] == "answer.net_minor"


def test_an_answer_that_is_not_what_was_asked_for_is_named(documents: Documents) -> None:
    of_b = documents.statement()

    assert wrong([("s.json", stated(of_b, DAY_2))]) == ("s.json", "answer.window_date")
    assert wrong([("s.json", stated(of_b, by=KEY_A))]) == ("s.json", "answer.partner_id")
    assert wrong([("s.json", stated(of_b, by=KEY_A, of="b"))]) == ("s.json", "answer.partner_id")
    assert wrong([("s.json", stated(of_b, of="a"))]) == ("s.json", "answer.partner_id")


LIED: dict[str, tuple[Callable[[GetStatementResponse], None], str]] = {
    "net": (lambda it: setattr(it, "net_minor", it.net_minor + 1), "net_minor"),
    "opening": (lambda it: setattr(it, "opening_minor", it.opening_minor + 1), "closing_minor"),
    "exact": (lambda it: setattr(it, "exact_micros", it.exact_micros + 1), "exact_micros"),
    "line": (lambda it: setattr(it.lines[0], "amount_minor", 1), "net_minor"),
    "line count": (lambda it: setattr(it.lines[0], "line_count", 9), "lines"),
    "component": (lambda it: setattr(it.lines[0], "component", "SPREAD"), "lines"),
    "certificate": (lambda it: setattr(it, "certificate_sha256", bytes(32)), "certificate_sha256"),
}


@pytest.mark.parametrize(("change", "field"), LIED.values(), ids=LIED)
def test_a_figure_of_a_statement_that_is_signed_and_wrong_is_named(
    documents: Documents, change: Callable[[GetStatementResponse], None], field: str
) -> None:
    lied = documents.statement()
    change(lied)

    files = [("s.json", stated(lied)), *documents.read(f"certificate-{DAY_1}.json")]

    assert wrong(files) == ("s.json", f"answer.{field}")


def test_a_statement_has_to_open_where_the_day_before_closed(documents: Documents) -> None:
    lied = documents.statement(DAY_2)
    lied.opening_minor += 1
    lied.closing_minor += 1

    files = [*documents.read(f"statement-{DAY_1}.json"), ("s.json", stated(lied, DAY_2))]

    assert wrong(files) == ("s.json", "answer.opening_minor")


def test_a_partner_that_never_dealt_agrees_with_a_certificate_that_does_not_know_it(
    documents: Documents,
) -> None:
    empty = GetStatementResponse(window_date=of_day(DAY_1), partner_id="zoo")
    empty.certificate_sha256 = documents.statement().certificate_sha256
    certificate, zoo = documents.read(f"certificate-{DAY_1}.json"), Key("zoo", bytes(32))

    held = check_files([("s.json", stated(empty, by=zoo)), *certificate], TRUSTED)
    empty.closing_minor = empty.opening_minor = 5

    assert len(held) == 2
    assert wrong([("s.json", stated(empty, by=zoo)), *certificate]) == ("s.json", "answer.closing_minor")


def first_statement(content: Content) -> Content:
    found: Content = content["statements"][0]
    return found


FORGED: dict[str, Callable[[Content], object]] = {
    "statements.net_minor": lambda it: first_statement(it).update(net_minor=1),
    "statements.closing_minor": lambda it: first_statement(it).update(closing_minor=1),
    "statements.exact_micros": lambda it: first_statement(it).update(exact_micros=1),
    "statements[a]": lambda it: it["statements"].append(it["statements"][0]),
    "payable_minor": lambda it: it.update(payable_minor=1),
    "issuers[a]": lambda it: it["issuers"][0].update(burned=1),
    "checks[chain_range]": lambda it: it["checks"][3].update(holds=False),
    "window.last_sequence": lambda it: it["window"].update(last_sequence=99),
    "window.last_hash": lambda it: it["window"].update(last_hash="00" * 32),
    "window.close_time": lambda it: it["window"].update(close_time="2026-01-03T00:00:00.000000Z"),
    "hub_receipt": lambda it: it["ledger"].update(audience="hub.example/other"),
    "hub_receipt.request": lambda it: it["hub_receipt"].update(request="eA=="),
    "hub_receipt.receipt": lambda it: it["hub_receipt"].update(response="eA=="),
}
"""What a settlement that lies might sign, by the field that is named."""


@pytest.mark.parametrize("field", FORGED)
def test_a_certificate_that_is_signed_and_wrong_is_named(documents: Documents, field: str) -> None:
    forged = certified(documents, FORGED[field])

    assert wrong([("c.json", forged)]) == ("c.json", f"certificate.{field}")


WITHOUT: dict[str, tuple[Callable[[list[Content]], object], str, list[str]]] = {
    "none": (lambda it: it.clear(), "certificate.checks", list(CHECKS)),
    "two left out": (
        lambda it: (it.pop(6), it.pop(1)),
        "certificate.checks",
        ["windows_in_order", "nets_zero"],
    ),
    "one twice": (lambda it: it.append(it[4]), "certificate.checks[recomputed]", ["twice"]),
    "one in another's place": (
        lambda it: it.__setitem__(8, it[7]),
        "certificate.checks[bilateral_opposite]",
        [],
    ),
}


@pytest.mark.parametrize(("change", "field", "named"), WITHOUT.values(), ids=WITHOUT)
def test_a_certificate_that_was_not_checked_for_everything_is_not_accepted(
    documents: Documents, change: Callable[[list[Content]], object], field: str, named: list[str]
) -> None:
    forged = certified(documents, lambda it: change(it["checks"]))

    with pytest.raises(EvidenceWrong) as raised:
        check_files([("c.json", forged)], TRUSTED)

    assert (raised.value.file, raised.value.field) == ("c.json", field)
    assert all(name in raised.value.what for name in named)
    assert not (set(CHECKS) - set(named)) & set(raised.value.what.replace(",", "").split())


def test_a_check_that_settlement_makes_besides_is_no_fault(documents: Documents) -> None:
    extra = {"name": "more", "holds": True, "claim": "more is right", "figures": {}}

    (checked,) = check_files(
        [("c.json", certified(documents, lambda it: it["checks"].append(extra)))], TRUSTED
    )

    assert isinstance(checked, CheckedCertificate)
    assert checked.check_names == (*CHECKS, "more")


def test_the_checks_that_are_asked_for_are_those_that_settlement_makes_and_its_reference_lists(
    documents: Documents,
) -> None:
    content = split_document(documents.read(f"certificate-{DAY_1}.json")[0][1])[0]
    reference = Path(__file__).parents[2].joinpath("docs/settlement.md").read_text(encoding="utf-8")
    table = reference.partition("| check | holds when |")[2].partition("\n\n")[0]
    named = [
        name for row in table.splitlines() for name in re.findall("`([a-z_]+)`", row[1:].partition("|")[0])
    ]

    assert [check["name"] for check in json.loads(content)["checks"]] == list(CHECKS)
    assert sorted(named) == sorted(CHECKS)


def test_a_certificate_names_the_statement_it_states_otherwise(documents: Documents) -> None:
    def shift(content: Content) -> None:
        of_a, of_b = content["statements"][:2]
        of_a["net_minor"], of_b["net_minor"] = of_a["net_minor"] - 1, of_b["net_minor"] + 1
        content["payable_minor"] += 1

    forged = certified(documents, shift)
    restated = documents.statement()
    restated.certificate_sha256 = hashlib.sha256(forged).digest()

    assert wrong([("s.json", stated(restated)), ("c.json", forged)]) == ("s.json", "answer.net_minor")


def test_certificates_of_two_days_have_to_be_chained(documents: Documents) -> None:
    other = certified(documents, lambda it: it.update(flows_sha256="0" * 64))
    second = documents.read(f"certificate-{DAY_2}.json")

    assert wrong([("c.json", other), *second]) == (
        second[0][0],
        "certificate.previous_certificate_sha256",
    )
    assert len(check_files([*second, *documents.read(f"certificate-{DAY_1}.json")], TRUSTED)) == 2


def test_what_a_key_that_is_not_settlements_signed_is_not_trusted(documents: Documents) -> None:
    stranger = PrivateKey("operator", b"x" * 32)
    own = certified(documents, dict.copy, stranger)
    swapped = own.replace(stranger.key_id.encode(), SIGNER.key_id.encode())
    receipt = documents.read(f"statement-{DAY_1}.json")

    assert wrong([("c.json", own)]) == ("c.json", "signature.key_id")
    assert wrong([("c.json", swapped)]) == ("c.json", "signature.public_key")
    assert wrong(receipt, Trusted(settlement=SettlementKeys({SIGNER.key_id: SIGNER.public_key}))) == (
        receipt[0][0],
        "receipt",
    )


def test_keys_that_are_needed_and_not_given_are_asked_for(
    documents: Documents, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ALL[:2]:
        capsys.readouterr()

        assert main(["verify", documents.path(name)]) == 2

        said = " ".join(capsys.readouterr().err.split())
        assert name in said.replace(" ", "")
        assert "--settlement-keys" in said


def found_or_unreadable(name: str, content: bytes) -> str:
    try:
        checked: list[Checked] = check_files([(name, content)], TRUSTED)
    except EvidenceWrong as fault:
        return fault.file
    except Unreadable as error:
        return str(error).partition(":")[0]
    return f"nothing found in {checked}"


@pytest.mark.parametrize(("name", "step"), [(ALL[0], 1), (ALL[1], 4)])
def test_one_flipped_byte_anywhere_in_a_file_is_found(documents: Documents, name: str, step: int) -> None:
    ((_, whole),) = documents.read(name)
    assert len(whole) > 1_000
    for at in range(0, len(whole), step):
        damaged = whole[:at] + bytes([whole[at] ^ (1 << (at % 7))]) + whole[at + 1 :]

        assert found_or_unreadable(name, damaged) == name, at


def test_a_letter_that_is_none_of_base64s_is_found_wherever_bytes_stand(documents: Documents) -> None:
    document = documents.read(f"certificate-{DAY_1}.json")[0][1]
    content, signature = json.loads(document)["certificate"], json.loads(document)["signature"]
    signature["signature"] = "\u00e9"

    signed = canonical_json({"certificate": content, "signature": signature})
    forged = certified(documents, lambda it: it["hub_receipt"].update(response="\u00e9"))

    assert wrong([("c.json", signed)]) == ("c.json", "signature.signature")
    assert wrong([("c.json", forged)]) == ("c.json", "certificate.hub_receipt")


def test_a_file_that_ends_too_early_or_late_is_found(documents: Documents) -> None:
    for name, content in documents.read(*ALL[:2]):
        for damaged in (content[:-2], content[: len(content) // 2], content + b"}", b"", b"[]", b"{}", b"1"):
            assert found_or_unreadable(name, damaged) == name


def test_the_auditors_key_may_ask_for_any_partner(documents: Documents) -> None:
    by_auditor = stated(documents.statement(), by=Key("operator", AUDITOR_SEED), of="b")

    (checked,) = check_files([("s.json", by_auditor)], TRUSTED)

    assert isinstance(checked, CheckedReceipt)
    assert not checked.is_request_verified


AUDITOR_SEED = b"u" * 32
assert Key("operator", AUDITOR_SEED).key_id == AUDITOR.key_id
