"""Whether a window may be certified as far as partners' own records go, and what its certificate says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from settlement.core.break_types import Controls
from settlement.core.findings import ControlSet


@dataclass(frozen=True, slots=True)
class PartnerRecord:
    """The newest reconciliation of a partner's file with a window.

    Attributes:
        file_sha256: hex.
        superseded: a newer file took its file's place.
        stale: an earlier window of the partner was reconciled again after it.
    """

    partner_id: str
    file_sha256: str
    superseded: bool
    stale: bool
    controls: ControlSet


@dataclass(frozen=True, slots=True)
class Waiver:
    """Two people let a window pass without a partner's file."""

    partner_id: str
    proposed_by: str
    approved_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Records:
    """All of a window. `expected`: partners whose file is waited for; `loaded`: those whose file is there."""

    expected: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()
    reconciled: tuple[PartnerRecord, ...] = ()
    waivers: tuple[Waiver, ...] = ()


NO_RECORDS = Records()
"""Nobody's file is expected and none is there."""


def record_faults(records: Records) -> tuple[str, ...]:
    """What keeps a window from being certified, a sentence for each partner.

    A waiver excuses a file that is missing. One that is there has to be explained, waived or not.
    """
    excused = {waiver.partner_id for waiver in records.waivers} - set(records.loaded)
    by_partner = {record.partner_id: record for record in records.reconciled}
    concerned = sorted({*records.expected, *records.loaded} - excused)
    faults = ((partner_id, _fault(partner_id, records, by_partner)) for partner_id in concerned)
    return tuple(f"{partner_id}: {fault}" for partner_id, fault in faults if fault)


def _fault(partner_id: str, records: Records, by_partner: Mapping[str, PartnerRecord]) -> str:
    if partner_id not in records.loaded:
        return "its file is missing"
    record = by_partner.get(partner_id)
    if record is None or record.superseded:
        return "its file is not reconciled"
    if record.stale:
        return "an earlier window was reconciled again; reconcile this one again too"
    return "" if record.controls.explained else "its difference is not explained"


def records_content(records: Records) -> dict[str, object]:
    """What a certificate says of partners' records, as plain data."""
    return {
        "expected": list(records.expected),
        "loaded": list(records.loaded),
        "partners": [_record_content(record) for record in records.reconciled],
        "waivers": [asdict(waiver) for waiver in records.waivers],
    }


def _record_content(record: PartnerRecord) -> dict[str, object]:
    return {
        "partner_id": record.partner_id,
        "file_sha256": record.file_sha256,
        **{
            name: asdict(getattr(record.controls, name))
            for name in ("partner", "hub", "difference", "classified", "unexplained")
        },
    }


def records_from(content: Mapping[str, Any]) -> Records:
    """The records a certificate states. Raises KeyError, TypeError, ValueError for what is none."""
    return Records(
        expected=tuple(content["expected"]),
        loaded=tuple(content["loaded"]),
        reconciled=tuple(
            PartnerRecord(
                partner_id=one["partner_id"],
                file_sha256=one["file_sha256"],
                superseded=False,
                stale=False,
                controls=ControlSet(
                    Controls(**one["partner"]), Controls(**one["hub"]), Controls(**one["classified"])
                ),
            )
            for one in content["partners"]
        ),
        waivers=tuple(Waiver(**one) for one in content["waivers"]),
    )
