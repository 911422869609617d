"""Sets contracts between partners: from a day on that no run has computed yet, so that no figure changes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Final

from sqlalchemy import Connection

from settlement.core.contracts import Contract, ContractKind
from settlement.core.netting import ordered_pair
from settlement.core.roles import Act
from settlement.core.run_state import StepOutOfOrder
from settlement.people import Actor
from settlement.store import load, save
from settlement.store.reads import partner_names

CONTRACT: Final = "contract"
"""What the audit log calls the item."""


class ContractRefused(Exception):
    """A contract that cannot be; `str()` names the option and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Contracts:
    """The contracts of one ledger.

    Attributes:
        connection: as `exclusive_run` gives it, with no transaction open, so that nothing is computed meanwhile.
        actor: in whose name contracts are set.
    """

    connection: Connection
    actor: Actor

    def set(self, kind: ContractKind | None, partner_id: str, other_id: str, first_day: date) -> bool:
        """From `first_day` on the partner, or the pair, settles by `kind`; by the multilateral net where None.

        Tells whether anything changed. Raises ContractRefused, StepOutOfOrder where `first_day` is computed,
        RoleMissing, PersonUnknown.
        """
        with self.connection.begin():
            self.actor.check(self.connection, Act.SET_CONTRACT)
            one, other = self._parties(kind, partner_id, other_id)
            computed = load.load_last_computed_date(self.connection)
            if computed and first_day <= computed:
                raise StepOutOfOrder(f"{first_day}: {computed} is computed; contracts change after it")
            present = self._present(one, other, first_day)
            if (present is None) == (kind is None):
                return False
            if present is None:
                assert kind is not None, "one of the two is there"
                self._begin(Contract(one, other, kind.value, first_day, None))
            else:
                self._end(present, first_day - timedelta(days=1))
        return True

    def _parties(self, kind: ContractKind | None, partner_id: str, other_id: str) -> tuple[str, str]:
        if kind is ContractKind.BILATERAL and not other_id:
            raise ContractRefused("--with: a bilateral contract is between two partners")
        if kind is ContractKind.GROSS and other_id:
            raise ContractRefused("--with: a gross contract is of one partner with all others")
        if partner_id == other_id:
            raise ContractRefused("--with: a partner has no contract with itself")
        known = partner_names(self.connection)
        for option, name in (("--partner", partner_id), ("--with", other_id)):
            if name and name not in known:
                raise ContractRefused(f"{option} {name}: the coalition has no such partner")
        return ordered_pair(partner_id, other_id) if other_id else (partner_id, "")

    def _present(self, one: str, other: str, day: date) -> Contract | None:
        """The open-ended contract of these parties, which is the last of theirs."""
        own = [it for it in load.load_all_contracts(self.connection) if _parties_of(it) == (one, other)]
        later = [it for it in own if it.valid_from > day and it.valid_until is None]
        if later:
            raise ContractRefused(
                f"--from {day}: a contract is set from {later[0].valid_from} on; end it first"
            )
        ended = [it.valid_until for it in own if it.valid_until and it.valid_until >= max(day, it.valid_from)]
        if ended:
            raise ContractRefused(f"--from {day}: a contract holds until {max(ended)}; begin after it")
        return next((it for it in own if it.valid_until is None), None)

    def _begin(self, contract: Contract) -> None:
        person = self.actor.check(self.connection, Act.SET_CONTRACT)
        save.save_contract(self.connection, contract, person.name)
        self._record(contract, None, contract)

    def _end(self, contract: Contract, last_day: date) -> None:
        save.end_contract(self.connection, contract, last_day)
        ended = Contract(
            contract.partner_id, contract.counterparty_id, contract.kind, contract.valid_from, last_day
        )
        self._record(contract, contract, ended)

    def _record(self, contract: Contract, before: Contract | None, after: Contract) -> None:
        item = "/".join(filter(None, _parties_of(contract)))
        old, new = _content(before) if before else None, _content(after)
        self.actor.do(self.connection, Act.SET_CONTRACT, CONTRACT, item, "", old, new)


def _parties_of(contract: Contract) -> tuple[str, str]:
    return contract.partner_id, contract.counterparty_id


def _content(contract: Contract) -> dict[str, object]:
    days = {name: str(day) for name in ("valid_from", "valid_until") if (day := getattr(contract, name))}
    return asdict(contract) | {"valid_until": ""} | days
