"""Breaks that a bank's word on a payment makes: it says otherwise than the payment list."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, text

from settlement.core.break_types import BreakType, severity_of
from settlement.core.payments import Discrepancy, Payment, Report

_INSERT: Final = text(
    """
INSERT INTO settlement.breaks (partner_id, business_key, window_date, type, severity, state, detail, opened_date,
    opened_time, due_time, request_id, hub, partner, points_at_stake, amount_at_stake_micros,
    earned_points_difference, burned_points_difference, claimed_difference_micros, owed_difference_micros,
    seen_count, last_seen_date)
VALUES (:partner_id, :business_key, :window_date, :type, :severity, 'OPEN', :detail, :today, :moment, :due_time,
    '', CAST(:listed AS jsonb), CAST(:reported AS jsonb), 0, :at_stake_micros, 0, 0, 0, 0, 1, :today)
"""
)


def save_payment_break(
    connection: Connection,
    payment: Payment,
    report: Report,
    found: Discrepancy,
    at_stake_minor: int,
    unit_micros: int,
    moment: datetime,
    today: date,
) -> None:
    """Opens a break for what a report says otherwise. A report is kept only once.

    `moment` is when, by the ledger, and `today` the business day it is on; the due time counts from it.
    """
    listed = {
        "payment_id": payment.payment_id,
        "direction": payment.direction.value,
        "amount_minor": payment.amount_minor,
    }
    reported = {
        "state": report.reported.value,
        "amount_minor": report.amount_minor,
        "reference": report.reference,
    }
    at_stake_micros = at_stake_minor * unit_micros
    severity = severity_of(BreakType(found.value), at_stake_micros)
    connection.execute(
        _INSERT,
        {
            "partner_id": payment.party_id,
            "business_key": f"payment/{payment.payment_id}/{report.reported.value}/{report.reference}",
            "window_date": payment.window_date,
            "type": found.value,
            "severity": severity.label,
            "detail": f"the bank reports {report.reported.value} under {report.reference}",
            "due_time": moment + timedelta(hours=severity.due_hours),
            "listed": json.dumps(listed),
            "reported": json.dumps(reported),
            "at_stake_micros": at_stake_micros,
            "moment": moment,
            "today": today,
        },
    )
