"""The checks that every command of a partner passes first."""

from __future__ import annotations

from exchange.core.book import Book, Link, Wallet
from exchange.core.commands import PART, Asked
from exchange.core.needs import Needs
from exchange.core.refusals import Reason, Refusal


def admission_needs(command: Asked, needs: Needs) -> None:
    """The wallet, the link, and whether request id and reference were used before."""
    needs.members.add(command.member_id)
    needs.links.add((command.member_id, command.partner_id))
    needs.requests.append((command.partner_id, command.request_id))
    needs.references.append((command.partner_id, command.kind, command.reference, PART))


def admit(command: Asked, book: Book) -> tuple[Wallet, Link] | Refusal:
    """The member's wallet and link, or the first check that fails."""
    if command.event_time > book.latest_event:
        return Refusal(Reason.EVENT_IN_FUTURE)
    wallet = book.wallets.get(command.member_id)
    link = book.links.get((command.member_id, command.partner_id))
    if wallet is None or link is None:
        return Refusal(Reason.MEMBER_UNKNOWN)
    if command.event_time < book.oldest_event:
        return Refusal(Reason.EVENT_TOO_OLD)
    used_by = book.references.get((command.partner_id, command.kind, command.reference, PART))
    if used_by is not None:
        return Refusal(Reason.DUPLICATE_REFERENCE, (("entry_id", used_by),))
    return wallet, link
