"""A preview of a rate card for the wire."""

from __future__ import annotations

from typing import Final

from google.rpc import status_pb2

from exchange.registrar import Impact, Preview, RegistrarRefusal
from exchange.rpc.card_messages import from_card
from exchange.rpc.errors import status
from exchange.rpc.translate import to_timestamp
from exchange.store.reads.outstanding import Outstanding
from tongdui.exchange.v1 import rate_cards_service_pb2 as messages

MOST: Final = 2**63 - 1
"""What an amount that the wire can't hold is given as."""


def from_preview(preview: Preview, *, for_staff: bool) -> messages.PreviewRateCardResponse:
    """What a card would change, as the operator's people or the partner itself may see it."""
    outstanding = [_from_outstanding(it) for it in preview.outstanding]
    return messages.PreviewRateCardResponse(
        rate_card=from_card(preview.card),
        replaced_version=preview.replaced_version,
        outstanding=outstanding,
        outstanding_points=_capped(sum(it.open_points + it.held_points for it in outstanding)),
        liability_micros=_capped(sum(it.liability_micros for it in outstanding)),
        spendable_points=_capped(preview.spendable.points),
        before=None if preview.before is None else _from_impact(preview.before),
        after=_from_impact(preview.after),
        objections=[_from_objection(it, for_staff) for it in preview.objections],
        ledger_time=to_timestamp(preview.ledger_time),
    )


def _capped(amount: int) -> int:
    return min(amount, MOST)


def _from_outstanding(of_version: Outstanding) -> messages.OutstandingPoints:
    points = of_version.open_points + of_version.held_points
    return messages.OutstandingPoints(
        version=of_version.rate_version,
        open_points=_capped(of_version.open_points),
        held_points=_capped(of_version.held_points),
        funding_micros=of_version.funding_micros,
        liability_micros=_capped(points * of_version.funding_micros),
        prefunded_micros=_capped(points * of_version.prefunded_micros),
    )


def _from_impact(impact: Impact) -> messages.RateCardImpact:
    return messages.RateCardImpact(**{name: _capped(micros) for name, micros in impact._asdict().items()})


def _from_objection(objection: RegistrarRefusal, for_staff: bool) -> status_pb2.Status:
    # Only this one names another partner's card.
    is_told = for_staff or objection.reason != "RATE_CARD_UNFUNDED"
    return status(objection.reason, metadata=objection.metadata if is_told else None)
