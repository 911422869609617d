"""Who may spend a member's points: whoever has a pay code, or the member's consent, within the day's limits."""

from __future__ import annotations

from typing import Final

from exchange.core.accounts import Link, PayCode, Terminal, Wallet
from exchange.core.book import FUTURE_TOLERANCE, Book, Terms
from exchange.core.commands import AuthorizeBurn, Burn, ExchangeOut, Transfer
from exchange.core.decide.admission import Admitted
from exchange.core.needs import Needs
from exchange.core.refusals import Reason, Refusal

Spending = AuthorizeBurn | Burn | ExchangeOut | Transfer
"""What needs a member's authority."""

WRONG_TRIES: Final = 5
"""Invalid pay codes in a row after which a terminal is locked."""


def authority_needs(command: Spending, terms: Terms, needs: Needs) -> None:
    """The pay code, if there is one, and the terminal where anything is counted for it."""
    code = command.authority.pay_code
    if code:
        needs.pay_codes.add(code)
    if code or _counts_terminals(terms):
        needs.terminals.add((command.partner_id, command.store_id, command.terminal_id))


def check_authority(command: Spending, admitted: Admitted, book: Book) -> Refusal | None:
    """The code or the consent first, then the limits of the ledger day."""
    shown = command.authority.pay_code
    refusal = _check_code(command, book) if shown else _check_consent(command, admitted[1], book)
    if refusal is None and book.has_daily_limits:
        return _check_days(command, admitted[0], book)
    return refusal


def use_authority(command: Spending, admitted: Admitted, book: Book) -> None:
    """An accepted command uses its code up, or some of the consent, and counts for the day."""
    if command.authority.pay_code:
        code = book.pay_codes[command.authority.pay_code]
        code.used = code.changed = True
        till = _terminal(command, book)
        till.changed = till.changed or till.wrong_tries > 0
        till.wrong_tries = 0
    else:
        link = admitted[1]
        link.burned_points = link.burned_on(book.today) + command.points
        link.burned_date = book.today
        link.changed = True
    if book.has_daily_limits:
        _count_day(command, admitted[0], book)


def _check_code(command: Spending, book: Book) -> Refusal | None:
    till = _terminal(command, book)
    if till.locked:
        return Refusal(Reason.TERMINAL_LOCKED)
    code = book.pay_codes.get(command.authority.pay_code)
    if code is None or not _is_good(code, command, book):
        till.wrong_tries += 1
        till.locked = till.wrong_tries >= WRONG_TRIES
        till.changed = True
        return Refusal(Reason.PAY_CODE_INVALID)
    if command.points > code.max_points:
        return Refusal(Reason.PAY_CODE_LIMIT_EXCEEDED, (("limit_points", str(code.max_points)),))
    return None


def _is_good(code: PayCode, command: Spending, book: Book) -> bool:
    """Whether a code was this member's to show here, and was shown within its life.

    It lives by the wall clock, and an event has its time by the ledger's, which an operator may have set to
    another year. So the event's age says when the code was shown. Where both clocks are the system's, that is
    the event's time.
    """
    shown_time = book.wall_time - (book.decided_time - command.event_time)
    return (
        not code.used
        and code.member_id == command.member_id
        and code.partner_id in (0, command.partner_id)
        and book.wall_time <= code.expire_time
        and code.issue_time - FUTURE_TOLERANCE <= shown_time <= code.expire_time + FUTURE_TOLERANCE
    )


def _check_consent(command: Spending, link: Link, book: Book) -> Refusal | None:
    if link.per_burn_limit_points == 0 or link.per_day_limit_points == 0:
        return Refusal(Reason.CONSENT_REQUIRED)
    if command.points > link.per_burn_limit_points:
        limit = (("limit_points", str(link.per_burn_limit_points)),)
        return Refusal(Reason.CONSENT_LIMIT_EXCEEDED, limit)
    burned = link.burned_on(book.today)
    if burned + command.points > link.per_day_limit_points:
        figures = (("limit_points", str(link.per_day_limit_points)), ("burned_points", str(burned)))
        return Refusal(Reason.CONSENT_DAILY_LIMIT_EXCEEDED, figures)
    return None


def _check_days(command: Spending, wallet: Wallet, book: Book) -> Refusal | None:
    """What the member, and then the terminal, may spend on one ledger day."""
    terms, points = book.terms, command.points
    if _counts_members(terms):
        limits = (terms.member_daily_burns, terms.member_daily_points)
        reason = Reason.MEMBER_DAILY_LIMIT_EXCEEDED
        refusal = _over_day(points, wallet.spent_on(book.today), limits, reason)
        if refusal is not None:
            return refusal
    if _counts_terminals(terms):
        limits = (terms.terminal_daily_burns, terms.terminal_daily_points)
        reason = Reason.TERMINAL_DAILY_LIMIT_EXCEEDED
        return _over_day(points, _terminal(command, book).spent_on(book.today), limits, reason)
    return None


def _over_day(wanted: int, spent: tuple[int, int], limits: tuple[int, int], reason: Reason) -> Refusal | None:
    """Burns and points of the day so far against their limits; a limit of 0 is none."""
    (count, points), (limit_burns, limit_points) = spent, limits
    if 0 < limit_burns <= count:
        return Refusal(reason, (("limit_burns", str(limit_burns)),))
    if 0 < limit_points < points + wanted:
        figures = (("limit_points", str(limit_points)), ("burned_points", str(points)))
        return Refusal(reason, figures)
    return None


def _count_day(command: Spending, wallet: Wallet, book: Book) -> None:
    if _counts_members(book.terms):
        _count(wallet, command.points, book)
    if _counts_terminals(book.terms):
        _count(_terminal(command, book), command.points, book)


def _count(spender: Wallet | Terminal, points: int, book: Book) -> None:
    spender.begin_day(book.today)
    spender.spent_count += 1
    spender.spent_points += points
    spender.changed = True


def _counts_members(terms: Terms) -> bool:
    return bool(terms.member_daily_burns or terms.member_daily_points)


def _counts_terminals(terms: Terms) -> bool:
    return bool(terms.terminal_daily_burns or terms.terminal_daily_points)


def _terminal(command: Spending, book: Book) -> Terminal:
    """The till that asks. One without a name counts as one till: leaving the name out frees nobody."""
    key = (command.partner_id, command.store_id, command.terminal_id)
    till = book.terminals.get(key)
    if till is None:
        till = book.terminals[key] = Terminal(*key, created=True)
    return till
