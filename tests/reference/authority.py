"""On whose word a member's points are spent, and at which price."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.reference.journal import Journal, quote_of
from tests.reference.records import TOLERANCE, TRIES_THAT_LOCK, Answer, no


def objection_to_authority(journal: Journal, command: Any, now: datetime, wall: datetime) -> Answer | None:
    """A pay code or a consent, then the limits of a day. None where all is well."""
    if command.authority.pay_code:
        refused = _objection_to_code(journal, command, now, wall)
    else:
        refused = _objection_to_consent(journal, command, now)
    return refused or _objection_to_day(journal, command, now)


def priced(journal: Journal, command: Any, wall: datetime) -> tuple[Any, Answer | None]:
    """The card that prices a command, its quote's or the one in force, or why there is none."""
    quote = quote_of(command)
    if quote is None:
        card = journal.card_in_force(command.partner_id, command.event_time)
        return card, no("NO_RATE_CARD") if card is None else None
    if wall > quote.expire_time:
        return None, no("QUOTE_EXPIRED")
    if quote.quote_id in journal.used_quotes():
        return None, no("QUOTE_USED")
    return journal.card(command.partner_id, quote.rate_version), None


def _objection_to_code(journal: Journal, command: Any, now: datetime, wall: datetime) -> Answer | None:
    """Codes live by the wall clock: how long ago the event was says when the code was shown."""
    shown = wall - (now - command.event_time)
    terminal = (command.partner_id, command.store_id, command.terminal_id)
    if journal.wrong_tries(terminal) >= TRIES_THAT_LOCK:
        return no("TERMINAL_LOCKED")
    codes = [code for code in journal.pay_codes if code.digest == command.authority.pay_code]
    good = [
        code
        for code in codes
        if code.member_id == command.member_id
        and code.partner_id in (0, command.partner_id)
        and code.digest not in journal.used_codes()
        and wall <= code.expire_time
        and code.issue_time - TOLERANCE <= shown <= code.expire_time + TOLERANCE
    ]
    if not good:
        return no("PAY_CODE_INVALID")
    if command.points > good[0].max_points:
        return no("PAY_CODE_LIMIT_EXCEEDED", limit_points=str(good[0].max_points))
    return None


def _objection_to_consent(journal: Journal, command: Any, now: datetime) -> Answer | None:
    limits = journal.limits(command.member_id, command.partner_id)
    assert limits is not None
    per_burn, per_day = limits
    if per_burn == 0 or per_day == 0:
        return no("CONSENT_REQUIRED")
    if command.points > per_burn:
        return no("CONSENT_LIMIT_EXCEEDED", limit_points=str(per_burn))
    today = journal.spent_on(journal.day(now), member_id=command.member_id, partner_id=command.partner_id)
    spent = sum(posting.points for posting in today if not posting.command.authority.pay_code)
    if spent + command.points > per_day:
        return no("CONSENT_DAILY_LIMIT_EXCEEDED", limit_points=str(per_day), burned_points=str(spent))
    return None


def _objection_to_day(journal: Journal, command: Any, now: datetime) -> Answer | None:
    """Burns and points a day of the member, then of the terminal. A limit of 0 is none."""
    terms = journal.terms
    terminal = {name: getattr(command, name) for name in ("partner_id", "store_id", "terminal_id")}
    for reason, burns, points, fields in (
        (
            "MEMBER_DAILY_LIMIT_EXCEEDED",
            terms.member_daily_burns,
            terms.member_daily_points,
            {"member_id": command.member_id},
        ),
        (
            "TERMINAL_DAILY_LIMIT_EXCEEDED",
            terms.terminal_daily_burns,
            terms.terminal_daily_points,
            terminal,
        ),
    ):
        today = journal.spent_on(journal.day(now), **fields)
        if 0 < burns < len(today) + 1:
            return no(reason, limit_burns=str(burns))
        spent = sum(posting.points for posting in today)
        if 0 < points < spent + command.points:
            return no(reason, limit_points=str(points), burned_points=str(spent))
    return None
