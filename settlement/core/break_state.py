"""How a break lives: its states, which act leads from which to which, how urgent it is and how old.

Pure: the moment is handed in. `docs/settlement.md` (Breaks) is the text of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Final

from settlement.core.roles import Act


class BreakState(Enum):
    """The states of a break."""

    OPEN = "OPEN"
    """Found; nobody owns it."""

    ASSIGNED = "ASSIGNED"
    """Somebody owns it."""

    PENDING_RESOLUTION = "PENDING_RESOLUTION"
    """One person proposed how to resolve it; another has to agree."""

    RESOLVED = "RESOLVED"
    """Done, but it can be reopened."""


class Resolution(Enum):
    """How a break ended."""

    AUTO_CLEARED = "AUTO_CLEARED"
    """The other side turned up: only the program resolves this way, and nobody has to agree."""

    ADJUSTED = "ADJUSTED"
    """A correction was posted at the hub."""

    WRITTEN_OFF = "WRITTEN_OFF"
    """It stays, and the books bear it."""

    PARTNER_FIXED = "PARTNER_FIXED"
    """The partner corrected its own record."""

    NO_ACTION = "NO_ACTION"
    """There was nothing to do."""

    RECLASSIFIED = "RECLASSIFIED"
    """The same deal is another break now, by a later run: only the program resolves this way."""


PROPOSED: Final = (Resolution.WRITTEN_OFF, Resolution.PARTNER_FIXED, Resolution.NO_ACTION)
"""The resolutions a person proposes in words. `ADJUSTED` comes with what is to be posted."""


class Severity(Enum):
    """How urgent a break is, with the hours until it is due."""

    CRITICAL = ("CRITICAL", 24)
    HIGH = ("HIGH", 72)
    MEDIUM = ("MEDIUM", 120)
    LOW = ("LOW", 168)

    def __init__(self, label: str, due_hours: int) -> None:
        self.label: Final = label
        self.due_hours: Final = due_hours


class BreakActRefused(Exception):
    """The state of a break or dispute does not allow this act; `str()` says which states do."""


_ANY: Final = tuple(BreakState)
_UNSOLVED: Final = (BreakState.OPEN, BreakState.ASSIGNED, BreakState.PENDING_RESOLUTION)

ALLOWED: Final[Mapping[Act, tuple[BreakState, ...]]] = {
    Act.ASSIGN_BREAK: (BreakState.OPEN, BreakState.ASSIGNED),
    Act.COMMENT_BREAK: _ANY,
    Act.CLEAR_BREAK: _UNSOLVED,
    Act.PROPOSE_RESOLUTION: (BreakState.OPEN, BreakState.ASSIGNED),
    Act.PROPOSE_ADJUSTMENT: (BreakState.OPEN, BreakState.ASSIGNED),
    Act.APPROVE_RESOLUTION: (BreakState.PENDING_RESOLUTION,),
    Act.APPROVE_ADJUSTMENT: (BreakState.PENDING_RESOLUTION,),
    Act.REJECT_RESOLUTION: (BreakState.PENDING_RESOLUTION,),
    Act.WITHDRAW_ADJUSTMENT: (BreakState.OPEN, BreakState.ASSIGNED, BreakState.RESOLVED),
    Act.REOPEN_BREAK: (BreakState.RESOLVED,),
    Act.OPEN_DISPUTE: (BreakState.OPEN, BreakState.ASSIGNED),
    Act.ANSWER_DISPUTE: (BreakState.OPEN, BreakState.ASSIGNED),
    Act.DECIDE_DISPUTE: (BreakState.OPEN, BreakState.ASSIGNED),
    Act.EXPIRE_DISPUTE: (BreakState.OPEN, BreakState.ASSIGNED),
}
"""Every act on a break, and the states it may be done in."""


def state_after(act: Act, state: BreakState, *, owned: bool) -> BreakState:
    """The state of a break after an act. `owned`: somebody owns it. Raises BreakActRefused."""
    if state not in ALLOWED[act]:
        wanted = " or ".join(one.value for one in ALLOWED[act])
        raise BreakActRefused(f"the break is {state.value}; {act.label.replace('_', ' ')} needs {wanted}")
    match act:
        case Act.ASSIGN_BREAK:
            return BreakState.ASSIGNED
        case Act.PROPOSE_RESOLUTION | Act.PROPOSE_ADJUSTMENT:
            return BreakState.PENDING_RESOLUTION
        case Act.APPROVE_RESOLUTION | Act.APPROVE_ADJUSTMENT | Act.CLEAR_BREAK:
            return BreakState.RESOLVED
        case Act.REJECT_RESOLUTION | Act.REOPEN_BREAK:
            return BreakState.ASSIGNED if owned else BreakState.OPEN
        case _:
            return state


AGES: Final = (("0-1", 1), ("2-3", 3), ("4-7", 7), ("8-30", 30))
"""The buckets of ageing in days, each with its last day; what is older is `over 30`."""

OLDEST: Final = "over 30"
AGE_BUCKETS: Final = (*(name for name, _ in AGES), OLDEST)


def age_days(opened: date, as_of: date) -> int:
    """How many business days' dates a break is old; 0 on the day it was found."""
    return max(0, (as_of - opened).days)


def age_bucket(days: int) -> str:
    """The bucket of an age in days."""
    return next((name for name, last in AGES if days <= last), OLDEST)


class DisputeState(Enum):
    """The states of a dispute between two partners."""

    OPEN = "OPEN"
    """Claimed; the other partner has until the deadline to answer."""

    ANSWERED = "ANSWERED"
    """Both have spoken; the operator decides."""

    DECIDED = "DECIDED"
    EXPIRED = "EXPIRED"
    """Nobody answered in time; the operator decides on the claim alone."""


_DISPUTE_STEPS: Final[Mapping[Act, tuple[tuple[DisputeState, ...], DisputeState]]] = {
    Act.ANSWER_DISPUTE: ((DisputeState.OPEN,), DisputeState.ANSWERED),
    Act.DECIDE_DISPUTE: ((DisputeState.ANSWERED, DisputeState.EXPIRED), DisputeState.DECIDED),
    Act.EXPIRE_DISPUTE: ((DisputeState.OPEN,), DisputeState.EXPIRED),
}

DEFAULT_DEADLINE: Final = timedelta(days=7)
LONGEST_DEADLINE: Final = timedelta(days=60)


def dispute_after(act: Act, state: DisputeState, deadline: datetime, now: datetime) -> DisputeState:
    """The state of a dispute after an act. Raises BreakActRefused.

    An answer comes before the deadline; a claim expires after it. An answered dispute never expires. Until it is
    decided, its break cannot be resolved.
    """
    allowed, result = _DISPUTE_STEPS[act]
    if state not in allowed:
        wanted = " or ".join(one.value for one in allowed)
        raise BreakActRefused(f"the dispute is {state.value}; {act.label.replace('_', ' ')} needs {wanted}")
    if act is Act.ANSWER_DISPUTE and now > deadline:
        raise BreakActRefused(
            f"the dispute could be answered until {deadline:%Y-%m-%d %H:%M} UTC; it has expired"
        )
    if act is Act.EXPIRE_DISPUTE and now <= deadline:
        raise BreakActRefused(f"the dispute can be answered until {deadline:%Y-%m-%d %H:%M} UTC")
    return result
