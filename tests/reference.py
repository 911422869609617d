"""A slow, obvious ledger to compare the real one with.

Written from the rules (docs/ledger.md), not from the core, and shares no code with it: commands and rate
cards are only looked at, field by field. It keeps one thing, the journal, and finds every figure by reading
all of it from the beginning. It takes one command at a time. Whatever it answers, the core must answer, and
the other way round.

Answers are dicts that compare equal when they say the same. An entry goes by the name of its decision,
(partner, request id), which no batching and no sweep changes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Any, NamedTuple

HUB = 0
POOL = -1
OPERATOR = -2
LAST_DAY_OF_ALL = date(9999, 12, 31)
MOST_POINTS = 1_000_000_000

Answer = dict[str, Any]


class Lot(NamedTuple):
    """A lot is only a name; what is in it is in the journal."""

    member: int
    sequence: int
    issuer: int
    version: int
    last_day: date


class Move(NamedTuple):
    """Points that left one account of a lot and entered another."""

    lot: Lot
    source: str
    target: str
    points: int


class Payment(NamedTuple):
    """Micros that one party owes another."""

    payer: int
    payer_component: str
    payee: int
    payee_component: str
    micros: int


class Posting(NamedTuple):
    """One entry of the journal."""

    name: tuple[int, str]
    kind: str
    member: int
    reference: str
    ledger_day: date
    points: int
    version: int
    moves: tuple[Move, ...] = ()
    payments: tuple[Payment, ...] = ()


class ReferenceLedger:
    """`submit(command, now)` for each command in turn, then compare what it knows."""

    def __init__(
        self,
        cards: Iterable[Any],
        members: Iterable[int],
        consent: Mapping[tuple[int, int], tuple[int, int]],
        zone: tzinfo,
        late_limit: timedelta = timedelta(days=7),
        minor_per_major: int = 100,
    ) -> None:
        """`consent` has a (points a burn, points a day) for each linked (member, partner), zeros for none."""
        self.cards = list(cards)
        self.members = set(members)
        self.consent = dict(consent)
        self.zone = zone
        self.late_limit = late_limit
        self.minor_per_major = minor_per_major
        self.lots: list[Lot] = []
        self.journal: list[Posting] = []
        self.kept: list[tuple[int, str, bytes, Answer]] = []

    # One command, one answer

    def submit(self, command: Any, now: datetime) -> tuple[Answer, bool]:
        """The answer, and whether it was given before."""
        if command.kind == "wake":
            before = len(self.journal)
            self._post_what_is_due(command.member_id, now)
            return {"verdict": "woken", "entries": len(self.journal) - before}, False
        for partner, request_id, fingerprint, answer in self.kept:
            if (partner, request_id) == (command.partner_id, command.request_id):
                if fingerprint == command.fingerprint:
                    return answer, True
                return _no("REQUEST_ID_REUSED", kept=False), False
        self._post_what_is_due(command.member_id, now)
        answer = self._decide(command, now)
        if answer["verdict"] != "rejected":
            self.kept.append((command.partner_id, command.request_id, command.fingerprint, answer))
        return answer, False

    def _decide(self, command: Any, now: datetime) -> Answer:
        refused = self._first_objection(command, now)
        if refused is not None:
            return refused
        rules = {"earn": self._earn, "burn": self._burn}
        return rules[command.kind](command, now)

    def _first_objection(self, command: Any, now: datetime) -> Answer | None:
        """What every command of a partner must pass, in the order of docs/ledger.md."""
        if command.event_time > now + timedelta(seconds=60):
            return _no("EVENT_IN_FUTURE", kept=False)
        linked = (command.member_id, command.partner_id) in self.consent
        if command.member_id not in self.members or not linked:
            return _no("MEMBER_UNKNOWN")
        if command.event_time < now - self.late_limit:
            return _no("EVENT_TOO_OLD")
        for posting in self.journal:
            taken = (posting.name[0], posting.kind, posting.reference)
            if taken == (command.partner_id, command.kind, command.reference):
                return _no("DUPLICATE_REFERENCE", entry_id=posting.name)
        return None

    # The rules, one command each

    def _earn(self, command: Any, now: datetime) -> Answer:
        card = self._card_in_force(command.partner_id, command.event_time)
        if card is None:
            return _no("NO_RATE_CARD")
        points = command.points
        if points == 0:
            spend = Fraction(command.spend_minor, self.minor_per_major)
            points = math.floor(spend * card.earn_rate)
        if points == 0:
            return _no("NOTHING_TO_EARN")
        if points > MOST_POINTS:
            return _no("POINTS_OVER_LIMIT", limit_points=str(MOST_POINTS))

        last_day = _last_day(card.expiry_policy, self._day(command.event_time))
        if command.expiry_date is not None:
            last_day = min(last_day, command.expiry_date)
        lot = self._lot(command.member_id, card, last_day)
        payments = [
            Payment(lot.issuer, "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", points * card.prefunded_micros),
            Payment(lot.issuer, "ISSUE_FEE", OPERATOR, "ISSUE_FEE", points * card.issue_fee_micros),
        ]
        moves, released = self._arrive(lot, "issued", points, now)
        self._post(self._posting(command, now, points, card.version), moves, payments + released)
        return {
            "verdict": "accepted",
            "entry": (command.partner_id, command.request_id),
            "points": points,
            "available_points": self.available(command.member_id),
            "rate_version": card.version,
            "expiry_date": last_day,
            "value_micros": 0,
            "reimbursement_micros": 0,
        }

    def _burn(self, command: Any, now: datetime) -> Answer:
        per_burn, per_day = self.consent[command.member_id, command.partner_id]
        if per_burn == 0 or per_day == 0:
            return _no("CONSENT_REQUIRED")
        if command.points > per_burn:
            return _no("CONSENT_LIMIT_EXCEEDED", limit_points=str(per_burn))
        today = self._burned_on(command.member_id, command.partner_id, self._day(now))
        if today + command.points > per_day:
            return _no("CONSENT_DAILY_LIMIT_EXCEEDED", limit_points=str(per_day), burned_points=str(today))
        card = self._card_in_force(command.partner_id, command.event_time)
        if card is None:
            return _no("NO_RATE_CARD")
        available = self.available(command.member_id)
        if command.points > available:
            return _no("INSUFFICIENT_POINTS", available_points=str(available))

        moves = self._take_open(command.member_id, command.points)
        payments = [payment for move in moves for payment in self._burn_payments(move, card)]
        self._post(self._posting(command, now, command.points, card.version), moves, payments)
        received = [
            payment for payment in payments if payment.payee == command.partner_id and payment.micros > 0
        ]
        return {
            "verdict": "accepted",
            "entry": (command.partner_id, command.request_id),
            "points": command.points,
            "available_points": self.available(command.member_id),
            "rate_version": card.version,
            "expiry_date": None,
            "value_micros": command.points * card.face_value_micros,
            "reimbursement_micros": sum(payment.micros for payment in received),
        }

    def _post_what_is_due(self, member: int, now: datetime) -> None:
        """Every lot past its day gives up its open points, each as an entry of the hub's own."""
        for lot in self._open_lots(member):
            if lot.last_day < self._day(now):
                points = self.balances(member)[lot, "open"]
                request_id = f"expire:{_member_text(member)}.{lot.sequence}:{lot.last_day.isoformat()}"
                posting = Posting(
                    (HUB, request_id), "expire", member, request_id, self._day(now), points, version=0
                )
                self._post(posting, [Move(lot, "open", "expired", points)], self._release(lot, points))

    # Parts of rules

    def _arrive(self, lot: Lot, source: str, points: int, now: datetime) -> tuple[list[Move], list[Payment]]:
        """Points that arrive or return: to their own row; then, if their day has passed, they expire.

        Between the two come the surviving member of a merge and the member's deficits, oldest first: commands
        that this ledger does not have yet.
        """
        moves = [Move(lot, source, "open", points)]
        if lot.last_day >= self._day(now):
            return moves, []
        return [*moves, Move(lot, "open", "expired", points)], self._release(lot, points)

    def _take_open(self, member: int, wanted: int) -> list[Move]:
        moves = []
        for lot in self._open_lots(member):
            taken = min(wanted, self.balances(member)[lot, "open"])
            if taken:
                moves.append(Move(lot, "open", "burned", taken))
                wanted -= taken
        assert wanted == 0
        return moves

    def _burn_payments(self, move: Move, redeemer: Any) -> list[Payment]:
        """What a leg moves: each payer gives its part of R to the redeemer, and the rest to the operator."""
        card = self._card_of(move.lot)
        issuer = move.lot.issuer
        if issuer == redeemer.partner_id:
            held = move.points * card.prefunded_micros
            return [Payment(POOL, "BURN_FUNDING", issuer, "BURN_REIMBURSE", held)]
        prefunded = Fraction(card.prefunded_micros, card.funding_micros)
        paid_in = {POOL: card.prefunded_micros, issuer: card.funding_micros - card.prefunded_micros}
        from_pool = math.floor(redeemer.reimbursement_micros * prefunded)
        gives = {POOL: from_pool, issuer: redeemer.reimbursement_micros - from_pool}
        payments = []
        for payer in (POOL, issuer):
            reimbursed = move.points * gives[payer]
            spread = move.points * (paid_in[payer] - gives[payer])
            payments.append(Payment(payer, "BURN_FUNDING", redeemer.partner_id, "BURN_REIMBURSE", reimbursed))
            payments.append(Payment(payer, "BURN_FUNDING", OPERATOR, "SPREAD", spread))
        return payments

    def _release(self, lot: Lot, points: int) -> list[Payment]:
        """What the pool held for points that expire: the issuer's share, floored per point, and the rest."""
        card = self._card_of(lot)
        to_issuer = math.floor(card.prefunded_micros * card.breakage_issuer_share)
        to_operator = card.prefunded_micros - to_issuer
        return [
            Payment(POOL, "BREAKAGE_SHARE", lot.issuer, "BREAKAGE_SHARE", points * to_issuer),
            Payment(POOL, "BREAKAGE_SHARE", OPERATOR, "BREAKAGE_SHARE", points * to_operator),
        ]

    def _lot(self, member: int, card: Any, last_day: date) -> Lot:
        """The one row for ever of (member, issuer, version, expiry day)."""
        for lot in self.lots:
            if (lot.member, lot.issuer, lot.version, lot.last_day) == (
                member,
                card.partner_id,
                card.version,
                last_day,
            ):
                return lot
        sequence = 1 + sum(lot.member == member for lot in self.lots)
        self.lots.append(Lot(member, sequence, card.partner_id, card.version, last_day))
        return self.lots[-1]

    def _post(self, posting: Posting, moves: list[Move], payments: list[Payment]) -> None:
        """Writes an entry. Payments of nothing, or within one party, are none."""
        forwards = (_forwards(payment) for payment in payments)
        paid = (payment for payment in forwards if payment.micros and payment.payer != payment.payee)
        self.journal.append(posting._replace(moves=tuple(moves), payments=tuple(paid)))

    def _posting(self, command: Any, now: datetime, points: int, version: int) -> Posting:
        return Posting(
            (command.partner_id, command.request_id),
            command.kind,
            command.member_id,
            command.reference,
            self._day(now),
            points,
            version,
        )

    # Figures, each read from the whole journal

    def balances(self, member: int) -> Counter[tuple[Lot, str]]:
        """Points by (lot, account) of a member; the accounts points come from are below zero."""
        found: Counter[tuple[Lot, str]] = Counter()
        for posting in self.journal:
            if posting.member == member:
                for move in posting.moves:
                    found[move.lot, move.source] -= move.points
                    found[move.lot, move.target] += move.points
        return found

    def available(self, member: int) -> int:
        """The sum of a member's open points."""
        return sum(points for (_, account), points in self.balances(member).items() if account == "open")

    def balance_of(self, party: int) -> int:
        """What a party received less what it paid, in micros, of the whole journal."""
        balance = 0
        for posting in self.journal:
            for payment in posting.payments:
                balance += payment.micros * ((payment.payee == party) - (payment.payer == party))
        return balance

    def _open_lots(self, member: int) -> list[Lot]:
        """A member's lots with open points: by expiry day, then by sequence."""
        found = self.balances(member)
        lots = [lot for lot in self.lots if lot.member == member and found[lot, "open"] > 0]
        return sorted(lots, key=lambda lot: (lot.last_day, lot.sequence))

    def _burned_on(self, member: int, partner: int, day: date) -> int:
        burns = [posting for posting in self.journal if posting.kind == "burn" and posting.ledger_day == day]
        return sum(burn.points for burn in burns if (burn.member, burn.name[0]) == (member, partner))

    def _card_in_force(self, partner: int, moment: datetime) -> Any:
        """The partner's card that began last, not after the moment."""
        begun = [card for card in self.cards if card.partner_id == partner and card.valid_from <= moment]
        return max(begun, key=lambda card: card.valid_from, default=None)

    def _card_of(self, lot: Lot) -> Any:
        (card,) = (
            card for card in self.cards if (card.partner_id, card.version) == (lot.issuer, lot.version)
        )
        return card

    def _day(self, moment: datetime) -> date:
        return moment.astimezone(self.zone).date()


def _no(reason: str, kept: bool = True, **figures: Any) -> Answer:
    return {"verdict": "refused" if kept else "rejected", "reason": reason, **figures}


def _forwards(payment: Payment) -> Payment:
    """A payment below zero is the same money from the payee to the payer, each under its own name."""
    if payment.micros >= 0:
        return payment
    return Payment(
        payment.payee, payment.payee_component, payment.payer, payment.payer_component, -payment.micros
    )


def _last_day(policy: Any, event_day: date) -> date:
    """The last usable day, found by turning the calendar's pages one by one."""
    if policy.kind.value == "never":
        return LAST_DAY_OF_ALL
    if policy.kind.value == "fixed_date":
        fixed: date = policy.fixed_date
        return fixed
    if policy.kind.value == "days":
        return _days_later(event_day, policy.amount)
    day = event_day
    for _ in range(policy.amount):
        day = _days_later(_end_of_month(day), 1)
    return _end_of_month(day)


def _end_of_month(day: date) -> date:
    while _days_later(day, 1).month == day.month and day < LAST_DAY_OF_ALL:
        day = _days_later(day, 1)
    return day


def _days_later(day: date, count: int) -> date:
    for _ in range(count):
        if day == LAST_DAY_OF_ALL:
            return day
        day += timedelta(days=1)
    return day


def _member_text(member: int) -> str:
    """`m-` and the number in base 32 with digits 0 to 9 and a to v, twelve of them."""
    digits = ""
    while member:
        digits = "0123456789abcdefghijklmnopqrstuv"[member % 32] + digits
        member //= 32
    return "m-" + digits.rjust(12, "0")
