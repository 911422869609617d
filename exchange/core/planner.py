"""Plans a batch: `plan(commands, book) -> decisions`, a pure function.

Commands are decided in arrival order, each seeing the effect of those before it. Cutting a batch in two
changes no answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exchange.core.book import Book, Known, Terms
from exchange.core.commands import PART, Asked, Burn, Command, Earn, Wake
from exchange.core.decide.burn import burn_needs, decide_burn
from exchange.core.decide.earn import decide_earn, earn_needs
from exchange.core.decide.expire import post_due
from exchange.core.decisions import Accepted, Decision, Refused, Rejected, Repeated, RepeatedHere, Woken
from exchange.core.ids import entry_text
from exchange.core.needs import Needs
from exchange.core.rates import Cards
from exchange.core.refusals import UNRECORDED, Reason, Refusal


def collect_needs(commands: Iterable[Command], cards: Cards, terms: Terms) -> Needs:
    """Everything the commands read, stated by the rule of each."""
    needs = Needs()
    for command in commands:
        if isinstance(command, Earn):
            earn_needs(command, cards, terms, needs)
        elif isinstance(command, Burn):
            burn_needs(command, needs)
        else:
            needs.members.add(command.member_id)
    return needs


def plan(commands: Sequence[Command], book: Book) -> list[Decision]:
    """One decision a command, in order; the book holds the entries and the changed rows afterwards."""
    return [_decide(index, command, book) for index, command in enumerate(commands)]


def _decide(index: int, command: Command, book: Book) -> Decision:
    if isinstance(command, Wake):
        return _wake(command, book)
    key = (command.partner_id, command.request_id)
    known = book.requests.get(key)
    if known is not None:
        return _repeat(command, known, book)
    wallet = book.wallets.get(command.member_id)
    if wallet is not None and not wallet.woken:
        post_due(wallet, book)
    outcome = decide_earn(command, book) if isinstance(command, Earn) else decide_burn(command, book)
    if isinstance(outcome, Refusal):
        if outcome.reason in UNRECORDED:
            return Rejected(outcome)
        decision: Accepted | Refused = Refused(command, outcome)
    else:
        decision = outcome
        reference = (command.partner_id, command.kind, command.reference, PART)
        book.references[reference] = entry_text(book.batch_id, outcome.entry_index)
    book.requests[key] = index
    book.fingerprints[key] = command.fingerprint
    return decision


def _repeat(command: Asked, known: Known | int, book: Book) -> Decision:
    if isinstance(known, Known):
        if known.fingerprint == command.fingerprint:
            return Repeated(known.accepted, known.answer)
    elif book.fingerprints[command.partner_id, command.request_id] == command.fingerprint:
        return RepeatedHere(known)
    return Rejected(Refusal(Reason.REQUEST_ID_REUSED))


def _wake(command: Wake, book: Book) -> Woken:
    wallet = book.wallets.get(command.member_id)
    return Woken(0 if wallet is None or wallet.woken else post_due(wallet, book))
