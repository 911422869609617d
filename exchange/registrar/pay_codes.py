"""Pay codes: a member's one-time authority to spend, shown at a till. The check at a burn is the core's."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select

from exchange.registrar.envelope import pay_code_digest
from exchange.registrar.partners import Actor, find_partner
from exchange.registrar.writes import RegistrarRefusal
from exchange.store.tables import LINKS, PARTNERS, PAY_CODES, WALLETS

PAY_CODE_SECONDS: Final = 60
"""By the database's clock, whatever the ledger clock says."""

ANY_PARTNER: Final = 0

_KEPT: Final = timedelta(hours=1)
"""How long a code is kept past its time; then it is as unknown as one that never was."""


class NewPayCode(NamedTuple):
    """A code to issue: for whom, at most how many points, and at which partner; an empty code is any."""

    member_id: int
    max_points: int
    partner_code: str


class IssuedPayCode(NamedTuple):
    """A code's life and where it can be used; the digits themselves are stored nowhere."""

    issue_time: datetime
    expire_time: datetime


def issue_pay_code(connection: Connection, actor: Actor, new: NewPayCode, code: str) -> IssuedPayCode:
    """Makes a code valid for 60 seconds. Raises ATTESTATION_NOT_ALLOWED, MEMBER_UNKNOWN, PARTNER_UNKNOWN.

    Asked for by an operator, or by a partner that the member is linked to and that may attest for members.
    """
    _check_issuer(connection, actor, new.member_id)
    partner_id = ANY_PARTNER
    if new.partner_code:
        partner_id = find_partner(connection, new.partner_code).partner_id
    columns = PAY_CODES.c
    connection.execute(delete(PAY_CODES).where(columns.expire_time < func.clock_timestamp() - _KEPT))
    now = connection.execute(select(func.clock_timestamp())).scalar_one()
    issued = IssuedPayCode(now, now + timedelta(seconds=PAY_CODE_SECONDS))
    connection.execute(
        insert(PAY_CODES).values(
            digest=pay_code_digest(code),
            member_id=new.member_id,
            partner_id=partner_id,
            max_points=new.max_points,
            used=False,
            **issued._asdict(),
        )
    )
    return issued


def _check_issuer(connection: Connection, actor: Actor, member_id: int) -> None:
    if actor.is_operator:
        found = select(WALLETS.c.member_id).where(WALLETS.c.member_id == member_id)
    else:
        allowed = select(PARTNERS.c.attestation_allowed).where(PARTNERS.c.partner_id == actor.partner_id)
        if not connection.execute(allowed).scalar_one():
            raise RegistrarRefusal("ATTESTATION_NOT_ALLOWED")
        links = LINKS.c
        found = select(links.member_id).where(
            links.member_id == member_id, links.partner_id == actor.partner_id, ~links.unlinked
        )
    if connection.execute(found).first() is None:
        raise RegistrarRefusal("MEMBER_UNKNOWN")
