"""The journal, and every figure of the ledger as it is found there: by reading all of it from the beginning.

Nothing else is kept. What was read is only remembered until another line is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from tests.reference.calendar import last_day_by
from tests.reference.records import (
    DEFAULT_HOLD,
    Answer,
    Debt,
    Journey,
    Lot,
    Move,
    Name,
    Owing,
    Posting,
)

ENDS_OF_HOLDS = {
    "capture_burn": "captured",
    "void_burn": "voided",
    "lapse": "lapsed",
    "confirm_exchange_out": "confirmed",
    "refuse_exchange_out": "refused",
}
SPENDING = ("authorize_burn", "burn", "exchange_out", "transfer")
"""What needs the member's authority."""


class Decided(NamedTuple):
    """A command and its answer."""

    command: Any
    answer: Answer


class Journal:
    """The coalition's terms and cards, the journal, and what can be read from it."""

    def __init__(
        self,
        cards: Iterable[Any],
        members: Iterable[int],
        consent: Mapping[tuple[int, int], tuple[int, int]],
        terms: Any,
        pay_codes: Iterable[Any] = (),
        withdrawn: Iterable[int] = (),
    ) -> None:
        """`consent` has a (points a burn, points a day) for each linked (member, partner), zeros for none.

        `withdrawn` are the numbers of corrections that were taken back.
        """
        self.cards = list(cards)
        self.members = set(members)
        self.consent = dict(consent)
        self.terms = terms
        self.pay_codes = list(pay_codes)
        self.withdrawn = set(withdrawn)
        self.lots: list[Lot] = []
        self.postings: list[Posting] = []
        self.decided: list[Decided] = []
        self._balances: tuple[tuple[int, int], Counter[tuple[Lot, str]]] = ((0, 0), Counter())

    def write(
        self, entry: Posting, *, points: int = 0, version: int = 0, original: Posting | None = None
    ) -> None:
        """An entry is in the journal from here on: nothing can be refused any more, its moves follow."""
        entry.points, entry.version = points, version
        entry.original = original.name if original is not None else None
        self.postings.append(entry)

    # Points

    def moves(self) -> Iterator[Move]:
        """Every move there ever was."""
        for posting in self.postings:
            yield from posting.moves

    def balances(self) -> Counter[tuple[Lot, str]]:
        """Points by (lot, account); the accounts that points come from are below zero."""
        written = (len(self.postings), len(self.postings[-1].moves) if self.postings else 0)
        if self._balances[0] != written:
            found: Counter[tuple[Lot, str]] = Counter()
            for move in self.moves():
                found[move.lot, move.source] -= move.points
                found[move.lot, move.target] += move.points
            self._balances = written, found
        return self._balances[1]

    def open(self, lot: Lot) -> int:
        """What of a lot can be spent."""
        return self.balances()[lot, "open"]

    def available(self, member: int) -> int:
        """The sum of a member's open points."""
        return self._sum(member, "open")

    def held(self, member: int) -> int:
        """The sum of a member's held points."""
        return self._sum(member, "held")

    def open_lots(self, member: int) -> list[Lot]:
        """A member's lots with open points in consumption order: by expiry day, then by sequence."""
        found = self.balances()
        lots = [lot for lot in self.lots if lot.member == member and found[lot, "open"] > 0]
        return sorted(lots, key=lambda lot: (lot.last_day, lot.sequence))

    def lot(self, member: int, card: Any, last_day: date) -> Lot:
        """The one row for ever of (member, issuer, version, expiry day)."""
        wanted = (member, card.partner_id, card.version, last_day)
        for lot in self.lots:
            if (lot.member, lot.issuer, lot.version, lot.last_day) == wanted:
                return lot
        sequence = 1 + sum(lot.member == member for lot in self.lots)
        self.lots.append(Lot(member, sequence, card.partner_id, card.version, last_day))
        return self.lots[-1]

    def lot_like(self, lot: Lot, member: int) -> Lot:
        """The row of the same issuer, version and day in another member's account."""
        return self.lot(member, self.card_of(lot), lot.last_day)

    def transferred_out(self, lot: Lot) -> int:
        """What of a lot left by transfers."""
        transfers = [posting for posting in self.postings if posting.does == "transfer"]
        return sum(
            move.points
            for posting in transfers
            for move in posting.moves
            if move.lot == lot and move.target == "moved_out" and lot.member == posting.member
        )

    def journeys(self) -> Iterator[Journey]:
        """Every move from row to row that has its reason written beside it."""
        for posting in self.postings:
            yield from posting.journeys

    def _sum(self, member: int, wanted: str) -> int:
        found = self.balances().items()
        return sum(points for (lot, account), points in found if (lot.member, account) == (member, wanted))

    # Cards

    def card_in_force(self, partner: int, moment: datetime) -> Any:
        """The partner's card that began last, not after the moment."""
        begun = [card for card in self.cards if card.partner_id == partner and card.valid_from <= moment]
        return max(begun, key=lambda card: card.valid_from, default=None)

    def card(self, partner: int, version: int) -> Any:
        """A partner's card of that version."""
        (card,) = (card for card in self.cards if (card.partner_id, card.version) == (partner, version))
        return card

    def card_of(self, lot: Lot) -> Any:
        """The card under which a lot's points were issued."""
        return self.card(lot.issuer, lot.version)

    def day(self, moment: datetime) -> date:
        """The calendar day of a moment in the coalition's zone."""
        day: date = moment.astimezone(self.terms.zone).date()
        return day

    def last_day(self, card: Any, event_time: datetime, own: date | None) -> date:
        """The card's last usable day for an event, made earlier by the event's own if that is."""
        last_day = last_day_by(card.expiry_policy, self.day(event_time))
        return last_day if own is None else min(last_day, own)

    # What came before

    def posting(self, name: Name) -> Posting | None:
        """The entry of that decision, if it was a yes."""
        for posting in self.postings:
            if posting.name == name:
                return posting
        return None

    def followers(self, original: Posting, *kinds: str) -> list[Posting]:
        """The entries that followed another and did one of these things."""
        return [each for each in self.postings if each.original == original.name and each.does in kinds]

    def left_pending(self, earn: Posting) -> int:
        """What of an earn still waits for its confirmation."""
        if not earn.command.pending or self.followers(earn, "confirm_earn", "cancel_earn"):
            return 0
        return earn.points - self.clawed_back(earn)

    def clawed_back(self, earn: Posting) -> int:
        """What claw backs took of an earn so far."""
        return sum(posting.points for posting in self.followers(earn, "claw_back_earn"))

    def pending(self, member: int) -> int:
        """What a member will get when all that is pending is confirmed."""
        earns = [each for each in self.postings if each.kind == "earn" and each.member == member]
        return sum(self.left_pending(earn) for earn in earns)

    def pending_due(self, member: int, now: datetime) -> list[Posting]:
        """The member's pending earns that waited too long, the oldest first."""
        earns = [
            posting
            for posting in self.postings
            if posting.kind == "earn" and posting.member == member and self.left_pending(posting)
        ]
        late = [earn for earn in earns if self.day(now) > self._pending_until(earn)]
        return sorted(late, key=self._pending_until)

    def _pending_until(self, earn: Posting) -> date:
        waits: timedelta = timedelta(days=self.terms.pending_days)
        return self.day(earn.now) + waits

    # Holds

    def end_of_hold(self, hold: Posting) -> str:
        """How a hold ended, or nothing where it has not."""
        ends = self.followers(hold, *ENDS_OF_HOLDS)
        return ENDS_OF_HOLDS[ends[0].does] if ends else ""

    def deadline(self, hold: Posting) -> datetime | None:
        """Until when points are held; None for an exchange, which is held until it is answered."""
        if hold.does == "exchange_out":
            return None
        last = [hold, *self.followers(hold, "extend_hold")][-1]
        return last.wall + (timedelta(seconds=last.command.hold_seconds) or DEFAULT_HOLD)

    def lapsed(self, member: int, wall: datetime) -> list[Posting]:
        """The member's holds whose deadline has passed, the first deadline first."""
        found = []
        for posting in self.postings:
            if posting.does == "authorize_burn" and posting.member == member:
                deadline = self.deadline(posting)
                if deadline is not None and wall > deadline and not self.end_of_hold(posting):
                    found.append((deadline, posting))
        return [posting for _, posting in sorted(found, key=lambda pair: pair[0])]

    # Deficits

    def owings(self) -> Iterator[Owing]:
        """Everything that was ever written about deficits."""
        for posting in self.postings:
            yield from posting.owings

    def outstanding(self, debt: Debt) -> int:
        """Points still owed."""
        signs = {"raised": 1, "moved_in": 1, "absorbed": -1, "forgiven": -1, "moved_out": -1}
        return sum(signs[owing.what] * owing.points for owing in self.owings() if owing.debt == debt)

    def debts(self, member: int) -> list[Debt]:
        """A member's deficits that are not paid off, the oldest first."""
        ever = {owing.debt for owing in self.owings() if owing.debt.member == member}
        return sorted(
            (debt for debt in ever if self.outstanding(debt)), key=lambda debt: (debt.since, debt.number)
        )

    def deficit(self, member: int) -> int:
        """All that a member owes."""
        return sum(self.outstanding(debt) for debt in self.debts(member))

    def new_debt(self, member: int, issuer: int, funding: int, since: datetime) -> Debt:
        """The member's next deficit."""
        ever = {owing.debt for owing in self.owings() if owing.debt.member == member}
        return Debt(member, 1 + len(ever), issuer, funding, since)

    def raised_for(self, lot: Lot) -> int:
        """Deficits that were raised because points of this lot had been used."""
        return sum(owing.points for owing in self.owings() if owing.what == "raised" and owing.of == lot)

    # Members

    def state(self, member: int) -> tuple[str, int, Name | None]:
        """What a member's account is: its state, and where it is merged, into whom and by which merge."""
        state: tuple[str, int, Name | None] = "active", 0, None
        for posting in self.postings:
            if posting.member != member:
                continue
            if posting.kind == "merge":
                state = "merged", posting.command.into_member_id, posting.name
            elif posting.kind in ("freeze", "unfreeze", "close", "unmerge"):
                states = {"freeze": "frozen", "close": "closed"}
                state = states.get(posting.kind, "active"), 0, None
        return state

    def root(self, member: int) -> int:
        """Where a member's points are: with the member, or with whom it was merged into, and so on."""
        return self.chain(member)[-1]

    def chain(self, member: int) -> list[int]:
        """A member, whom it was merged into, whom that one was merged into, and so on."""
        state, survivor, _ = self.state(member)
        return [member, *self.chain(survivor)] if state == "merged" else [member]

    def limits(self, member: int, partner: int) -> tuple[int, int] | None:
        """The consent of a link, or None where there is none. A merge gives the survivor links without consent."""
        links = dict(self.consent)
        for posting in self.postings:
            if posting.kind == "merge":
                for known, at_partner in list(links):
                    if known == posting.member:
                        links.setdefault((posting.command.into_member_id, at_partner), (0, 0))
        return links.get((member, partner))

    def marks(self, member: int) -> set[tuple[int, str]]:
        """(partner, rule) of what a member has earned once: marks are only ever added."""
        marks: dict[int, set[tuple[int, str]]] = {each: set() for each in self.members}
        merged_into: dict[int, int] = {}
        for posting in self.postings:
            if posting.kind == "merge":
                into = posting.command.into_member_id
                merged_into[posting.member] = into
                marks[posting.member] |= marks[into]
                marks[into] = set(marks[posting.member])
            elif posting.kind == "unmerge":
                del merged_into[posting.member]
            elif posting.does == "earn" and posting.command.once_rule:
                mark = (posting.command.partner_id, posting.command.once_rule)
                holder: int | None = posting.member
                while holder is not None:
                    marks[holder].add(mark)
                    holder = merged_into.get(holder)
        return marks[member]

    # Authority

    def spent_on(self, day: date, **fields: Any) -> list[Posting]:
        """What was spent on the members' authority that ledger day, by commands with these fields."""
        return [
            posting
            for posting in self.postings
            if posting.kind in SPENDING
            and self.day(posting.now) == day
            and all(getattr(posting.command, name) == value for name, value in fields.items())
        ]

    def used_codes(self) -> set[bytes]:
        """The pay codes that somebody spent with."""
        return {each.command.authority.pay_code for each in self.postings if each.kind in SPENDING}

    def used_quotes(self) -> set[str]:
        """The quotes that an accepted command has used up."""
        found = [quote_of(posting.command) for posting in self.postings]
        return {quote.quote_id for quote in found if quote is not None}

    def wrong_tries(self, terminal: tuple[int, str, str]) -> int:
        """How often in a row a terminal came with a pay code that is none."""
        tries = 0
        for command, answer in self.decided:
            if command.kind not in SPENDING or not command.authority.pay_code:
                continue
            if terminal == (command.partner_id, command.store_id, command.terminal_id):
                if answer["verdict"] == "accepted":
                    tries = 0
                tries += answer.get("reason") == "PAY_CODE_INVALID"
        return tries

    # Money

    def balance_of(self, party: int) -> int:
        """What a party received less what it paid, in micros, of the whole journal."""
        balance = 0
        for posting in self.postings:
            for payment in posting.payments:
                balance += payment.micros * ((payment.payee == party) - (payment.payer == party))
        return balance


def quote_of(command: Any) -> Any:
    """The quote that a command carries, if any."""
    authority = getattr(command, "authority", None)
    return getattr(command, "quote", None) if authority is None else authority.quote
