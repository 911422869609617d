"""What the hub holds of a member, as JSON: for the member who asks, through the operator or an attested partner."""

from __future__ import annotations

import json
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from exchange.core.ids import member_text
from exchange.registrar import Membership
from exchange.rpc.errors import error
from exchange.rpc.explaining import explain
from exchange.rpc.paging import split_page, to_token
from exchange.rpc.reading import from_entry, from_wallet, place_in
from exchange.store.reads.accounts import FullEntry
from exchange.store.reads.exports import Standing, read_export
from exchange.store.reads.snapshots import Snapshots
from tongdui.exchange.v1 import members_service_pb2 as messages

MAX_ENTRIES: Final = 1000


class Exporter:
    """Puts a member's export together, a page at a time."""

    def __init__(self, membership: Membership, snapshots: Snapshots) -> None:
        """Takes who opens contacts, and who reads the rest."""
        self._membership = membership
        self._snapshots = snapshots

    def export(self, member_id: int, reader_id: int | None, page_token: str) -> bytes:
        """One page, of what is a partner's where one reads. Raises MEMBER_UNKNOWN, ATTESTATION_NOT_ALLOWED."""
        before = place_in(page_token)
        found = self._snapshots.read(
            lambda it: read_export(it, member_id, reader_id, before, MAX_ENTRIES + 1)
        )
        if found is None:
            raise error("MEMBER_UNKNOWN")
        if not found.attests:
            raise error("ATTESTATION_NOT_ALLOWED")
        page: dict[str, Any] = {"member_id": member_text(member_id)}
        if found.standing is not None:
            page |= _standing(found.standing)
            page["contacts"] = self._contacts(member_id, reader_id)
        entries, last = split_page(found.entries, MAX_ENTRIES)
        page["entries"] = [
            _to_dict(row, explain(row, basis)) for row, basis in zip(entries, found.bases, strict=False)
        ]
        return messages.GetMemberExportResponse(
            json=json.dumps(page, ensure_ascii=False, indent=1).encode(),
            next_page_token=to_token(last.entry.batch_sequence, last.entry.entry_index) if last else "",
        ).SerializeToString()

    def _contacts(self, member_id: int, reader_id: int | None) -> list[dict[str, Any]]:
        """A partner is told the contacts that it proved or attested itself: never what another one knows."""
        return [
            {"kind": it.contact.kind, "value": it.contact.value, "attested": it.attested}
            for it in self._membership.read_contacts(member_id)
            if reader_id in (None, it.verified_by)
        ]


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        "links": [it._asdict() for it in standing.links],
        "consent_changes": [
            it._asdict() | {"change_time": it.change_time.isoformat()} for it in standing.changes
        ],
        "wallet": MessageToDict(from_wallet(standing.wallet), preserving_proto_field_name=True),
    }


def _to_dict(full: FullEntry, explanation: str) -> dict[str, Any]:
    made: dict[str, Any] = MessageToDict(from_entry(full, explanation), preserving_proto_field_name=True)
    return made
