"""A partner's own record of a business day, out of its outboxes: what it asked, and what it was answered and signed.

    with Outbox.open("outbox.db") as outbox, SyncHub.connect(...) as hub:
        record = DailyRecord([outbox], "cafe", hub)
        file = write_partner_file(record.deals(day), record.header(day))

A deal is of the day on which the hub decided it, which is in the signed answer. Cards and calendar are read from the
hub once and kept in the first outbox.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from functools import partial
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from merchant_adapter import methods
from merchant_adapter.answers import Entry, EntryPage
from merchant_adapter.deals import Accepted, BusinessDays, Prices, by_the_journal, deal_of, is_open
from merchant_adapter.errors import Refused
from merchant_adapter.json_object import Unreadable
from merchant_adapter.outbox.history import BEGINNING, Place
from merchant_adapter.outbox.outbox import Outbox
from merchant_adapter.outbox.outcomes import asked_message, command_of, outcome_of
from merchant_adapter.outbox.records import Archived, State
from merchant_adapter.outbox.times import to_ms
from merchant_adapter.partner_file import Deal, PartnerFileHeader
from merchant_adapter.points_answers import EarnClawedBack, EarnConfirmed, Earned, ExchangedIn, PointsAnswer
from merchant_adapter.sync import SyncHub
from tongdui.exchange.v1 import rate_cards_service_pb2 as cards_pb2

__all__ = ["Calendar", "DailyRecord", "Unsettled"]

T = TypeVar("T")

AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A command of that day or an earlier one that has no answer yet."""

    request_id: str
    kind: str
    reference: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """What a day's record needs to know of the ledger."""

    days: BusinessDays
    currency_code: str
    minor_unit_digits: int
    clamps: bool


class DailyRecord:
    """The record of one partner. Its readings raise OutboxError, HubError, and Unreadable for a damaged archive."""

    def __init__(self, outboxes: Sequence[Outbox], partner_id: str, hub: SyncHub | None = None) -> None:
        """All outboxes in which the partner's commands are. Without `hub`, Unreadable is raised where it is needed."""
        self.from_journal: list[str] = []
        """The request ids of deals, given so far, whose money was read from the hub's journal."""
        self._outboxes = outboxes
        self._partner_id = partner_id
        self._hub = hub
        self._calendar: Calendar | None = None
        self._prices: dict[int, Prices] = {}

    def header(self, day: date) -> PartnerFileHeader:
        """Whose file it is, and of which day."""
        calendar = self.calendar()
        return PartnerFileHeader(
            self._partner_id, day, calendar.currency_code, minor_unit_digits=calendar.minor_unit_digits
        )

    def deals(self, day: date) -> Iterator[Deal]:
        """What the hub accepted on that day, each deal once: outbox by outbox, in the hub's order."""
        days = self.calendar().days
        begin, end = to_ms(days.begin(day)), to_ms(days.end(day))
        for number, outbox in enumerate(self._outboxes):
            given = self._outboxes[:number]
            place: Place | None = BEGINNING
            while place is not None:
                found, place = _read(outbox, partial(outbox.history.decided, begin, end, place, AT_ONCE))
                for one in found:
                    # A request id is one deal at the hub, also where two outboxes asked for it.
                    if not any(_is_accepted(before.find(one.request_id)) for before in given):
                        yield self._deal(one)

    def unsettled(self, day: date) -> Iterator[Unsettled]:
        """Commands of events up to that day without a final answer: they are in no record yet."""
        end = self.calendar().days.end(day)
        for outbox in self._outboxes:
            number = 0
            while found := _read(outbox, partial(outbox.history.unanswered, number, AT_ONCE)):
                number = found[-1].number
                for one in found:
                    command = command_of(one.kind, one.message)
                    if command.event_time < end:
                        yield Unsettled(one.request_id, one.kind, command.reference, one.reason)

    def calendar(self) -> Calendar:
        """The ledger's, as it was kept or as the hub says."""
        if self._calendar is None:
            kept = self._kept("ledger")
            if kept is None:
                ledger = self._asked().ledger()
                kept = {
                    "time_zone": ledger.time_zone,
                    "cut_off_seconds": ledger.cut_off_seconds,
                    "currency_code": ledger.currency_code,
                    "minor_unit_digits": ledger.minor_unit_digits,
                    "claw_back": ledger.claw_back,
                }
                self._keep("ledger", kept)
            self._calendar = _calendar(kept)
        return self._calendar

    # --- one deal

    def _deal(self, found: Archived) -> Deal:
        accepted = _accepted(found)
        prices, tells_all = self._priced(accepted)
        deal = deal_of(accepted, prices)
        return deal if tells_all else self._by_the_journal(deal, accepted.answer)

    def _priced(self, accepted: Accepted) -> tuple[Prices | None, bool]:
        """What its points cost by the card, and whether that and the answer tell all the money that moved."""
        issued: PointsAnswer | None = accepted.answer
        if isinstance(issued, EarnClawedBack):
            issued = self._taken_back(accepted)
            if issued is None:
                return None, False  # posted by another way, or forgotten since
        if isinstance(issued, Earned) and issued.pending:
            return None, True
        prices, last_day = None, None
        if isinstance(issued, Earned | EarnConfirmed | ExchangedIn):
            prices, last_day = self._price(issued.rate_version), issued.expiry_date
        calendar = self.calendar()
        decided = calendar.days.calendar_day(accepted.answer.decided_time)
        return prices, not is_open(accepted, decided, clamps=calendar.clamps, last_day=last_day)

    def _taken_back(self, taken: Accepted) -> PointsAnswer | None:
        """The answer by which the points of a claw back came to be: of the earn, or of its confirmation since."""
        original = taken.command.original_request_id  # type: ignore[attr-defined]  # a claw back follows an earn
        earned = self._answered(lambda outbox: outbox.find(original))
        if not isinstance(earned, Earned) or not earned.pending:
            return earned
        confirmed = self._answered(
            lambda outbox: _read(outbox, partial(outbox.history.follower, original, "confirm_earn"))
        )
        # By what is left of it, not by time: a whole batch is decided at one moment.
        left = taken.answer.remaining_points  # type: ignore[attr-defined]  # the answer to a claw back
        return confirmed if confirmed is not None and left < confirmed.points else earned

    def _answered(self, find: Callable[[Outbox], Archived | None]) -> PointsAnswer | None:
        for outbox in self._outboxes:
            found = find(outbox)
            if found is not None and _is_accepted(found):
                return _accepted(found).answer
        return None

    def _by_the_journal(self, deal: Deal, answer: PointsAnswer) -> Deal:
        self.from_journal.append(deal.request_id)
        return by_the_journal(deal, self._entry(deal.member_id, answer.entry_id).lines, self._partner_id)

    def _entry(self, member_id: str, entry_id: str) -> Entry:
        hub = self._asked()
        try:
            return _found(entry_id, partial(hub.entries, member_id=member_id))
        except Refused:  # linked to the partner no more: then among all that it posted
            return _found(entry_id, hub.entries)

    # --- what is kept

    def _price(self, version: int) -> Prices:
        if not self._prices:
            self._prices = _prices(self._kept("rate_cards") or {})
        if version not in self._prices:
            cards = self._approved_cards()
            self._keep("rate_cards", cards)
            self._prices = _prices(cards)
        if version not in self._prices:
            raise Unreadable(f"the hub has no approved rate card of version {version} of {self._partner_id}")
        return self._prices[version]

    def _approved_cards(self) -> dict[str, Any]:
        """An approved card never changes, so it is read once."""
        request = cards_pb2.ListRateCardsRequest(page_size=AT_ONCE, state=cards_pb2.RateCard.STATE_APPROVED)
        found: dict[str, Any] = {}
        while True:
            page = (
                self._asked().call(methods.LIST_RATE_CARDS, request, cards_pb2.ListRateCardsResponse).message
            )
            found |= {str(card.version): _kept_card(card) for card in page.rate_cards}
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    def _asked(self) -> SyncHub:
        if self._hub is None:
            raise Unreadable("the hub has to be asked for the ledger, a rate card or an entry; name it")
        return self._hub

    def _kept(self, name: str) -> dict[str, Any] | None:
        first = self._outboxes[0]
        text = _read(first, partial(first.history.fact, name))
        return None if text is None else dict(json.loads(text))

    def _keep(self, name: str, value: Mapping[str, Any]) -> None:
        first = self._outboxes[0]
        _read(first, partial(first.history.keep_fact, name, json.dumps(value)))


def _read(outbox: Outbox, work: Callable[[], T]) -> T:
    return outbox.writer.do(work).result()


def _found(entry_id: str, pages: Callable[..., EntryPage]) -> Entry:
    token = ""
    while True:
        page = pages(page_size=AT_ONCE, page_token=token)
        for entry in page.entries:
            if entry.entry_id == entry_id:
                return entry
        token = page.next_page_token
        if not token:
            raise Unreadable(f"the hub's journal has no entry {entry_id} that this partner posted")


def _is_accepted(found: Archived | None) -> bool:
    return found is not None and found.state is State.ACCEPTED


def _accepted(found: Archived) -> Accepted:
    answer = outcome_of(found)
    assert isinstance(answer, PointsAnswer), "it was archived as accepted"
    return Accepted(command_of(found.kind, asked_message(found)), answer)


def _calendar(kept: Mapping[str, Any]) -> Calendar:
    try:
        zone = ZoneInfo(kept["time_zone"])
    except ZoneInfoNotFoundError as error:
        raise Unreadable(f"this system does not know the zone {kept['time_zone']}; install tzdata") from error
    return Calendar(
        days=BusinessDays(zone, kept["cut_off_seconds"]),
        currency_code=kept["currency_code"],
        minor_unit_digits=kept["minor_unit_digits"],
        clamps=kept["claw_back"] == "clamp",
    )


def _kept_card(card: cards_pb2.RateCard) -> dict[str, Any]:
    rate = card.native_rate_in
    return {
        "funding_micros": card.funding_micros,
        "prefunded_micros": card.prefunded_micros,
        "issue_fee_micros": card.issue_fee_micros,
        "native_rate_in": [rate.numerator, rate.denominator] if card.HasField("native_rate_in") else None,
    }


def _prices(kept: Mapping[str, Any]) -> dict[int, Prices]:
    return {
        int(version): Prices(
            **{
                **card,
                "native_rate_in": Fraction(*card["native_rate_in"]) if card["native_rate_in"] else None,
            }
        )
        for version, card in kept.items()
    }
