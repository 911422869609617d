"""What is made once or more a command, made cheaply (docs/adr/0004)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar, dataclass_transform

_T = TypeVar("_T")

make: Final = tuple.__new__
"""`make(Leg, (...))` makes a named tuple of all its fields for a third of what its constructor costs."""


@dataclass_transform(frozen_default=True)
def record(kind: type[_T]) -> type[_T]:
    """Makes a dataclass with slots that mypy lets nobody change.

    Nothing refuses a change at run time: a frozen dataclass would, and costs six times as much to make
    (docs/adr/0004).
    """
    return dataclass(slots=True, unsafe_hash=True)(kind)
