"""A member's contact through the life of a real hub, until it is nowhere any more."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.message import Message

from examples.coalition import Site, timestamp
from exchange.core.ids import member_number
from exchange.store.embedded import EmbeddedPostgres
from merchant_adapter import Key, new_request_id
from tests.conftest import Databases
from tests.live_hub import EARN, MEMBERS, Coalition, found_coalition, running
from tests.postgres.test_chain import Chain
from tongdui.exchange.v1 import accounts_service_pb2, commands_pb2
from tongdui.exchange.v1 import members_service_pb2 as members
from tongdui.exchange.v1 import points_service_pb2 as points

PHONE, DIGITS = "+86 139-9876-5432", "13998765432"
EMAIL = "Zhang.San@example.com"
ACCOUNTS = "/tongdui.exchange.v1.AccountsService/"
WALLET = "/tongdui.exchange.v1.PointsService/GetWallet"

SENDER = """#!{python}
import sys
with open({sent!r}, "a") as sent:
    sent.write(sys.stdin.read() + "\\n")
"""


@pytest.fixture
def mailbox(tmp_path: Path) -> Path:
    """What the sender's program was told, a line a code."""
    return tmp_path / "sent"


@pytest.fixture
def coalition(
    databases: Databases, initialised: tuple[str, Path, list[Key]], tmp_path: Path, mailbox: Path
) -> Iterator[Coalition]:
    template, files, people = initialised
    program = tmp_path / "send"
    program.write_text(SENDER.format(python=sys.executable, sent=str(mailbox)))
    program.chmod(0o700)
    shutil.copytree(files, tmp_path / "hub")
    with databases.fresh(template) as url:
        site = Site(tmp_path / "hub", environment={"DATABASE_URL": url, "TONGDUI_CODE_SENDER": str(program)})
        with running(site, people, url) as made:
            found_coalition(made)
            yield made


def prove(coalition: Coalition, code: str, mailbox: Path, contact: members.Contact) -> members.ContactProof:
    request = members.StartContactProofRequest(request_id=new_request_id(), contact=contact)
    started = coalition.wire.accepted(
        coalition.keys[code], MEMBERS + "StartContactProof", request, members.StartContactProofResponse
    )
    told = json.loads(mailbox.read_text().splitlines()[-1])
    return members.ContactProof(proof_id=started.proof_id, code=told["code"])


def enroll(coalition: Coalition, code: str, customer_id: str, proof: members.ContactProof) -> str:
    request = members.EnrollMemberRequest(request_id=new_request_id(), customer_id=customer_id, proof=proof)
    kind = members.EnrollMemberResponse
    return coalition.wire.accepted(coalition.keys[code], MEMBERS + "EnrollMember", request, kind).member_id


def dumped(server: EmbeddedPostgres, url: str) -> str:
    """The whole database as `pg_dump` writes it."""
    done = subprocess.run([server.binary("pg_dump"), url], capture_output=True, check=True, text=True)
    return done.stdout


def traces_in(text: str) -> list[str]:
    """Spellings of the contacts in a text, also as the hexadecimal of bytes, in any case."""
    wanted = [DIGITS, PHONE, EMAIL, EMAIL.lower(), "139-9876-5432"]
    spelled = [*wanted, *(it.encode().hex() for it in wanted)]
    return [it for it in spelled if it.lower() in text.lower()]


def test_after_erasure_no_contact_is_anywhere_and_the_ledger_balances_and_verifies(
    coalition: Coalition, mailbox: Path, postgres: EmbeddedPostgres
) -> None:
    phone, email = members.Contact(phone=PHONE), members.Contact(email=EMAIL)
    member = enroll(coalition, "cafe", "c-erase", prove(coalition, "cafe", mailbox, phone))
    assert enroll(coalition, "books", "b-erase", prove(coalition, "books", mailbox, phone)) == member
    assert enroll(coalition, "books", "b-erase", prove(coalition, "books", mailbox, email)) == member
    coalition.wire.accepted(
        coalition.keys["cafe"], EARN, coalition.earn(member, points=70), commands_pb2.EarnResponse
    )
    ((lookups,),) = coalition.rows("SELECT array_agg(encode(lookup, 'hex')) FROM contacts.contacts")
    operator = coalition.people[0]

    def ask(path: str, request: Message) -> None:
        answer = coalition.wire.call(operator, path, request)
        assert answer.text == ""

    close = accounts_service_pb2.CloseMemberRequest(
        request_id=new_request_id(),
        member_id=member,
        event_time=timestamp(datetime.now(UTC)),
        reason="the member asked for it",
    )
    ask(ACCOUNTS + "CloseMember", close)
    erase = members.EraseMemberRequest(request_id=new_request_id(), member_id=member)
    ask(MEMBERS + "EraseMember", erase)

    after = dumped(postgres, coalition.database_url)
    logs = "".join(path.read_text() for path in coalition.site.data_dir.rglob("*.log"))
    wallet = coalition.wire.accepted(
        operator, WALLET, points.GetWalletRequest(member_id=member), points.GetWalletResponse
    )
    assert traces_in(mailbox.read_text())  # the sender was told, so the search finds what is there
    assert len(lookups) == 2
    assert traces_in(after) == []
    assert traces_in(logs) == []
    assert [it for it in lookups if it in after] == []
    assert str(member_number(member)) in after  # so the dump holds the ledger
    assert coalition.rows("SELECT count(*) FROM exchange.aliases") == [(0,)]
    assert (wallet.available_points, wallet.state) == (0, wallet.STATE_CLOSED)
    assert coalition.rows(
        "SELECT sum(issued_points) - sum(expired_points), sum(open_points) FROM exchange.lots"
    ) == [(0, 0)]
    chain = Chain(coalition.database_url)
    with closing(chain.connection):
        assert chain.check() == 2  # the earn and the close


def started(site_dir: Path, url: str) -> str:
    """What a hub says that does not start."""
    environment = {**os.environ, "DATABASE_URL": url, "TONGDUI_DATA_DIR": str(site_dir)}
    environment["TONGDUI_LISTEN"] = "127.0.0.1:0"
    command = [sys.executable, "-m", "exchange", "serve"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    return done.stderr


def test_the_hub_does_not_start_with_another_contact_key_or_without_its_own(
    databases: Databases, initialised: tuple[str, Path, list[Key]], tmp_path: Path
) -> None:
    template, files, _ = initialised
    shutil.copytree(files, tmp_path / "hub")
    key_file = tmp_path / "hub" / "contact-key"
    mode = stat.S_IMODE(key_file.stat().st_mode)

    said = []
    with databases.fresh(template) as url:
        for content in (b"A" * 43 + b"=\n", b"no key\n"):
            key_file.write_bytes(content)
            said.append(started(tmp_path / "hub", url))
        key_file.chmod(0o644)
        said.append(started(tmp_path / "hub", url))
        key_file.unlink()
        said.append(started(tmp_path / "hub", url))

    assert mode == 0o600
    for words, text in zip(
        ("is not the one", "is no contact key", "can be read by others", "does not exist"), said, strict=True
    ):
        assert words in text
    assert not key_file.exists()


def test_in_development_codes_are_seen_on_the_hubs_standard_error(
    databases: Databases, initialised: tuple[str, Path, list[Key]], tmp_path: Path
) -> None:
    template, files, people = initialised
    shutil.copytree(files, tmp_path / "hub")
    with databases.fresh(template) as url:
        site = Site(tmp_path / "hub", environment={"DATABASE_URL": url, "TONGDUI_CODE_SENDER": "print"})
        with running(site, people, url) as coalition:
            found_coalition(coalition)
            request = members.StartContactProofRequest(
                request_id=new_request_id(), contact=members.Contact(phone=PHONE)
            )
            started = coalition.wire.accepted(
                coalition.keys["cafe"],
                MEMBERS + "StartContactProof",
                request,
                members.StartContactProofResponse,
            )
            seen = coalition.hub.log.read_text()
            code = seen.partition("one-time code for phone ...32: ")[2][:6]
            member = enroll(
                coalition, "cafe", "c-1", members.ContactProof(proof_id=started.proof_id, code=code)
            )

    assert member.startswith("m-")
    assert DIGITS not in seen


@pytest.mark.parametrize("sender", ["send-codes", "./send", "terminal"])
def test_a_sender_that_is_no_absolute_path_is_a_bad_setting(sender: str, tmp_path: Path) -> None:
    environment = {"TONGDUI_CODE_SENDER": sender, "TONGDUI_DATA_DIR": str(tmp_path), "PATH": ""}

    done = subprocess.run(
        [sys.executable, "-m", "exchange", "migrate"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "TONGDUI_CODE_SENDER" in done.stderr
