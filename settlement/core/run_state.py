"""How far a window has come, and which step may follow which."""

from __future__ import annotations

from enum import Enum


class WindowState(Enum):
    """The states of a window settlement knows, in order.

    Before `CLOSED` the window is open and settlement holds nothing of it. A run that is broken off leaves
    the window in the last state a step committed. Approval, export and payment follow `CERTIFIED`.
    """

    CLOSED = "CLOSED"
    """The hub has fixed its watermark and signed a receipt for it."""

    COMPUTED = "COMPUTED"
    """Its statement lines stand."""

    CERTIFIED = "CERTIFIED"
    """Every check holds and the certificate is signed."""

    def reached(self, other: WindowState) -> bool:
        """Whether this state is `other` or a later one."""
        order = list(WindowState)
        return order.index(self) >= order.index(other)


class StepOutOfOrder(Exception):
    """A step was asked for before the one it builds on; `str()` of it tells a person what to run first."""
