"""Who may do what, and who did what, when and why; and whether the log of it is whole."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from settlement.command_line import desk_screen as view
from settlement.command_line.session import Misconfigured, Session, open_snapshot
from settlement.core.deed import FORMAT, SETTLEMENT, AuditRow, text_content
from settlement.core.roles import Act, known_roles, may
from settlement.rpc.keys import load_private_key, verifies
from settlement.store.audit import Chain, check_chain, read_audit
from settlement.store.feed import read_ledger
from settlement.store.keys import RegisteredKey, read_key, read_staff
from tongdui.signing import SignatureMalformed, key_id, parse_request

_HASH_DIGITS: Final = 64


class AuditBroken(Exception):
    """The audit log is not what was written; `str()` names the first row that shows it."""


def people(session: Session, arguments: argparse.Namespace) -> None:  # noqa: ARG001 - as every command
    """Shows the operator's people, their keys, and what each may do."""
    with open_snapshot(session.settings) as connection:
        staff = read_staff(connection)
    contents = [_key_content(key) for key in staff]
    session.show({"people": contents}, lambda: view.people_view(contents))


def _key_content(key: RegisteredKey) -> dict[str, object]:
    roles = known_roles(key.roles)
    return {
        "name": key.holder,
        "key_id": key.key_id,
        "roles": sorted(role.value for role in roles),
        "state": key.state,
        "valid_from": key.valid_from.isoformat(),
        "valid_until": key.valid_until.isoformat(),
        "may": [act.label for act in Act if may(roles, act)],
    }


def audit(session: Session, arguments: argparse.Namespace) -> None:
    """Shows the audit log, or checks it."""
    if arguments.known and not arguments.verify:
        raise Misconfigured("--known goes with --verify")
    if arguments.verify:
        _verify(session, arguments.known)
        return
    kind, separator, item = (arguments.item or "").partition("/")
    if arguments.item and not (kind and separator and item):
        raise Misconfigured("--item: expected KIND/ID, such as break/7")
    with open_snapshot(session.settings) as connection:
        rows = read_audit(
            connection,
            item_kind=kind or None,
            item_id=item or None,
            person=arguments.person,
            day=arguments.date,
            time_zone=read_ledger(connection).time_zone,
            limit=arguments.limit,
        )
    session.show({"audit": [view.audit_content(row) for row in rows]}, lambda: view.audit_view(rows))


def _verify(session: Session, known: str | None) -> None:
    own = session.settings.get("key_file")
    own_id = load_private_key(Path(own)).key_id if own else None
    wanted = _hash(known) if known else None
    seen: list[bytes] = []
    with open_snapshot(session.settings) as connection:
        signature_fault = _signatures(connection, own_id)

        def fault(row: AuditRow) -> str:
            if row.hash == wanted:
                seen.append(row.hash)
            return signature_fault(row)

        chain = check_chain(connection, fault)
    _tell(session, chain)
    if wanted and not seen:
        raise AuditBroken(f"the log does not contain {known}: what led to it was removed or changed")


def _hash(text: str) -> bytes:
    try:
        wanted = bytes.fromhex(text)
    except ValueError:
        wanted = b""
    if len(wanted) * 2 != _HASH_DIGITS:
        raise Misconfigured(f"--known: expected {_HASH_DIGITS} hexadecimal digits")
    return wanted


def _tell(session: Session, chain: Chain) -> None:
    content = {"row_count": chain.row_count, "head": chain.head.hex()}
    if chain.broken:
        content |= {"broken_audit_id": chain.broken.audit_id, "fault": chain.broken.fault}
    whole = f"{chain.row_count:,} rows hold; the last one's hash is\n{chain.head.hex()}"
    session.show(content, lambda: whole)
    if chain.broken:
        raise AuditBroken(f"row {chain.broken.audit_id} of the audit log: {chain.broken.fault}")


def _signatures(connection: Connection, own_id: str | None) -> Callable[[AuditRow], str]:
    """What is wrong with a row's signature, or nothing. Keys are read once each."""
    known: dict[str, RegisteredKey | None] = {}
    audience = read_ledger(connection).audience

    def fault(row: AuditRow) -> str:
        if not row.signature:
            return ""  # settlement without a key at hand; a constraint allows it to nobody else
        if (text_content(row.text) or {}).get("audience") != audience:
            return "it was signed for another ledger"
        if row.key_id not in known:
            known[row.key_id] = read_key(connection, row.key_id)
        return _signature_fault(row, known[row.key_id], own_id)

    return fault


def _signature_fault(row: AuditRow, key: RegisteredKey | None, own_id: str | None) -> str:
    said = text_content(row.text) or {}
    try:
        public_key = _octets(str(said.get("public_key", "")))
        owner = row.key_id.rpartition(".")[0]
        if key_id(owner, public_key) != row.key_id:
            return "its public key is not that of its key id"
        call = said.get("call")
        message = _call_text(call) if call else FORMAT + row.text
    except (SignatureMalformed, ValueError, KeyError, TypeError):
        return "its public key or call cannot be read"
    if not verifies(public_key, row.signature, message):
        return "its signature does not verify"
    if row.person == SETTLEMENT:
        return "" if own_id in (None, row.key_id) or key else "it is signed by a key that is not settlement's"
    if key is None:
        return "the hub knows no such key"
    return "" if (key.holder or key.owner) == row.person else f"the key is {key.holder or key.owner}'s"


def _call_text(call: Mapping[str, object]) -> bytes:
    """The text that a partner's signed call is over."""
    metadata = call["metadata"]
    if not isinstance(metadata, dict):
        raise TypeError("the entries of a call's signature have names")
    return parse_request(list(metadata.items())).base(str(call["path"]))


def _octets(text: str) -> bytes:
    """The bytes of base64url without padding."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
