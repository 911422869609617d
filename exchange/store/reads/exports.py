"""What the ledger holds of a member, read at one moment."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection

from exchange.store.reads.accounts import EntryFilter, FullEntry, Place, is_member, list_entries
from exchange.store.reads.explanations import Basis, read_bases
from exchange.store.reads.members import (
    ConsentChange,
    MemberLink,
    list_consent_changes,
    list_member_links,
    may_attest,
)
from exchange.store.reads.wallets import WalletState, read_wallet

MAX_CHANGES: Final = 10_000
"""Of consents; more than one a day for a lifetime is nobody's."""


class Standing(NamedTuple):
    """What comes before the entries."""

    links: list[MemberLink]
    changes: list[ConsentChange]
    wallet: WalletState


class MemberExport(NamedTuple):
    """A page of an export; `standing` on the first one only. `attests` says whether the reader may have it."""

    attests: bool
    standing: Standing | None
    entries: list[FullEntry]
    bases: list[Basis]


def read_export(
    connection: Connection, member_id: int, reader_id: int | None, before: Place | None, limit: int
) -> MemberExport | None:
    """A page of what is a partner's where one reads, or None where `is_member` would say no."""
    if not is_member(connection, member_id, reader_id):
        return None
    if reader_id is not None and not may_attest(connection, reader_id):
        return MemberExport(attests=False, standing=None, entries=[], bases=[])
    standing = None if before is not None else _read_standing(connection, member_id, reader_id)
    entries = list_entries(connection, EntryFilter(reader_id, member_id), before, limit)
    return MemberExport(True, standing, entries, read_bases(connection, entries))


def _read_standing(connection: Connection, member_id: int, reader_id: int | None) -> Standing:
    links = list_member_links(connection, member_id, reader_id)
    code = links[0].partner_code if reader_id is not None else ""
    changes = list_consent_changes(connection, member_id, code, None, MAX_CHANGES)
    wallet = read_wallet(connection, member_id, reader_id)
    assert wallet is not None, "is_member said that there is one"
    return Standing(links, changes, wallet)
