"""Who brings one-time codes to members: a program of the operator's, or, in development, the terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final, Protocol

from exchange.registrar.envelope import Contact

SEND_SECONDS: Final = 10.0
"""How long a sender's program may take."""

_SHOWN: Final = 2


class CodeNotSent(Exception):
    """The sender failed. Says nothing of contact or code."""


class CodeSender(Protocol):
    """Brings a code to a contact."""

    def send(self, contact: Contact, code: str) -> None:
        """Returns once it is on its way. Raises `CodeNotSent`."""


class TerminalSender:
    """For development: writes codes to standard error, with no more of the contact than its last two characters."""

    def send(self, contact: Contact, code: str) -> None:
        """Writes one line."""
        sys.stderr.write(f"one-time code for {contact.kind} ...{contact.value[-_SHOWN:]}: {code}\n")
        sys.stderr.flush()


class ProgramSender:
    """Runs a program with `{"kind", "contact", "code"}` as JSON on its standard input; exit code 0 is sent."""

    def __init__(self, program: Path, seconds: float = SEND_SECONDS) -> None:
        """Takes the program, which gets no arguments, and how long it may take."""
        self._program = program
        self._seconds = seconds

    def send(self, contact: Contact, code: str) -> None:
        """Waits for the program. What it writes is dropped: it may hold what no log of ours may hold."""
        told = json.dumps({"kind": contact.kind, "contact": contact.value, "code": code})
        try:
            subprocess.run(
                [self._program],
                input=told.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=self._seconds,
                check=True,
            )
        except subprocess.CalledProcessError as failed:
            raise CodeNotSent(f"the program ended with {failed.returncode}") from None
        except subprocess.TimeoutExpired:  # its text would hold nothing of the input, but its cause might
            raise CodeNotSent(f"the program took more than {self._seconds} s") from None
        except OSError as failure:
            raise CodeNotSent(f"the program can not be run: {failure.strerror}") from None
