"""Who brings one-time codes to members, and the file of the contact key."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

from exchange.keyfile import UnsafeKey, create_contact_key, load_contact_key
from exchange.registrar.envelope import Contact
from exchange.registrar.senders import CodeNotSent, ProgramSender, TerminalSender
from exchange.settings import BadSetting, read_settings

PHONE = Contact("phone", "+8613800138000")


def program(directory: Path, body: str) -> Path:
    path = directory / "send"
    path.write_text(f"#!{sys.executable}\nimport sys, time\n{body}\n")
    path.chmod(0o700)
    return path


def test_a_program_is_told_on_its_standard_input_alone(tmp_path: Path) -> None:
    told = tmp_path / "told"
    sender = ProgramSender(
        program(tmp_path, f"open({str(told)!r}, 'w').write(repr(sys.argv[1:]) + sys.stdin.read())")
    )

    sender.send(PHONE, "123456")

    arguments, _, text = told.read_text().partition("{")
    assert arguments == "[]"
    assert json.loads("{" + text) == {"kind": "phone", "contact": PHONE.value, "code": "123456"}


@pytest.mark.parametrize(
    ("body", "seconds", "said"),
    [
        ("print(sys.stdin.read()); sys.exit(3)", 60.0, "ended with 3"),
        ("time.sleep(60)", 0.5, "took more than 0.5 s"),
    ],
)
def test_a_program_that_fails_says_nothing_of_code_or_contact(
    tmp_path: Path, body: str, seconds: float, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    sender = ProgramSender(program(tmp_path, body), seconds=seconds)

    with pytest.raises(CodeNotSent, match=said) as failed:
        sender.send(PHONE, "123456")

    assert failed.value.__cause__ is None
    assert "123456" not in str(failed.value)
    assert capfd.readouterr() == ("", "")


def test_a_program_that_is_not_there_is_a_code_not_sent(tmp_path: Path) -> None:
    with pytest.raises(CodeNotSent, match="can not be run"):
        ProgramSender(tmp_path / "nowhere").send(PHONE, "123456")


def test_the_terminal_shows_the_code_and_the_end_of_the_contact(capsys: pytest.CaptureFixture[str]) -> None:
    TerminalSender().send(PHONE, "123456")

    assert capsys.readouterr().err == "one-time code for phone ...00: 123456\n"


def test_a_contact_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "contact-key"

    made = create_contact_key(path)

    assert load_contact_key(path) == made
    assert len(made) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_contact_key(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"no base64!", base64.b64encode(b"too short")])
def test_what_is_no_contact_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "contact-key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(UnsafeKey, match="no contact key"):
        load_contact_key(path)


def test_a_contact_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "contact-key"
    create_contact_key(path)
    path.chmod(0o640)

    with pytest.raises(UnsafeKey, match="chmod 600"):
        load_contact_key(path)


def test_the_settings_say_where_the_key_is_and_who_sends_codes() -> None:
    plain = read_settings({"TONGDUI_DATA_DIR": "data"})
    named = read_settings({"TONGDUI_CONTACT_KEY": "/keys/contacts", "TONGDUI_CODE_SENDER": "/usr/bin/send"})
    shown = read_settings({"TONGDUI_CODE_SENDER": "print"})

    assert (plain.contact_key, plain.code_sender, plain.code_program) == (Path("data/contact-key"), "", None)
    assert (named.contact_key, named.code_program) == (Path("/keys/contacts"), Path("/usr/bin/send"))
    assert (shown.code_sender, shown.code_program) == ("print", None)
    with pytest.raises(BadSetting, match="TONGDUI_CODE_SENDER"):
        read_settings({"TONGDUI_CODE_SENDER": "send"})
