"""What a store does for the core, kept in dicts: rows between batches, loaded by need, saved when changed.

No stand-in for a database (nothing here is locked or durable): it is there so that pure tests run the core under
the same rule of loading that the hub's store keeps, and see whether that rule suffices.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from exchange.core.book import Book, Known, Link, Terms, Wallet
from exchange.core.commands import Command
from exchange.core.decisions import Accepted, Decision, Refused, Rejected, Repeated, RepeatedHere, Woken
from exchange.core.ids import entry_text
from exchange.core.journal import Entry
from exchange.core.lots import Lot, LotKey, consumption_order
from exchange.core.needs import Needs
from exchange.core.planner import collect_needs, plan
from exchange.core.rates import Cards
from exchange.core.refusals import Refusal

Answer = dict[str, Any]
FIRST_LOTS = 4
"""How many lots a burn is given before it is known whether they suffice."""


def as_sent(answer: Answer) -> Answer:
    """The answer as it comes back from bytes: days as text, tuples as lists."""
    sent: Answer = json.loads(json.dumps(answer, default=str))
    return sent


def lots_to_load(kept: Iterable[Lot], wallet: Wallet, needs: Needs, today: date) -> list[Lot]:
    """The lots of one member that a batch must be given. A store may bring more, and the hub's does.

    * The lots that the batch's earns would join, by key.
    * Where `next_expiry_date` is before today, all lots with open points that are past their day, and the first
      that is not: from those the expiries are posted and the next such date is found.
    * Where the batch's burns may take n points, the first four lots with open points that are *not* past their
      day (the others expire before the first burn), in consumption order; and all of them, where those four
      hold less than n.
    """
    lots = list(kept)
    chosen = [lot for lot in lots if _key(lot) in needs.lots]
    usable = sorted((lot for lot in lots if lot.open_points), key=consumption_order)
    current = [lot for lot in usable if lot.expiry_date >= today]
    if wallet.next_expiry_date < today:
        chosen += [lot for lot in usable if lot.expiry_date < today]
        chosen += current[:1]
    if wallet.member_id in needs.spending:
        first = current[:FIRST_LOTS]
        suffices = sum(lot.open_points for lot in first) >= needs.spending[wallet.member_id]
        chosen += first if suffices else current
    return chosen


@dataclass
class Rows:
    """Everything the ledger remembers, and `run` to take it through one batch."""

    cards: Cards
    terms: Terms
    wallets: dict[int, Wallet]
    links: dict[tuple[int, int], Link]
    lots: dict[LotKey, Lot] = field(default_factory=dict)
    requests: dict[tuple[int, str], Known] = field(default_factory=dict)
    references: dict[tuple[int, str, str, int], str] = field(default_factory=dict)
    journal: dict[str, Entry] = field(default_factory=dict)
    """Entries by entry id, in ledger order."""
    load_all: bool = False
    """Bring every lot, as a store might: it must make no difference."""
    batch_count: int = 0
    lots_left_out: int = 0
    """How often a lot with open points was not loaded; a test of loading by need wants it above zero."""

    def run(self, commands: Sequence[Command], decided_time: datetime) -> list[tuple[Answer, bool]]:
        """Loads, plans and saves one batch; per command the answer, and whether it was given before."""
        book = self._load(collect_needs(commands, self.cards, self.terms), decided_time)
        decisions = plan(commands, book)
        self._save(book, decisions)
        answers: list[tuple[Answer, bool]] = []
        for decision in decisions:
            answers.append(self._answer(decision, answers))
        return answers

    def name_of(self, entry_id: str) -> tuple[int, str]:
        """An entry by its decision, (partner, request id), which batching and sweeping do not change."""
        command = self.journal[entry_id].command
        return command.partner_id, command.request_id

    def _load(self, needs: Needs, decided_time: datetime) -> Book:
        self.batch_count += 1
        book = Book(self.terms, self.cards, decided_time, batch_id=self.batch_count)
        for member in needs.members & self.wallets.keys():
            wallet = replace(self.wallets[member], lots={}, woken=False, changed=False)
            kept = [lot for lot in self.lots.values() if lot.member_id == member]
            for lot in kept if self.load_all else lots_to_load(kept, wallet, needs, book.today):
                wallet.lots[_key(lot)] = replace(lot, created=False, changed=False)
            self.lots_left_out += sum(lot.open_points > 0 and _key(lot) not in wallet.lots for lot in kept)
            book.wallets[member] = wallet
        book.links = {key: replace(self.links[key], changed=False) for key in needs.links & self.links.keys()}
        book.requests.update((key, self.requests[key]) for key in needs.requests if key in self.requests)
        book.references = {key: self.references[key] for key in needs.references if key in self.references}
        return book

    def _save(self, book: Book, decisions: Sequence[Decision]) -> None:
        """Writes only what says it changed, as a store would; what else is different would be lost."""
        for index, entry in enumerate(book.entries):
            self.journal[entry_text(book.batch_id, index)] = entry
        for wallet in book.wallets.values():
            if wallet.changed:
                self.wallets[wallet.member_id] = wallet
            self.lots |= {_key(lot): lot for lot in wallet.lots.values() if lot.changed}
        self.links |= {key: link for key, link in book.links.items() if link.changed}
        for decision in decisions:
            if isinstance(decision, Accepted):
                command = decision.entry.command
                reference = (command.partner_id, command.kind, command.reference, 0)
                self.references[reference] = entry_text(book.batch_id, decision.entry_index)
            elif isinstance(decision, Refused):
                command = decision.command
            else:
                continue
            answer = json.dumps(as_sent(self._fresh(decision))).encode()
            known = Known(command.fingerprint, isinstance(decision, Accepted), answer)
            self.requests[command.partner_id, command.request_id] = known

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
        }

    def _figures(self, refusal: Refusal) -> dict[str, Any]:
        return {
            name: self.name_of(value) if name == "entry_id" else value for name, value in refusal.metadata
        }


def _key(lot: Lot) -> LotKey:
    return LotKey(lot.member_id, lot.issuer_id, lot.rate_version, lot.expiry_date)
