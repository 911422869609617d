"""What a store does for the core, kept in dicts: rows between batches, loaded by need, saved when changed.

No stand-in for a database (nothing here is locked or durable): it is there so that pure tests run the core under
the same rule of loading that the hub's store keeps, and see whether that rule suffices.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from exchange.core.book import Book, Known, Link, PayCode, RequestKey, Terminal, Terms, Wallet
from exchange.core.commands import Command, kind_in_journal, part_of
from exchange.core.decide.burn import FIRST_LOTS
from exchange.core.decisions import Accepted, Decision, Refused, Rejected, Repeated, RepeatedHere, Woken
from exchange.core.ids import entry_text
from exchange.core.journal import Entry
from exchange.core.lots import Lot, LotKey, LotMove, LotPlace, consumption_order
from exchange.core.needs import Needs
from exchange.core.originals import Deficit, EntryName, Hold, Original, PendingEarn, Posting
from exchange.core.planner import collect_needs, further_needs, plan
from exchange.core.rates import Cards
from exchange.core.refusals import Refusal

Answer = dict[str, Any]
Mark = tuple[int, int, str]
Row = TypeVar("Row", Lot, Link, Hold, PendingEarn, Deficit, PayCode, Terminal)


def as_sent(answer: Answer) -> Answer:
    """The answer as it comes back from bytes: days as text, tuples as lists."""
    sent: Answer = json.loads(json.dumps(answer, default=str))
    return sent


def fresh(row: Row) -> Row:
    """A copy as a store gives it: neither new nor changed."""
    made = copy(row)
    for mark in ("created", "changed"):
        if hasattr(made, mark):
            setattr(made, mark, False)
    return made


@dataclass
class Rows:
    """Everything the ledger remembers, and `run` to take it through one batch."""

    cards: Cards
    terms: Terms
    wallets: dict[int, Wallet]
    links: dict[tuple[int, int], Link]
    lots: dict[LotKey, Lot] = field(default_factory=dict)
    requests: dict[RequestKey, Known] = field(default_factory=dict)
    references: dict[tuple[int, str, str, int], str] = field(default_factory=dict)
    journal: dict[str, Entry] = field(default_factory=dict)
    """Entries by entry id, in ledger order."""
    load_all: bool = False
    """Bring everything of every member, as a store might: it must make no difference."""
    batch_count: int = 0
    lots_left_out: int = 0
    """How often a lot with open points was not loaded; a test of loading by need wants it above zero."""
    holds: dict[RequestKey, Hold] = field(default_factory=dict)
    pending_earns: dict[RequestKey, PendingEarn] = field(default_factory=dict)
    deficits: dict[tuple[int, int], Deficit] = field(default_factory=dict)
    lot_moves: list[LotMove] = field(default_factory=list)
    marks: set[Mark] = field(default_factory=set)
    quotes: set[str] = field(default_factory=set)
    pay_codes: dict[bytes, PayCode] = field(default_factory=dict)
    terminals: dict[tuple[int, str, str], Terminal] = field(default_factory=dict)
    withdrawn_adjustments: set[int] = field(default_factory=set)
    accepted: dict[RequestKey, EntryName] = field(default_factory=dict)
    """The entries of accepted commands."""

    def run(
        self, commands: Sequence[Command], decided_time: datetime, wall_time: datetime | None = None
    ) -> list[tuple[Answer, bool]]:
        """Loads, plans and saves one batch; per command the answer, and whether it was given before.

        The wall clock shows the ledger clock's time unless told otherwise.
        """
        self.batch_count += 1
        book = self._load(commands, decided_time, wall_time or decided_time)
        decisions = plan(commands, book)
        self._save(book, decisions)
        return self.answers(decisions)

    def answers(self, decisions: Sequence[Decision]) -> list[tuple[Answer, bool]]:
        """Per decision the answer, and whether it was given before; what it names is looked up in the journal."""
        answers: list[tuple[Answer, bool]] = []
        for decision in decisions:
            answers.append(self._answer(decision, answers))
        return answers

    def name_of(self, entry_id: str) -> RequestKey:
        """An entry by its decision, (partner, request id), which batching and sweeping do not change."""
        command = self.journal[entry_id].command
        return command.partner_id, command.request_id

    def entry(self, partner_id: int, request_id: str) -> Entry:
        """The entry of an accepted command."""
        return self.journal[entry_text(*self.accepted[partner_id, request_id])]

    # Loading

    def _load(self, commands: Sequence[Command], decided_time: datetime, wall_time: datetime) -> Book:
        needs = collect_needs(commands, self.cards, self.terms)
        while True:
            book = Book(self.terms, self.cards, decided_time, batch_id=self.batch_count, wall_time=wall_time)
            for member in sorted(needs.members & self.wallets.keys()):
                book.wallets[member] = replace(
                    self.wallets[member], lots={}, deficits=[], woken=False, changed=False
                )
            self._read(needs, book)
            if self.load_all:
                self._read_whole(set(book.wallets), book)
            more = self._read_further(commands, needs, book)
            if not more:
                break
            needs.members |= more
        book.loaded_moves = len(book.lot_moves)
        for wallet in book.wallets.values():
            kept = self._lots_of(wallet.member_id)
            self.lots_left_out += sum(lot.open_points > 0 and _key(lot) not in wallet.lots for lot in kept)
        return book

    def _read_further(self, commands: Sequence[Command], needs: Needs, book: Book) -> set[int]:
        """Reads until the rules lack nothing; gives members that are to be locked first."""
        asked = needs
        while not (more := further_needs(commands, book).without(asked)).is_empty():
            if more.members:
                return more.members
            self._read(more, book)
            asked = asked.joined(more)
        return set()

    def _read(self, needs: Needs, book: Book) -> None:
        self._take(book, (self.lots[key] for key in needs.lots if key in self.lots))
        for member in needs.spending:
            self._take(book, self._open_lots(member)[:FIRST_LOTS])
        for member in needs.open_lots:
            self._take(book, self._open_lots(member))
        self._read_whole(needs.whole, book)
        for key in needs.originals & self.accepted.keys():
            self._read_original(key, book)
        moves = [move for move in self.lot_moves if (move.batch_id, move.entry_index) in needs.merges]
        self._take_moves(book, moves)
        for pair in needs.links & self.links.keys():
            book.links.setdefault(pair, fresh(self.links[pair]))
        book.requests.update((key, self.requests[key]) for key in needs.requests if key in self.requests)
        book.references.update(
            (key, self.references[key]) for key in needs.references if key in self.references
        )
        book.marks |= needs.marks & self.marks
        book.quotes |= needs.quotes & self.quotes
        book.withdrawn_adjustments |= needs.adjustments & self.withdrawn_adjustments
        for digest in needs.pay_codes & self.pay_codes.keys():
            book.pay_codes[digest] = fresh(self.pay_codes[digest])
        for till in needs.terminals & self.terminals.keys():
            book.terminals[till] = fresh(self.terminals[till])

    def _read_whole(self, members: set[int], book: Book) -> None:
        for member in members & book.wallets.keys():
            wallet = book.wallets[member]
            lots = self._lots_of(member)
            self._take(book, lots)
            wallet.deficits = [fresh(it) for it in self.deficits.values() if it.member_id == member]
            for key, hold in self.holds.items():
                if hold.member_id == member:
                    book.holds.setdefault(key, fresh(hold))
            for key, pending in self.pending_earns.items():
                if pending.member_id == member:
                    book.pending_earns.setdefault(key, fresh(pending))
            for pair, link in self.links.items():
                if link.member_id == member:
                    book.links.setdefault(pair, fresh(link))
            book.marks |= {mark for mark in self.marks if mark[0] == member}
            self._take_reached({lot.place for lot in lots}, book)

    def _read_original(self, key: RequestKey, book: Book) -> None:
        name = self.accepted[key]
        followers = [
            EntryName(*map(int, entry_id.split("-")))
            for entry_id, entry in self.journal.items()
            if entry.original == name
        ]
        original = Original(self._posting(name), [self._posting(each) for each in followers])
        book.originals[key] = original
        if key in self.holds:
            book.holds.setdefault(key, fresh(self.holds[key]))
        if key in self.pending_earns:
            book.pending_earns.setdefault(key, fresh(self.pending_earns[key]))
        legs = [leg for posting in original.postings for leg in posting.legs]
        places = {LotPlace(leg.member_id, leg.lot_sequence) for leg in legs}
        self._take(book, (lot for lot in self.lots.values() if lot.place in places))
        self._take_reached(places, book)

    def _take_reached(self, places: set[LotPlace], book: Book) -> None:
        """The moves from rows, the rows that they lead to, and the moves from there."""
        reached = set(places)
        while more := {move.target for move in self.lot_moves if move.source in reached} - reached:
            reached |= more
        self._take(book, (lot for lot in self.lots.values() if lot.place in reached - places))
        self._take_moves(book, [move for move in self.lot_moves if move.source in reached])

    def _take_moves(self, book: Book, moves: Sequence[LotMove]) -> None:
        known = {move.move_id for move in book.lot_moves}
        book.lot_moves += [move for move in moves if move.move_id not in known]
        book.lot_moves.sort(key=lambda move: move.move_id)

    def _take(self, book: Book, lots: Iterable[Lot]) -> None:
        for lot in lots:
            if lot.member_id in book.wallets:  # else it comes when its member is locked
                book.wallets[lot.member_id].lots.setdefault(_key(lot), fresh(lot))

    def _lots_of(self, member: int) -> list[Lot]:
        return [lot for lot in self.lots.values() if lot.member_id == member]

    def _open_lots(self, member: int) -> list[Lot]:
        return sorted((lot for lot in self._lots_of(member) if lot.open_points), key=consumption_order)

    def _posting(self, name: EntryName) -> Posting:
        entry = self.journal[entry_text(*name)]
        command = entry.command
        return Posting(
            name,
            kind_in_journal(command),
            command.member_id,
            entry.points,
            entry.rate_version,
            command.event_time,
            entry.spend_minor,
            entry.native_points,
            entry.legs,
        )

    # Saving

    def _save(self, book: Book, decisions: Sequence[Decision]) -> None:
        """Writes only what says it changed, as a store would; what else is different would be lost."""
        for index, entry in enumerate(book.entries):
            self.journal[entry_text(book.batch_id, index)] = entry
        for wallet in book.wallets.values():
            if wallet.changed:
                self.wallets[wallet.member_id] = wallet
            self.lots |= {_key(lot): lot for lot in wallet.lots.values() if lot.changed or lot.created}
            self.deficits |= {
                (it.member_id, it.deficit_sequence): it for it in wallet.deficits if it.changed or it.created
            }
        self._save_open(self.holds, book.holds)
        self._save_open(self.pending_earns, book.pending_earns)
        for move in book.lot_moves[book.loaded_moves :]:
            self.lot_moves.append(move._replace(move_id=len(self.lot_moves) + 1))
        self.links |= {key: link for key, link in book.links.items() if link.changed or link.created}
        self.marks |= set(book.new_marks)
        self.quotes |= {quote_id for quote_id, _ in book.new_quotes}
        self.pay_codes |= {key: code for key, code in book.pay_codes.items() if code.changed}
        self.terminals |= {key: till for key, till in book.terminals.items() if till.changed or till.created}
        for decision in decisions:
            self._save_decision(decision, book)

    def _save_open(self, kept: dict[RequestKey, Row], rows: dict[RequestKey, Row]) -> None:
        for key, row in rows.items():
            assert isinstance(row, Hold | PendingEarn)
            if row.closed:
                kept.pop(key, None)
            elif row.created or row.changed:
                kept[key] = row

    def _save_decision(self, decision: Decision, book: Book) -> None:
        if isinstance(decision, Accepted):
            command = decision.entry.command
            key = (command.partner_id, command.request_id)
            self.accepted[key] = EntryName(book.batch_id, decision.entry_index)
            reference = (command.partner_id, command.kind, command.reference, part_of(command))
            self.references[reference] = entry_text(book.batch_id, decision.entry_index)
        elif isinstance(decision, Refused):
            command = decision.command
        else:
            return
        answer = json.dumps(as_sent(self._fresh(decision))).encode()
        known = Known(command.fingerprint, isinstance(decision, Accepted), answer)
        self.requests[command.partner_id, command.request_id] = known

    # Answers

    def _answer(self, decision: Decision, before: Sequence[tuple[Answer, bool]]) -> tuple[Answer, bool]:
        if isinstance(decision, RepeatedHere):
            return before[decision.first][0], True
        if isinstance(decision, Repeated):
            answer = json.loads(decision.answer)
            assert decision.accepted == (answer["verdict"] == "accepted")
            return answer, True
        if isinstance(decision, Woken):
            return {"verdict": "woken", "entries": decision.entry_count}, False
        return as_sent(self._fresh(decision)), False

    def _fresh(self, decision: Accepted | Refused | Rejected) -> Answer:
        if not isinstance(decision, Accepted):
            return {
                "verdict": "refused" if isinstance(decision, Refused) else "rejected",
                "reason": decision.refusal.reason.value,
                **self._figures(decision.refusal),
            }
        return {
            "verdict": "accepted",
            "entry": (decision.entry.command.partner_id, decision.entry.command.request_id),
            "points": decision.entry.points,
            "available_points": decision.available_points,
            "rate_version": decision.entry.rate_version,
            "expiry_date": decision.expiry_date,
            "value_micros": decision.value_micros,
            "reimbursement_micros": decision.reimbursement_micros,
            **decision.figures._asdict(),
        }

    def _figures(self, refusal: Refusal) -> dict[str, Any]:
        return {
            name: self.name_of(value) if name == "entry_id" else value for name, value in refusal.metadata
        }


def _key(lot: Lot) -> LotKey:
    return LotKey(lot.member_id, lot.issuer_id, lot.rate_version, lot.expiry_date)
