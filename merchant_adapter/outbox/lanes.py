"""Which commands may be sent now: of each member the oldest that is not final, members side by side. Pure."""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

MOST_MEMBERS = 20_000
"""Members whose next command is held in memory; the rest wait in the store."""

MOST_ASKED_SECONDS = 60.0
"""A till asks for so long at most. One that claims longer has another clock, or a clock that was set back."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stored command that has no final answer.

    Attributes:
        number: its place in the order of acceptance.
        request_id, member_id: whose decision it is, and whose order it keeps.
        kind: its field in `Command`.
        message: the exact bytes of its request message.
        attempts: tries so far.
        due: when it may be tried, in Unix seconds; 0 for at once.
        untrusted_since: since when its key has been refused, in Unix seconds; None where it was not.
        is_behind: whether it must not be sent, because one that it must not overtake is a dead letter.
        asked_until: until when a till asks for itself, in Unix seconds; 0 where none does.
    """

    number: int
    request_id: str
    member_id: str
    kind: str
    message: bytes = field(repr=False)
    attempts: int = 0
    due: float = 0.0
    untrusted_since: float | None = None
    is_behind: bool = False
    asked_until: float = 0.0


class Lanes:
    """The next command of each member, from when it is read until it is final.

    The store is read in the order of acceptance, each command once; of a member that has a command here already, a
    later one is passed over. `advance` puts the member's next one in its place, as the store names it.
    """

    def __init__(self, most_members: int = MOST_MEMBERS, no_pause_seconds: float = math.inf) -> None:
        """What is due `no_pause_seconds` from now was put off before the clock was set back, and does not wait."""
        self.cursor = 0
        """The number up to which the store was read."""
        self._most_members = most_members
        self._no_pause_seconds = no_pause_seconds
        self._members: set[str] = set()
        self._ready: list[tuple[int, Waiting]] = []
        self._later: list[tuple[float, int, Waiting]] = []
        self._asked: dict[int, Waiting] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no member has a command here, on its way or waiting."""
        return not self._members

    @property
    def ready_count(self) -> int:
        """Commands that are due, as far as `take` has looked at the time."""
        return len(self._ready)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read before some of it is final."""
        return len(self._members) >= self._most_members

    @property
    def next_due(self) -> float | None:
        """When the first of those put off may be tried again, in Unix seconds."""
        return self._later[0][0] if self._later else None

    @property
    def asked(self) -> Sequence[int]:
        """The numbers of those that tills ask for themselves: they hold their member back and are not taken."""
        return tuple(self._asked)

    def look_again(self, stored: Iterable[Waiting], now: float) -> Sequence[str]:
        """Takes what the store says now of those in `asked`; gives the members of which it has them no more.

        One that its till has given up, or left alone for longer than it could, is taken from here on.
        """
        found = {command.number: command for command in stored}
        gone = []
        for number, known in list(self._asked.items()):
            command = found.get(number)
            if command is not None and now < command.asked_until <= now + MOST_ASKED_SECONDS:
                continue
            del self._asked[number]
            if command is None:
                gone.append(known.member_id)
            else:
                self.put_off(command)
        return gone

    def read(self, commands: Iterable[Waiting]) -> None:
        """Takes what the store holds after `cursor`, in order."""
        for command in commands:
            self.cursor = command.number
            if command.member_id not in self._members:
                self._add(command)

    def advance(self, member_ids: Iterable[str], heads: Iterable[Waiting]) -> None:
        """The commands of these members are final: `heads` are their next ones, where they have any."""
        self._members.difference_update(member_ids)
        for command in heads:
            self._add(command)

    def put_off(self, command: Waiting) -> None:
        """The command is not final: it is tried again when it is due."""
        heapq.heappush(self._later, (command.due, command.number, command))

    def take(self, now: float, most_commands: int, most_bytes: int) -> Sequence[Waiting]:
        """The oldest commands that are due, at most so many, and at least one whatever its size.

        They are of different members, and stay on their way until `advance` or `put_off`.
        """
        while self._later and not now < self._later[0][0] <= now + self._no_pause_seconds:
            _, number, command = heapq.heappop(self._later)
            heapq.heappush(self._ready, (number, command))
        taken: list[Waiting] = []
        size = 0
        while self._ready and len(taken) < most_commands:
            size += len(self._ready[0][1].message)
            if taken and size > most_bytes:
                break
            taken.append(heapq.heappop(self._ready)[1])
        return taken

    def _add(self, command: Waiting) -> None:
        self._members.add(command.member_id)
        if command.asked_until:
            self._asked[command.number] = command
        elif command.due:
            self.put_off(command)
        else:
            heapq.heappush(self._ready, (command.number, command))
