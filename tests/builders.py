"""Builders: name what a test is about and leave the rest to obvious defaults.

Defaults: the coalition's zone is Asia/Shanghai, it is noon on 1 January 2026, partners A, B and C each have one
card (version 1, in force since 2017, one point per 1.00, F 10,000, R 9,500, f 200 micros, all of F prefunded,
points never expire), and member M1 is linked to all three with wide consent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from hashlib import sha256
from typing import Any, Final
from zoneinfo import ZoneInfo

from exchange.core.book import Book, Known, Link, Terms, Wallet
from exchange.core.commands import Adjust, Asked, Burn, ChangeState, Earn, Merge, Unmerge
from exchange.core.decisions import Accepted, Decision, Refused, Rejected
from exchange.core.ids import OPERATOR
from exchange.core.lots import Lot, LotKey
from exchange.core.rates import NEVER, Cards, ExpiryKind, ExpiryPolicy, RateCard
from exchange.core.refusals import Refusal

ZONE: Final = ZoneInfo("Asia/Shanghai")
A, B, C = 1, 2, 3
M1, M2, M3 = 11, 12, 13
STRANGER: Final = 99
"""A member id that no wallet has."""

TERMS: Final = Terms(ZONE)
WIDE: Final = 1_000_000_000
"""A consent limit that stands in nobody's way."""


def at(text: str) -> datetime:
    """A moment from local wall time in the coalition's zone: `at("2026-01-01 12:00")`."""
    return datetime.fromisoformat(text).replace(tzinfo=ZONE).astimezone(UTC)


NOON: Final = at("2026-01-01 12:00")
MICROSECOND: Final = timedelta(microseconds=1)
NO_EXPIRY: Final = ExpiryPolicy(ExpiryKind.NEVER)


def days(amount: int) -> ExpiryPolicy:
    """Points are usable until this many days after the event's day."""
    return ExpiryPolicy(ExpiryKind.DAYS, amount)


def months(amount: int) -> ExpiryPolicy:
    """Points are usable until the end of the month this many months after the event's."""
    return ExpiryPolicy(ExpiryKind.MONTHS_TO_MONTH_END, amount)


def until(text: str) -> ExpiryPolicy:
    """Points are usable until this day."""
    return ExpiryPolicy(ExpiryKind.FIXED_DATE, fixed_date=date.fromisoformat(text))


def card(
    partner_id: int = A,
    version: int = 1,
    *,
    valid_from: str = "2017-01-01 00:00",
    earn_rate: Fraction = Fraction(1),
    face_value: int = 10_000,
    funding: int = 10_000,
    reimbursement: int = 9_500,
    issue_fee: int = 200,
    prefunded: int | None = None,
    expiry: ExpiryPolicy = NO_EXPIRY,
    breakage_issuer_share: Fraction = Fraction(0),
) -> RateCard:
    """An approved card. Prices in micros a point; all of F is prefunded unless `prefunded` says less."""
    return RateCard(
        partner_id,
        version,
        at(valid_from),
        earn_rate,
        face_value,
        funding,
        reimbursement,
        issue_fee,
        funding if prefunded is None else prefunded,
        expiry,
        breakage_issuer_share,
    )


def earn(
    request_id: str = "earn-1",
    *,
    points: int = 0,
    spend_minor: int = 0,
    partner_id: int = A,
    member_id: int = M1,
    event_time: datetime = NOON,
    reference: str | None = None,
    expiry_date: date | None = None,
) -> Earn:
    """An earn of 100 points unless told otherwise; its reference is its request id."""
    if not points and not spend_minor:
        points = 100
    command = Earn(
        partner_id,
        request_id,
        b"",
        member_id,
        event_time,
        "s-1",
        "t-1",
        reference or request_id,
        "",
        "",
        "",
        points,
        spend_minor,
        expiry_date,
    )
    return replace(command, fingerprint=fingerprint(command))


def burn(
    request_id: str = "burn-1",
    *,
    points: int = 100,
    partner_id: int = B,
    member_id: int = M1,
    event_time: datetime = NOON,
    reference: str | None = None,
) -> Burn:
    """A burn by consent; its reference is its request id."""
    command = Burn(
        partner_id,
        request_id,
        b"",
        member_id,
        event_time,
        "s-1",
        "t-1",
        reference or request_id,
        "",
        "",
        "",
        points,
    )
    return replace(command, fingerprint=fingerprint(command))


_MAY_BE_LEFT_OUT: Final[dict[str, dict[str, Any]]] = {
    "Earn": {"points": 0, "spend_minor": 0, "expiry_date": None},
    "Adjust": {"adjustment_id": 0},
    "ClawBackEarn": {"part": 0, "points": 0, "refunded_spend_minor": 0},
    "RefundBurn": {"part": 0},
    "ExchangeIn": {"expiry_date": None},
}


def asked(
    what: type[Any],
    request_id: str,
    *,
    partner_id: int | None = None,
    member_id: int = M1,
    event_time: datetime = NOON,
    terminal_id: str = "t-1",
    reference: str | None = None,
    **fields: Any,
) -> Any:
    """A command of any class: of A unless told otherwise, or of the operator if it is one of the operator's.

    Its reference is its request id.
    """
    if partner_id is None:
        partner_id = OPERATOR if what in (Adjust, ChangeState, Merge, Unmerge) else A
    common = (partner_id, request_id, b"", member_id, event_time, "s-1", terminal_id)
    said = {**_MAY_BE_LEFT_OUT.get(what.__name__, {}), **fields}
    command = what(*common, reference or request_id, "", "", "", **said)
    return replace(command, fingerprint=fingerprint(command))


def fingerprint(command: Asked) -> bytes:
    """Equal for commands with equal fields, as the wire's is."""
    return sha256(repr(replace(command, fingerprint=b"")).encode()).digest()


def lot(
    points: int = 100,
    *,
    issuer: RateCard | None = None,
    expiry_date: date = NEVER,
    member_id: int = M1,
) -> Lot:
    """A lot with open points, of A's default card unless told otherwise. `book` numbers the lots."""
    priced = issuer or card(A)
    return Lot(
        member_id,
        0,
        priced.partner_id,
        priced.version,
        expiry_date,
        priced.funding_micros,
        priced.prefunded_micros,
        issued_points=points,
        open_points=points,
    )


def book(
    *,
    cards: Sequence[RateCard] = (),
    lots: Iterable[Lot] = (),
    now: datetime = NOON,
    members: Iterable[int] = (M1,),
    consent: Mapping[tuple[int, int], tuple[int, int]] | tuple[int, int] = (WIDE, WIDE),
    known: Mapping[tuple[int, str], Known] | None = None,
    terms: Terms = TERMS,
) -> Book:
    """A book that holds everything: default cards for partners that `cards` leaves out, every member linked.

    `consent` is (points a burn, points a day) for all links, or only for the (member, partner) pairs it names:
    then the others have no link.
    """
    told = {each.partner_id for each in cards}
    every_card = [*cards, *(card(partner) for partner in (A, B, C) if partner not in told)]
    made = Book(terms, Cards(every_card), now, batch_id=7)
    for member in members:
        made.wallets[member] = Wallet(member)
    for number, each in enumerate(lots, start=1):
        wallet = made.wallets[each.member_id]
        each.lot_sequence = number
        wallet.lots[LotKey(each.member_id, each.issuer_id, each.rate_version, each.expiry_date)] = each
        wallet.lot_sequence = number
        wallet.open_points += each.open_points
        wallet.next_expiry_date = min(wallet.next_expiry_date, each.expiry_date)
    if isinstance(consent, tuple):
        limits = consent
        consent = {(member, partner): limits for member in made.wallets for partner in (A, B, C)}
    made.links = {pair: Link(*pair, *limits) for pair, limits in consent.items()}
    made.requests.update(known or {})
    return made


def accepted(decision: Decision | Refusal) -> Accepted:
    """The decision, which must be a yes."""
    assert isinstance(decision, Accepted), decision
    return decision


def refusal(decision: Decision | Refusal) -> Refusal:
    """The refusal, which must be one, kept or not."""
    if isinstance(decision, Refusal):
        return decision
    assert isinstance(decision, Refused | Rejected), decision
    return decision.refusal
