"""Holds: points set aside for a burn or an exchange, at prices that stay, until they are taken or released."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from exchange.core.accounts import NO_DEADLINE, Wallet
from exchange.core.book import Book
from exchange.core.commands import (
    AuthorizeBurn,
    CaptureBurn,
    ConfirmExchangeOut,
    ExchangeOut,
    ExtendHold,
    RefuseExchangeOut,
    VoidBurn,
)
from exchange.core.decide.admission import Admitted, admission_needs, admit
from exchange.core.decide.authority import use_authority
from exchange.core.decide.burn import check_available, check_spending, portions, reimbursed
from exchange.core.decide.draft import Draft
from exchange.core.decide.prices import use_quote
from exchange.core.decide.release import end_hold, release
from exchange.core.decisions import Accepted, Figures
from exchange.core.needs import Needs
from exchange.core.originals import EntryName, Hold, Original
from exchange.core.points import HELD, OPEN
from exchange.core.rates import RateCard
from exchange.core.refusals import Reason, Refusal

DEFAULT_SECONDS: Final = 900
LONGEST: Final = timedelta(days=7)
"""How long after its authorisation a hold can end at the latest."""

_ENDED: Final = {
    "capture_burn": "captured",
    "void_burn": "voided",
    "confirm_exchange_out": "confirmed",
    "refuse_exchange_out": "refused",
}
_AUTHORISATION: Final = {
    "extend_hold": "authorize_burn",
    "capture_burn": "authorize_burn",
    "void_burn": "authorize_burn",
    "confirm_exchange_out": "exchange_out",
    "refuse_exchange_out": "exchange_out",
}

FollowsHold = ExtendHold | CaptureBurn | VoidBurn | ConfirmExchangeOut | RefuseExchangeOut


class _Held(NamedTuple):
    """An open hold, its authorisation, and the account it is in."""

    hold: Hold
    original: Original
    wallet: Wallet


def held_needs(command: FollowsHold, needs: Needs) -> None:
    """Besides what every command needs: the authorisation."""
    admission_needs(command, needs)
    needs.originals.add((command.partner_id, command.original))


def decide_authorize(command: AuthorizeBurn, book: Book) -> Accepted | Refusal:
    """As a burn, except that the points are held and no money moves yet."""
    admitted = admit(command, book)
    if isinstance(admitted, Refusal):
        return admitted
    card = check_spending(command, admitted, book)
    if isinstance(card, Refusal):
        return card
    lacking = check_available(command.points, admitted[0])
    if lacking is not None:
        return lacking

    # From here on nothing can fail.
    deadline = book.wall_time + timedelta(seconds=command.hold_seconds or DEFAULT_SECONDS)
    return _hold(command, admitted, card, book, deadline=deadline)


def decide_exchange_out(command: ExchangeOut, book: Book) -> Accepted | Refusal:
    """Points are held until the partner says whether it has credited its own; no time ends it."""
    admitted = admit(command, book)
    if isinstance(admitted, Refusal):
        return admitted
    card = check_spending(command, admitted, book)
    if isinstance(card, Refusal):
        return card
    if card.native_rate_out is None:
        return Refusal(Reason.NO_NATIVE_RATE)
    native_points = card.native_for(command.points)
    if native_points == 0:
        return Refusal(Reason.NOTHING_TO_EXCHANGE)
    lacking = check_available(command.points, admitted[0])
    if lacking is not None:
        return lacking

    # From here on nothing can fail.
    return _hold(command, admitted, card, book, native_points=native_points)


def _hold(
    command: AuthorizeBurn | ExchangeOut,
    admitted: Admitted,
    card: RateCard,
    book: Book,
    *,
    deadline: datetime = NO_DEADLINE,
    native_points: int = 0,
) -> Accepted:
    wallet = admitted[0]
    draft = Draft()
    for lot, taken in portions(wallet, command.points):
        draft.move(wallet, lot, OPEN, HELD, taken)
    use_authority(command, admitted, book)
    entry, index = draft.post(command, command.points, card.version, book, native_points=native_points)
    use_quote(command.authority.quote, index, book)
    book.holds[command.partner_id, command.request_id] = Hold(
        command.partner_id,
        command.request_id,
        wallet.member_id,
        EntryName(book.batch_id, index),
        "burn" if command.kind == "authorize_burn" else "exchange_out",
        command.points,
        card.version,
        book.wall_time,
        deadline,
        created=True,
    )
    wallet.next_deadline = min(wallet.next_deadline, deadline)
    shown = None if deadline == NO_DEADLINE else deadline
    figures = Figures(native_points=native_points, deadline=shown)
    value = command.points * card.face_value_micros
    return Accepted(entry, index, wallet.open_points, None, value, figures=figures)


def decide_extend(command: ExtendHold, book: Book) -> Accepted | Refusal:
    """A new deadline, counted from now by the wall clock."""
    held = _find(command, book)
    if isinstance(held, Refusal):
        return held
    hold, original, wallet = held
    deadline = book.wall_time + timedelta(seconds=command.hold_seconds)
    if deadline > hold.authorised_time + LONGEST:
        return Refusal(Reason.HOLD_TOO_LONG)

    # From here on nothing can fail.
    hold.deadline = deadline
    hold.changed = True
    wallet.next_deadline = min(wallet.next_deadline, deadline)
    wallet.changed = True
    entry, index = Draft().post(command, hold.points, hold.rate_version, book, original=original)
    return Accepted(entry, index, wallet.open_points, figures=Figures(deadline=deadline))


def decide_capture(command: CaptureBurn, book: Book) -> Accepted | Refusal:
    """Burns what is held, or a part of it; the rest is released."""
    held = _find(command, book)
    if isinstance(held, Refusal):
        return held
    points = command.points or held.hold.points
    if points > held.hold.points:
        return Refusal(Reason.OVER_ORIGINAL, (("remaining_points", str(held.hold.points)),))

    # From here on nothing can fail.
    return _take(command, points, held, book)


def decide_confirm_exchange(command: ConfirmExchangeOut, book: Book) -> Accepted | Refusal:
    """The partner has credited its own points: everything that is held is burned there."""
    held = _find(command, book)
    return held if isinstance(held, Refusal) else _take(command, held.hold.points, held, book)


def _take(command: CaptureBurn | ConfirmExchangeOut, points: int, held: _Held, book: Book) -> Accepted:
    hold, original, wallet = held
    card = book.cards.of_version(command.partner_id, hold.rate_version)
    draft = Draft()
    end_hold(draft, hold, original, (points, card), wallet, book)
    native_points = original.posting.native_points
    entry, index = draft.post(
        command, points, card.version, book, original=original, native_points=native_points
    )
    figures = Figures(released_points=hold.points - points)
    value = points * card.face_value_micros
    return Accepted(entry, index, wallet.open_points, None, value, reimbursed(entry.lines), figures)


def decide_release(command: VoidBurn | RefuseExchangeOut, book: Book) -> Accepted | Refusal:
    """Everything that is held goes back."""
    held = _find(command, book)
    if isinstance(held, Refusal):
        return held
    hold, original, wallet = held
    draft = Draft()
    release(draft, hold, original, wallet, book)
    entry, index = draft.post(command, hold.points, hold.rate_version, book, original=original)
    return Accepted(entry, index, wallet.open_points)


def _find(command: FollowsHold, book: Book) -> _Held | Refusal:
    """The open hold of an authorisation. What lapses does so before a command is looked at."""
    admitted = admit(command, book)
    if isinstance(admitted, Refusal):
        return admitted
    original = book.original(command.partner_id, command.original)
    if (
        original is None
        or original.posting.kind != _AUTHORISATION[command.kind]
        or original.posting.member_id != command.member_id
    ):
        return Refusal(Reason.HOLD_UNKNOWN)
    hold = book.holds.get((command.partner_id, command.original))
    if hold is None or hold.closed:
        ends = [_ENDED[posting.kind] for posting in original.followed_by(*_ENDED)]
        return Refusal(Reason.HOLD_CLOSED, (("state", ends[0]),)) if ends else Refusal(Reason.HOLD_LAPSED)
    return _Held(hold, original, admitted[0])
