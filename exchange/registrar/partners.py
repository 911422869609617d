"""Partners, and the registry lock that every change of partners, keys and cards takes first."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, insert, select, update

from exchange.core.ids import OPERATOR
from exchange.registrar.writes import RegistrarRefusal
from exchange.store.reads.pages import Partner
from exchange.store.tables import PARTNER_IDS, PARTNERS, REGISTRY


class Actor(NamedTuple):
    """Who asks: the owner of the key and its integer, and the person, for the rule of two people."""

    partner_id: int
    owner: str
    person: str

    @property
    def is_operator(self) -> bool:
        """Whether it is one of the operator's people."""
        return self.partner_id == OPERATOR


def folded(name: str) -> str:
    """A person's name, printable ASCII, without what people spell in several ways: capitals and runs of blanks."""
    return " ".join(name.casefold().split())


def is_same_person(first: str, second: str) -> bool:
    """Whether two names are one person's, for the rule of two people."""
    return folded(first) == folded(second)


class NewPartner(NamedTuple):
    """A partner to create; the code is well formed and not reserved."""

    code: str
    display_name: str
    attestation_allowed: bool


def lock_registry(connection: Connection) -> None:
    """Makes changes of partners, keys and cards wait for one another."""
    connection.execute(select(REGISTRY.c.version).with_for_update())


def change_registry(connection: Connection) -> None:
    """Locks the registry and raises its version, which has every hub read partners, active keys and cards again."""
    connection.execute(update(REGISTRY).values(version=REGISTRY.c.version + 1))


def find_partner(connection: Connection, code: str) -> Partner:
    """A partner by its code; the reserved parties are none. Raises PARTNER_UNKNOWN."""
    row = connection.execute(
        select(PARTNERS).where(PARTNERS.c.code == code, PARTNERS.c.partner_id > 0)
    ).first()
    if row is None:
        raise RegistrarRefusal("PARTNER_UNKNOWN")
    return Partner._make(row)


def create_partner(connection: Connection, new: NewPartner) -> Partner:
    """Creates a partner. Raises PARTNER_EXISTS."""
    change_registry(connection)
    if connection.execute(select(PARTNERS.c.code).where(PARTNERS.c.code == new.code)).first():
        raise RegistrarRefusal("PARTNER_EXISTS")
    row = connection.execute(
        insert(PARTNERS).values(partner_id=PARTNER_IDS.next_value(), **new._asdict()).returning(*PARTNERS.c)
    ).one()
    return Partner._make(row)
