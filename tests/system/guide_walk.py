"""Walks through a guide of docs/ as a stranger would: every block as written, in one shell, from an empty folder.

A block of Python begins with a comment that names its file, which is written and run by a later line. A block for the
shell is run; a word after `sh` says what it needs: `curl`, `node`, or a person (`by-hand`: it installs something).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import IO, Final

ROOT: Final = Path(__file__).parents[2]
BLOCK_SECONDS: Final = 60.0
BY_HAND: Final = "by-hand"

_BLOCK: Final = re.compile(r"^```(\w+)(?: ([\w-]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE: Final = re.compile(r"(?:#|//) (\w[\w.-]*\.\w+)\n")
_DONE: Final = "guide-walk-block-ended"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it begins in the guide, its language, what it needs, and its text."""

    line: int
    heading: str
    language: str
    needs: str
    text: str

    @property
    def file(self) -> str:
        """The file that a block of a program is; empty for the shell's."""
        found = _FILE.match(self.text)
        return found[1] if found and self.language != "sh" else ""


def read_guide(name: str) -> list[Block]:
    """The blocks of a guide in their order; those that are only shown, without a language or a file, are left out."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        headings = re.findall(r"^##+ (.*)$", text[: match.start()], re.MULTILINE)
        line = text.count("\n", 0, match.start()) + 1
        block = Block(line, headings[-1] if headings else "", match[1], match[2] or "", match[3])
        if block.language == "sh" or block.file:
            found.append(block)
    return found


def is_here(needs: str) -> bool:
    """Whether this machine has what a block needs."""
    if needs == "node":
        packages = ROOT / "examples" / "node" / "node_modules" / ".package-lock.json"
        return shutil.which("node") is not None and packages.is_file()
    return not needs or (needs != BY_HAND and shutil.which(needs) is not None)


@dataclass(slots=True)
class Walk:
    """One shell in one folder. Blocks run up to the one that is asked for, each once."""

    folder: Path
    blocks: list[Block]
    ports: dict[str, int]
    said: dict[int, str] = field(default_factory=dict)
    _shell: subprocess.Popen[str] | None = None

    def through(self, block: Block) -> str:
        """What a block printed, after all blocks before it. Raises AssertionError where one failed."""
        for one in self.blocks:
            if one.line <= block.line and one.line not in self.said and is_here(one.needs):
                self.said[one.line] = self._run(one)
        return self.said[block.line]

    def _run(self, block: Block) -> str:
        text = block.text
        for port, other in self.ports.items():
            text = text.replace(port, str(other))
        if block.file:
            (self.folder / block.file).write_text(text, encoding="utf-8")
            return ""
        # Sourced from a file, so that a program of the block can't read the blocks behind it.
        script = self.folder.parent / f"block-{block.line}.sh"
        script.write_text(text, encoding="utf-8")
        shell = self._shell = self._shell or self._start()
        stop = Timer(BLOCK_SECONDS, os.killpg, (shell.pid, signal.SIGKILL))
        stop.start()
        printed: list[str] = []
        with contextlib.suppress(BrokenPipeError):
            _pipe(shell.stdin).write(f". {script}\necho {_DONE} 0\n")
            _pipe(shell.stdin).flush()
        for line in _pipe(shell.stdout):
            if line.startswith(_DONE):
                break
            printed.append(line)
        else:
            line = f"{_DONE} killed"
        stop.cancel()
        shown = "".join(printed)
        assert line.split()[1] == "0", f"docs, line {block.line}:\n{text}\nsaid:\n{shown}"
        return shown

    def _start(self) -> subprocess.Popen[str]:
        kept = {name: it for name, it in os.environ.items() if name in ("HOME", "LANG", "TMPDIR", "USER")}
        own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "100"}
        hub = {"TONGDUI_LISTEN": f"127.0.0.1:{self.ports['7400']}"}
        shell = subprocess.Popen(
            ["bash"],  # noqa: S607 - the guide says bash
            cwd=self.folder,
            env={**kept, **own, **hub},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        _pipe(shell.stdin).write(f"trap 'echo {_DONE} $?' EXIT\nset -eu -o pipefail\n")
        return shell

    def end(self) -> None:
        """Stops what the guide left running."""
        shell = self._shell
        if shell is None:
            return
        with contextlib.suppress(BrokenPipeError):
            _pipe(shell.stdin).write("set +e; kill $(jobs -p); wait\nexit\n")
            _pipe(shell.stdin).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            shell.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        _pipe(shell.stdout).close()
        shell.wait()


def _pipe(found: IO[str] | None) -> IO[str]:
    assert found is not None
    return found


def free_ports(ports: tuple[str, ...]) -> dict[str, int]:
    """Others for the ports that the guide names, which somebody may have."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in ports]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return {port: one.getsockname()[1] for port, one in zip(ports, sockets, strict=True)}
