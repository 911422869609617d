"""Plans a batch: `plan(commands, book) -> decisions`, a pure function.

Commands are decided in arrival order, each seeing the effect of those before it. Cutting a batch in two
changes no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from exchange.core.accounts import MERGED, Wallet
from exchange.core.book import Book, Known, Terms
from exchange.core.commands import (
    Asked,
    AuthorizeBurn,
    Burn,
    Command,
    ConfirmEarn,
    ExchangeOut,
    Wake,
    part_of,
)
from exchange.core.decide.account import decide_state
from exchange.core.decide.adjust import adjust_needs, decide_adjust
from exchange.core.decide.admission import operator_needs
from exchange.core.decide.burn import decide_burn, further_spending_needs, spending_needs
from exchange.core.decide.claw_back import claw_back_needs, decide_claw_back
from exchange.core.decide.due import due_needs, lineage_needs, wake
from exchange.core.decide.earn import (
    decide_earn,
    decide_exchange_in,
    earn_needs,
    exchange_in_needs,
)
from exchange.core.decide.hold import (
    decide_authorize,
    decide_capture,
    decide_confirm_exchange,
    decide_exchange_out,
    decide_extend,
    decide_release,
    held_needs,
)
from exchange.core.decide.merge import (
    decide_merge,
    decide_unmerge,
    further_unmerge_needs,
    merge_needs,
    unmerge_needs,
)
from exchange.core.decide.pending import decide_cancel, decide_confirm, further_confirm_needs, pending_needs
from exchange.core.decide.refund import decide_refund, further_refund_needs, refund_needs
from exchange.core.decide.transfer import decide_transfer, transfer_needs
from exchange.core.decisions import Accepted, Decision, Refused, Rejected, Repeated, RepeatedHere, Woken
from exchange.core.ids import entry_text
from exchange.core.needs import Needs
from exchange.core.rates import Cards
from exchange.core.refusals import UNRECORDED, Reason, Refusal

_Decide = Callable[[Any, Book], Accepted | Refusal]
"""Takes the command of its kind; which one that is, the table below says."""

_RULES: Final[dict[str, _Decide]] = {
    "earn": decide_earn,
    "confirm_earn": decide_confirm,
    "cancel_earn": decide_cancel,
    "claw_back_earn": decide_claw_back,
    "authorize_burn": decide_authorize,
    "extend_hold": decide_extend,
    "capture_burn": decide_capture,
    "void_burn": decide_release,
    "burn": decide_burn,
    "refund_burn": decide_refund,
    "exchange_in": decide_exchange_in,
    "exchange_out": decide_exchange_out,
    "confirm_exchange_out": decide_confirm_exchange,
    "refuse_exchange_out": decide_release,
    "transfer": decide_transfer,
    "adjust": decide_adjust,
    "freeze": decide_state,
    "unfreeze": decide_state,
    "close": decide_state,
    "merge": decide_merge,
    "unmerge": decide_unmerge,
}

_NEEDS_OF_TERMS: Final[dict[str, Callable[[Any, Terms, Needs], None]]] = {
    "burn": spending_needs,
    "authorize_burn": spending_needs,
    "exchange_out": spending_needs,
    "transfer": transfer_needs,
}
_NEEDS_OF_CARDS: Final[dict[str, Callable[[Any, Cards, Terms, Needs], None]]] = {
    "earn": earn_needs,
    "exchange_in": exchange_in_needs,
}
_NEEDS: Final[dict[str, Callable[[Any, Needs], None]]] = {
    "wake": lambda command, needs: needs.members.add(command.member_id),
    "confirm_earn": pending_needs,
    "cancel_earn": pending_needs,
    "claw_back_earn": claw_back_needs,
    "extend_hold": held_needs,
    "capture_burn": held_needs,
    "void_burn": held_needs,
    "refund_burn": refund_needs,
    "confirm_exchange_out": held_needs,
    "refuse_exchange_out": held_needs,
    "adjust": adjust_needs,
    "freeze": operator_needs,
    "unfreeze": operator_needs,
    "close": operator_needs,
    "merge": merge_needs,
    "unmerge": unmerge_needs,
}

_FURTHER: Final[dict[str, Callable[[Any, Book, Needs], None]]] = {
    "refund_burn": further_refund_needs,
    "unmerge": further_unmerge_needs,
}
_SPENDING: Final = (Burn, AuthorizeBurn, ExchangeOut)
_PARTED: Final = frozenset({"claw_back_earn", "refund_burn"})
_SECOND_MEMBER: Final = {"transfer": "to_member_id", "merge": "into_member_id"}


def collect_needs(commands: Iterable[Command], cards: Cards, terms: Terms) -> Needs:
    """Everything the commands are known to read before anything is, stated by the rule of each."""
    needs = Needs()
    for command in commands:
        kind = command.kind
        if kind in _NEEDS_OF_CARDS:
            _NEEDS_OF_CARDS[kind](command, cards, terms, needs)
        elif kind in _NEEDS_OF_TERMS:
            _NEEDS_OF_TERMS[kind](command, terms, needs)
        else:
            _NEEDS[kind](command, needs)
    return needs


def further_needs(commands: Sequence[Command], book: Book) -> Needs:
    """What the rules read besides, as far as what was read by now shows it.

    Names again what it named before: the store reads what it has not read yet, and asks until that is nothing.
    A member that is not locked yet is one of `members`, and of nothing else until it is.
    """
    needs = Needs()
    for wallet in book.wallets.values():
        due_needs(wallet, book, needs)
        if wallet.deficit_points:
            needs.whole.add(wallet.member_id)
        if wallet.state is MERGED:
            lineage_needs(wallet, book, needs)
    needs.originals.update(key for key, hold in book.holds.items() if hold.deadline < book.wall_time)
    for move in book.lot_moves:  # whoever has points that were another's: their due postings count too
        needs.members.update((move.source.member_id, move.target.member_id))
    _further_needs_of(commands, book, needs)
    needs.members |= needs.whole
    needs.members -= book.wallets.keys()
    needs.whole -= needs.members
    return needs


def _further_needs_of(commands: Sequence[Command], book: Book, needs: Needs) -> None:
    spending: dict[int, int] = {}
    for command in commands:
        if isinstance(command, _SPENDING):
            spending[command.member_id] = spending.get(command.member_id, 0) + command.points
        elif isinstance(command, ConfirmEarn):
            further_confirm_needs(command, commands, book, needs)
        elif command.kind in _FURTHER:
            _FURTHER[command.kind](command, book, needs)
    further_spending_needs(spending, book, needs)


def plan(commands: Sequence[Command], book: Book) -> list[Decision]:
    """One decision a command, in order; the book holds the entries and the changed rows afterwards."""
    return [_decide(index, command, book) for index, command in enumerate(commands)]


def _decide(index: int, command: Command, book: Book) -> Decision:
    if isinstance(command, Wake):
        wallet = book.wallets.get(command.member_id)
        return Woken(0 if wallet is None else wake(wallet, book))
    key = (command.partner_id, command.request_id)
    known = book.requests.get(key)
    if known is not None:
        return _repeat(command, known, book)
    kind = command.kind
    wallet = book.wallets.get(command.member_id)
    if kind in _SECOND_MEMBER:
        other = book.wallets.get(getattr(command, _SECOND_MEMBER[kind]))
        _wake([each for each in (wallet, other) if each is not None], book)
    elif wallet is not None:
        if wallet.state is MERGED:
            _wake([wallet], book)
        elif not wallet.woken:
            wake(wallet, book)
    outcome = _RULES[kind](command, book)
    if isinstance(outcome, Refusal):
        if outcome.reason in UNRECORDED:
            return Rejected(outcome)
        decision: Accepted | Refused = Refused(command, outcome)
    else:
        decision = outcome
        part = part_of(command) if kind in _PARTED else 0
        reference = (command.partner_id, kind, command.reference, part)
        book.references[reference] = entry_text(book.batch_id, outcome.entry_index)
    book.requests[key] = index
    book.fingerprints[key] = command.fingerprint
    return decision


def _wake(named: list[Wallet], book: Book) -> None:
    """Posts what is due for those whom a command names, then for those in whom they live on."""
    for wallet in [*named, *(book.survivor(wallet) for wallet in named)]:
        wake(wallet, book)


def _repeat(command: Asked, known: Known | int, book: Book) -> Decision:
    if isinstance(known, Known):
        if known.fingerprint == command.fingerprint:
            return Repeated(known.accepted, known.answer)
    elif book.fingerprints[command.partner_id, command.request_id] == command.fingerprint:
        return RepeatedHere(known)
    return Rejected(Refusal(Reason.REQUEST_ID_REUSED))
