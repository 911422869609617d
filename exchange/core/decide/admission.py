"""The checks that every command passes first."""

from __future__ import annotations

from typing import Final

from exchange.core.accounts import ACTIVE, Link, MemberState, Wallet
from exchange.core.book import Book
from exchange.core.commands import OperatorCommand, PartnerCommand
from exchange.core.ids import member_text
from exchange.core.needs import Needs
from exchange.core.refusals import Reason, Refusal

EARNING: Final = frozenset({"earn", "exchange_in"})
SPENDING: Final = frozenset({"authorize_burn", "burn", "exchange_out", "transfer"})


Admitted = tuple[Wallet, Link]
"""The account of a command's member, and its connection to the partner that asks."""


def admission_needs(command: PartnerCommand, needs: Needs, part: int = 0) -> None:
    """The wallet, the link, and whether request id and reference were used before."""
    needs.members.add(command.member_id)
    needs.links.add((command.member_id, command.partner_id))
    needs.requests.append((command.partner_id, command.request_id))
    needs.references.append((command.partner_id, command.kind, command.reference, part))


def operator_needs(command: OperatorCommand, needs: Needs) -> None:
    """The whole member, and whether request id and reference were used before."""
    needs.members.add(command.member_id)
    needs.whole.add(command.member_id)
    needs.requests.append((command.partner_id, command.request_id))
    needs.references.append((command.partner_id, command.kind, command.reference, 0))


def admit(
    command: PartnerCommand, book: Book, part: int = 0, *, other_known: bool = True
) -> Admitted | Refusal:
    """The member's wallet and link, or the first check that fails.

    `other_known` says whether a second member, where the command has one, is linked to the partner too.
    """
    if command.event_time > book.latest_event:
        return Refusal(Reason.EVENT_IN_FUTURE)
    wallet = book.wallets.get(command.member_id)
    link = book.links.get((command.member_id, command.partner_id))
    if wallet is None or link is None or not other_known:
        return Refusal(Reason.MEMBER_UNKNOWN)
    if link.unlinked and (command.kind in EARNING or command.kind in SPENDING):
        return Refusal(Reason.MEMBER_UNKNOWN)
    if command.event_time < book.oldest_event:
        return Refusal(Reason.EVENT_TOO_OLD)
    used_by = book.references.get((command.partner_id, command.kind, command.reference, part))
    if used_by is not None:
        return _duplicate(used_by)
    if wallet.state is not ACTIVE:
        barred = check_state(command.kind, wallet, book)
        if barred is not None:
            return barred
    return wallet, link


def admit_operator(command: OperatorCommand, book: Book) -> Wallet | Refusal:
    """The member's wallet: an operator needs no link, and may correct what is long past."""
    if command.event_time > book.latest_event:
        return Refusal(Reason.EVENT_IN_FUTURE)
    wallet = book.wallets.get(command.member_id)
    if wallet is None:
        return Refusal(Reason.MEMBER_UNKNOWN)
    return check_reference(command, book) or wallet


def check_state(kind: str, wallet: Wallet, book: Book) -> Refusal | None:
    """Whether an account may earn or spend. What is earned through a merged one is earned by its survivor."""
    if kind in SPENDING and wallet.state == MemberState.MERGED:
        survivor = member_text(book.survivor(wallet).member_id)
        return Refusal(Reason.MEMBER_MERGED, (("survivor_member_id", survivor),))
    if kind in SPENDING or kind in EARNING:
        state = book.survivor(wallet).state
        if state == MemberState.FROZEN:
            return Refusal(Reason.MEMBER_FROZEN)
        if state == MemberState.CLOSED:
            return Refusal(Reason.MEMBER_CLOSED)
    return None


def check_reference(command: OperatorCommand, book: Book) -> Refusal | None:
    """A reference counts once for a kind; an operator need not give one."""
    used_by = book.references.get((command.partner_id, command.kind, command.reference, 0))
    return _duplicate(used_by) if used_by is not None and command.reference else None


def _duplicate(entry_id: str) -> Refusal:
    return Refusal(Reason.DUPLICATE_REFERENCE, (("entry_id", entry_id),))
