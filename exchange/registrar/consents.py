"""Members' consent to burns at partners, and the history of it: who set which limits when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import ARRAY, BigInteger, Connection, any_, literal, select, text, update

from exchange.core.evidence import Call
from exchange.registrar.partners import Actor, find_partner
from exchange.registrar.writes import RegistrarRefusal
from exchange.store.tables import LINKS, WALLETS


class Consent(NamedTuple):
    """Points a burn, and all burns of a ledger day, may take at one partner; both 0 is no consent."""

    per_burn_limit_points: int = 0
    per_day_limit_points: int = 0

    @property
    def given(self) -> bool:
        """Whether it permits anything."""
        return self.per_burn_limit_points > 0


def set_consent(
    connection: Connection, call: Call, actor: Actor, partner_code: str, member_id: int, consent: Consent
) -> Consent:
    """Sets the limits of a link, behind the lock of the member's wallet that batches take too.

    Raises PARTNER_UNKNOWN, ATTESTATION_NOT_ALLOWED (a partner for itself), MEMBER_UNKNOWN.
    """
    partner = find_partner(connection, partner_code)
    if not actor.is_operator and not partner.attestation_allowed:
        raise RegistrarRefusal("ATTESTATION_NOT_ALLOWED")
    lock_wallets(connection, [member_id])
    columns = LINKS.c
    changed = connection.execute(
        update(LINKS)
        .where(columns.member_id == member_id, columns.partner_id == partner.partner_id, ~columns.unlinked)
        .values(**consent._asdict())
    )
    if not changed.rowcount:
        raise RegistrarRefusal("MEMBER_UNKNOWN")
    remember_consents(connection, call, partner.partner_id, {member_id: consent})
    return consent


_REMEMBER: Final = text(
    """
INSERT INTO exchange.consent_history
    (member_id, partner_id, per_burn_limit_points, per_day_limit_points, changed_by, key_id)
SELECT member_id, :partner_id, per_burn, per_day, :changed_by, :key_id
FROM unnest(CAST(:member_ids AS bigint[]), CAST(:per_burn AS bigint[]), CAST(:per_day AS bigint[]))
    AS new (member_id, per_burn, per_day)"""
)


def remember_consents(
    connection: Connection, call: Call, partner_id: int, consents: Mapping[int, Consent]
) -> None:
    """Adds to the history what a call set at a partner, by member."""
    values = {
        "partner_id": partner_id,
        "changed_by": call.partner_id,
        "key_id": call.key_id,
        "member_ids": list(consents),
        "per_burn": [it.per_burn_limit_points for it in consents.values()],
        "per_day": [it.per_day_limit_points for it in consents.values()],
    }
    connection.execute(_REMEMBER, values)


def lock_wallets(connection: Connection, member_ids: Sequence[int]) -> None:
    """Takes the lock that batches take, in the order in which they take it."""
    column = WALLETS.c.member_id
    connection.execute(
        select(column)
        .where(column == any_(literal(list(member_ids), ARRAY(BigInteger))))
        .order_by(column)
        .with_for_update(key_share=True)
    )
