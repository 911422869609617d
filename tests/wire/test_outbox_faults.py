"""An outbox whose disk is full or whose file is damaged: it says so, and loses nothing that was accepted."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from merchant_adapter import EarnCommand, Receipt, prepare
from merchant_adapter.outbox import Limits, Outbox, OutboxDamaged, OutboxFull
from merchant_adapter.outbox.lanes import Waiting
from merchant_adapter.outbox.policy import ACCEPTED
from merchant_adapter.outbox.records import Settled
from merchant_adapter.outbox.recovery import recover
from merchant_adapter.outbox.times import now_ms
from merchant_adapter.private_files import FileRefused

WHEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
RECEIPT = Receipt("/path", b"request" * 100, (("a", "b"),), b"answer" * 100, (("c", "d"),))
PAGE = 4096
ALL = 400
ANSWERED = 100


def sale(number: int) -> EarnCommand:
    till: dict[str, Any] = {"store_id": "s", "terminal_id": "t", "reference": f"r-{number}"}
    return EarnCommand(member_id=f"m-{number}", points=5, event_time=WHEN, **till)


def waiting(outbox: Outbox) -> list[Waiting]:
    """What a dispatcher would find."""
    return outbox.writer.do(lambda: outbox.store.read(0, 100_000)).result()


def left_in(path: Path) -> list[Waiting] | None:
    """What a dispatcher would find, None where the outbox says that it is damaged."""
    try:
        with Outbox.open(path) as outbox:
            return waiting(outbox)
    except OutboxDamaged as error:
        return None if "tongdui-adapter outbox recover" in str(error) else []


def test_at_its_size_an_outbox_refuses_sales_and_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    accepted: list[str] = []

    def fill(outbox: Outbox) -> None:
        while True:
            accepted.append(outbox.accept(sale(len(accepted))).request_id)

    with Outbox.open(path, limits=Limits(most_file_bytes=60 * PAGE)) as outbox:
        with pytest.raises(OutboxFull, match="nothing was stored") as refused:
            fill(outbox)
        assert outbox.status().waiting == len(accepted)
    with Outbox.open(path) as outbox:
        found = waiting(outbox)
        outbox.accept(sale(0))

    assert "Make room" in str(refused.value)
    assert len(accepted) > 50
    assert [one.request_id for one in found] == accepted


def test_a_disk_that_takes_no_more_is_said_aloud_and_what_was_accepted_is_there(tmp_path: Path) -> None:
    """The kernel refuses to let the file grow: as on a full disk, in the middle of a write."""
    path = tmp_path / "outbox.db"
    program = """
        import resource, sys
        from merchant_adapter.outbox import Outbox, OutboxError
        from tests.wire.test_outbox_faults import sale
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
        with Outbox.open(sys.argv[1]) as outbox:
            try:
                for number in range(100_000):
                    print(outbox.accept(sale(number)).request_id, flush=True)
            except OutboxError as error:
                print(error, file=sys.stderr)
                print(outbox.status().waiting)
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), path],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    *accepted, count = done.stdout.split()
    with Outbox.open(path) as outbox:
        found = waiting(outbox)

    assert len(accepted) > 20
    assert "What was accepted before is safe" in done.stderr
    assert int(count) == len(accepted)
    assert [one.request_id for one in found][: len(accepted)] == accepted
    assert len(found) <= len(accepted) + 1  # of the one that was refused the outcome is unknown


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EarnCommand]]:
    """An outbox of 400 sales, of which 100 are answered."""
    path = tmp_path_factory.mktemp("healthy") / "outbox.db"
    commands = [sale(number) for number in range(ALL)]
    with Outbox.open(path) as outbox:
        outbox.accept_all(commands)
        found = outbox.writer.do(lambda: outbox.store.read(0, ANSWERED)).result()
        settled = [
            Settled(one.number, len(one.message), 1, ACCEPTED, batch_index=index)
            for index, one in enumerate(found)
        ]
        outbox.writer.do(lambda: outbox.store.settle(RECEIPT, settled, [], now_ms())).result()
    return path, commands


def test_whichever_page_is_damaged_the_outbox_is_sound_or_says_so_and_what_can_be_read_is_recovered(
    healthy: tuple[Path, list[EarnCommand]], tmp_path: Path
) -> None:
    path, commands = healthy
    known = {command.request_id for command in commands}
    pages = path.stat().st_size // PAGE
    damaged_count = lost_count = 0

    for page in range(3, pages, 3):  # before it are the tables' names: nothing but a backup helps there
        broken, mended = tmp_path / f"broken-{page}.db", tmp_path / f"mended-{page}.db"
        shutil.copy(path, broken)
        with broken.open("r+b") as file:
            file.seek(page * PAGE)
            file.write(b"\xa5" * PAGE)
        left = left_in(broken)
        if left is not None:
            assert len(left) == ALL - ANSWERED  # the page was not of the queue
            continue
        damaged_count += 1
        recovered = recover(broken, mended)
        with Outbox.open(mended) as outbox:
            found = waiting(outbox)
        assert {one.request_id for one in found} <= known
        assert recovered.commands == len(found)
        missing = ALL - ANSWERED - len(found)
        lost_count += missing
        assert missing <= recovered.unreadable_commands

    assert damaged_count > 5
    assert lost_count > 0  # some page held rows, and that was said


def test_a_flipped_byte_in_a_message_is_never_sent(
    healthy: tuple[Path, list[EarnCommand]], tmp_path: Path
) -> None:
    path, commands = healthy
    broken, mended = tmp_path / "broken.db", tmp_path / "mended.db"
    content = bytearray(path.read_bytes())
    at = content.index(prepare(commands[-1]).body) + len(prepare(commands[-1]).body) - 1
    content[at] ^= 1
    broken.write_bytes(content)
    broken.chmod(0o600)

    with Outbox.open(broken) as outbox, pytest.raises(OutboxDamaged, match=commands[-1].request_id):
        waiting(outbox)
    recovered = recover(broken, mended)

    assert (recovered.commands, recovered.unreadable_commands) == (ALL - ANSWERED - 1, 1)
    assert (recovered.answered, recovered.receipts) == (ANSWERED, 1)


def test_a_file_without_its_header_is_told_to_be_damaged_and_never_overwritten(
    healthy: tuple[Path, list[EarnCommand]], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.db"
    shutil.copy(healthy[0], broken)
    with broken.open("r+b") as file:
        file.write(b"\x00" * 100)

    with pytest.raises(OutboxDamaged):
        Outbox.open(broken)
    with pytest.raises(OutboxDamaged, match="sqlite3 shell"):
        recover(broken, tmp_path / "new.db")
    with pytest.raises(FileRefused, match="never overwritten"):
        recover(healthy[0], broken)


def test_memory_is_flat_over_50_000_accepted_sales(tmp_path: Path) -> None:
    program = """
        import resource, sys
        from merchant_adapter.outbox import Outbox
        from tests.wire.test_outbox_faults import sale
        with Outbox.open(sys.argv[1]) as outbox:
            for count in (5_000, 45_000):
                for first in range(0, count, 500):
                    outbox.accept_all([sale(number) for number in range(500)])
                print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), tmp_path / "outbox.db"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )

    before_kib, after_kib = (int(line) for line in done.stdout.split())
    assert after_kib - before_kib < 8 * 1024
