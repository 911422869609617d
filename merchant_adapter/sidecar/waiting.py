"""How long a caller waits for a decision: the `Prefer` header of RFC 7240."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header

DEFAULT_SECONDS = 3
MOST_SECONDS = 30

_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?', re.ASCII)

Prefer = Annotated[
    str | None,
    Header(
        description=f"RFC 7240. `wait=N`: answer within N seconds, at most {MOST_SECONDS}, {DEFAULT_SECONDS} if not"
        " said; `respond-async`: store it and answer at once."
    ),
]


@dataclass(frozen=True, slots=True)
class Wait:
    """For how long to wait; 0 for not at all."""

    seconds: int

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says of it."""
        return {"Preference-Applied": f"wait={self.seconds}" if self.seconds else "respond-async"}


def wait_of(prefer: str | None) -> Wait:
    """What a `Prefer` header asks for. What it means by anything else is ignored, as the RFC has it."""
    preferences = [one.partition(";")[0].strip().lower() for one in (prefer or "").split(",")]
    waits = [int(found[1]) for one in preferences if (found := _WAIT.fullmatch(one))]
    if waits:
        return Wait(min(waits[0], MOST_SECONDS))
    return Wait(0 if "respond-async" in preferences else DEFAULT_SECONDS)
