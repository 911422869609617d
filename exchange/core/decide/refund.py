"""Refund: goods that were paid with points came back, so the same lots get their points back."""

from __future__ import annotations

from exchange.core.accounts import Wallet
from exchange.core.book import Book
from exchange.core.commands import Adjust, RefundBurn
from exchange.core.decide.admission import admission_needs, admit
from exchange.core.decide.arrival import arrive, grace_day
from exchange.core.decide.draft import Draft
from exchange.core.decide.prices import owe_refund
from exchange.core.decisions import Accepted, Figures
from exchange.core.journal import Leg
from exchange.core.lots import LotKey, LotPlace
from exchange.core.money import REIMBURSE_REVERSAL
from exchange.core.needs import Needs
from exchange.core.originals import Original
from exchange.core.points import BURNED
from exchange.core.refusals import Reason, Refusal

BURNING = ("burn", "capture_burn", "confirm_exchange_out")
"""What can be refunded."""


def refund_needs(command: RefundBurn, needs: Needs) -> None:
    """Besides what every command needs: the burn, with its lots."""
    admission_needs(command, needs, command.part)
    needs.originals.add((command.partner_id, command.original))


def further_refund_needs(command: RefundBurn, book: Book, needs: Needs) -> None:
    """The rows for points whose own day has passed."""
    original = book.originals.get((command.partner_id, command.original))
    if original is not None and book.terms.grace_days:
        needs.lots.update(
            LotKey(command.member_id, leg.issuer_id, leg.rate_version, grace_day(book))
            for leg in original.posting.legs
        )


def decide_refund(command: RefundBurn, book: Book) -> Accepted | Refusal:
    """Checks in the order of docs/ledger.md, Refund; the first that fails is the answer."""
    admitted = admit(command, book, command.part)
    if isinstance(admitted, Refusal):
        return admitted
    return refund(command, command, admitted[0], book)


def refund(asked: RefundBurn, posted: RefundBurn | Adjust, wallet: Wallet, book: Book) -> Accepted | Refusal:
    """What a refund posts, by itself or where an adjustment stands for it."""
    original = book.original(asked.partner_id, asked.original)
    if original is None or original.posting.kind not in BURNING:
        return Refusal(Reason.ORIGINAL_UNKNOWN)
    if original.posting.member_id != asked.member_id:
        return Refusal(Reason.ORIGINAL_UNKNOWN)
    left = _left(original)
    total = sum([points for _, points in left])
    if asked.points > total:
        return Refusal(Reason.OVER_ORIGINAL, (("remaining_points", str(total)),))

    # From here on nothing can fail.
    pro_rata = book.terms.refund == "pro_rata"
    parts = _pro_rata(left, asked.points, total) if pro_rata else _last_first(left, asked.points)
    draft = _return(asked, original, parts, wallet, book)
    version = original.posting.rate_version
    entry, index = draft.post(posted, asked.points, version, book, original=original)
    paid_back = sum([line.micros for line in entry.lines if line.payer_component == REIMBURSE_REVERSAL])
    figures = Figures(remaining_points=total - asked.points)
    available = book.survivor(wallet).open_points
    return Accepted(entry, index, available, reimbursement_micros=paid_back, figures=figures)


def _return(
    asked: RefundBurn, original: Original, parts: list[tuple[Leg, int]], wallet: Wallet, book: Book
) -> Draft:
    card = book.cards.of_version(asked.partner_id, original.posting.rate_version)
    lots = wallet.by_sequence()
    draft = Draft()
    for leg, points in parts:
        lot = lots[leg.lot_sequence]
        owe_refund(draft, lot, points, card)
        arrive(draft, wallet, lot, BURNED, points, book, with_grace=True)
    return draft


def _left(original: Original) -> list[tuple[Leg, int]]:
    """The burned legs, in the order in which they were taken, each with what was not refunded yet."""
    returned: dict[LotPlace, int] = {}
    for posting in original.followed_by("refund_burn"):
        for leg in posting.legs:
            if leg.from_account == BURNED:
                place = LotPlace(leg.member_id, leg.lot_sequence)
                returned[place] = returned.get(place, 0) + leg.points
    return [
        (leg, leg.points - returned.get(LotPlace(leg.member_id, leg.lot_sequence), 0))
        for leg in original.posting.legs
        if leg.to_account == BURNED
    ]


def _last_first(left: list[tuple[Leg, int]], points: int) -> list[tuple[Leg, int]]:
    parts = []
    for leg, available in reversed(left):
        part = min(points, available)
        if part:
            parts.append((leg, part))
            points -= part
    return parts


def _pro_rata(left: list[tuple[Leg, int]], points: int, total: int) -> list[tuple[Leg, int]]:
    """Over what each leg has left: floors, then one more each by the largest remainder, ties to the first."""
    shares = [divmod(points * available, total) for _, available in left]
    rest = points - sum([whole for whole, _ in shares])
    by_remainder = sorted(range(len(left)), key=lambda place: -shares[place][1])
    rounded_up = set(by_remainder[:rest])
    parts = [(leg, shares[place][0] + (place in rounded_up)) for place, (leg, _) in enumerate(left)]
    return [(leg, part) for leg, part in parts if part]
