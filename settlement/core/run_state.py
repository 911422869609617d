"""How far a window has come, and which step may follow which."""

from __future__ import annotations

from enum import Enum


class WindowState(Enum):
    """The states of a window settlement knows, in order.

    Before `CLOSED` the window is open and settlement holds nothing of it. A process that is broken off leaves
    the window in the last state a step committed.
    """

    CLOSED = "CLOSED"
    """The hub has fixed its watermark and signed a receipt for it."""

    COMPUTED = "COMPUTED"
    """Its statement lines stand."""

    CERTIFIED = "CERTIFIED"
    """Every check holds and the certificate is signed."""

    APPROVED = "APPROVED"
    """A second person has approved the certificate. From here on the run cannot be aborted."""

    EXPORTED = "EXPORTED"
    """Its payments are listed, each with a state of its own."""

    SETTLED = "SETTLED"
    """Every payment is final, and the hub knows."""

    def reached(self, other: WindowState) -> bool:
        """Whether this state is `other` or a later one."""
        order = list(WindowState)
        return order.index(self) >= order.index(other)

    @property
    def and_later(self) -> tuple[str, ...]:
        """The names of this state and all later ones."""
        return tuple(state.value for state in WindowState if state.reached(self))


class RunState(Enum):
    """The states of a run, one attempt at a window from net on."""

    RUNNING = "RUNNING"
    """Computed, not certified."""

    CERTIFIED = "CERTIFIED"
    """Its certificate is signed."""

    ABORTED = "ABORTED"
    """Given up by a person. Its figures stay; the window is CLOSED again and has a new run number."""


class StepOutOfOrder(Exception):
    """A step was asked for before the one it builds on; `str()` of it tells a person what to run first."""
