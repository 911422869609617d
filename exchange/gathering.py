"""How many calls the next batch waits for, and how long: learnt from how the last one ended.

Callers that wait for their answers before they ask again come back in a crowd. A batch for the first few of them
costs the hub, its database and its callers nearly as much as one for half of them, so the next batch waits a moment,
as PostgreSQL's `commit_delay` does for siblings. How many of them there are nobody can see: most are on their way
through the network when a batch starts. So the number is found by growing it as long as others wait meanwhile.
"""

from __future__ import annotations

from typing import Final

SIBLINGS: Final = 8
"""Calls that are here when a batch ends, its own among them, from which on the next batch waits."""

GATHER_SECONDS: Final = 0.03
"""How long it waits at most: where fewer come back than the last time."""

MOST_CALLS: Final = 40
"""Commands that no batch waits beyond: larger batches were no cheaper, and left the database idle meanwhile."""

WORTH_A_BATCH: Final = 24
"""Waiting commands that start a batch beside a running one: fewer are cheaper together with what comes next."""


class Gathering:
    """What a batch waits for."""

    __slots__ = ("_until", "enough")

    def __init__(self) -> None:
        """Waits for nothing."""
        self.enough = WORTH_A_BATCH
        """Waiting commands that end the wait."""
        self._until = 0.0

    def end_of_wait(self, now: float) -> float | None:
        """When the next batch starts though fewer wait; None where it starts at once. In the loop's seconds."""
        return self._until if now < self._until else None

    def enough_beside(self) -> int:
        """Waiting commands that start a batch beside a running one."""
        return max(WORTH_A_BATCH, self.enough)

    def learn(self, calls: int, waiting: int, running: int, now: float) -> None:
        """A batch of so many calls ends now, in the loop's seconds; others wait, or run in batches beside it."""
        here = calls + waiting + running
        if here < SIBLINGS:
            self.enough = WORTH_A_BATCH
            self._until = 0.0
            return
        # Four parts in the batch and one that waits keep both the loop and the database at work.
        if 4 * waiting >= calls:
            next_time = calls + 1
        elif calls >= self.enough:
            next_time = calls - 1
        else:
            next_time = 0  # the wait ended by its time: so many do not come back
        self.enough = min(MOST_CALLS, max(next_time, here * 3 // 4))
        self._until = now + GATHER_SECONDS
