"""Contracts: how two partners, or one, settle where it is not the multilateral net.

A `BILATERAL` contract takes what two partners owe each other directly out of the multilateral lines of both and
puts it on one line of its own on either statement, rounded as one figure. A `GROSS` contract changes no line:
what a partner receives and what it pays are two payments instead of their difference
(docs/settlement.md, Contracts).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import Enum

from settlement.core.netting import Partners


class ContractKind(Enum):
    """What a contract changes."""

    GROSS = "GROSS"
    BILATERAL = "BILATERAL"


@dataclass(frozen=True, slots=True, order=True)
class Contract:
    """One contract over a stretch of business days.

    Attributes:
        partner_id: the partner; of a pair the one whose id sorts first.
        counterparty_id: the other partner of a `BILATERAL` contract, empty of a `GROSS` one.
        kind: the name of a `ContractKind`.
        valid_from, valid_until: the first and the last day; no `valid_until` while it is open-ended.
    """

    partner_id: str
    counterparty_id: str
    kind: str
    valid_from: date
    valid_until: date | None

    def __post_init__(self) -> None:
        bilateral = ContractKind(self.kind) is ContractKind.BILATERAL
        if bilateral != bool(self.counterparty_id):
            raise ValueError("counterparty_id: a BILATERAL contract names one, a GROSS contract none")
        if bilateral and self.partner_id >= self.counterparty_id:
            raise ValueError("partner_id, counterparty_id: two partners, in the order of their ids")

    def holds_on(self, day: date) -> bool:
        """Whether the contract is in force on a business day."""
        return self.valid_from <= day and (self.valid_until is None or day <= self.valid_until)


def in_force(contracts: Iterable[Contract], day: date) -> tuple[Contract, ...]:
    """The contracts of a business day, ordered."""
    return tuple(sorted(contract for contract in contracts if contract.holds_on(day)))


def bilateral_pairs(contracts: Iterable[Contract]) -> Partners:
    """The pairs of partners that settle between themselves."""
    kind = ContractKind.BILATERAL.value
    return frozenset((it.partner_id, it.counterparty_id) for it in contracts if it.kind == kind)


def gross_partners(contracts: Iterable[Contract]) -> frozenset[str]:
    """The partners that are paid and pay separately."""
    return frozenset(it.partner_id for it in contracts if it.kind == ContractKind.GROSS.value)
