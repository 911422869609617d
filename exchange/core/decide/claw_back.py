"""Claw back: an order that earned points was refunded, so its points are taken back, or owed."""

from __future__ import annotations

from exchange.core.accounts import MemberState, Wallet
from exchange.core.book import Book
from exchange.core.commands import Adjust, ClawBackEarn
from exchange.core.decide.admission import admission_needs, admit
from exchange.core.decide.arrival import absorb_open_lots, raise_deficit
from exchange.core.decide.draft import Draft
from exchange.core.decide.due import wake
from exchange.core.decide.pending import earn_of
from exchange.core.decisions import Accepted, Figures
from exchange.core.ids import POOL
from exchange.core.lots import GRACE, MERGE, Lot, LotMove, LotPlace
from exchange.core.money import CLAWBACK_FUNDING
from exchange.core.needs import Needs
from exchange.core.originals import Original
from exchange.core.points import CLAWED_BACK, ISSUED, OPEN
from exchange.core.refusals import Reason, Refusal


def claw_back_needs(command: ClawBackEarn, needs: Needs) -> None:
    """Besides what every command needs: the earn with its lot, and all that the member has and owes."""
    admission_needs(command, needs, command.part)
    needs.whole.add(command.member_id)
    needs.originals.add((command.partner_id, command.original))


def decide_claw_back(command: ClawBackEarn, book: Book) -> Accepted | Refusal:
    """Checks in the order of docs/ledger.md, Claw back; the first that fails is the answer."""
    admitted = admit(command, book, command.part)
    if isinstance(admitted, Refusal):
        return admitted
    return claw_back(command, command, admitted[0], book)


def claw_back(
    asked: ClawBackEarn, posted: ClawBackEarn | Adjust, wallet: Wallet, book: Book
) -> Accepted | Refusal:
    """What a claw back posts, by itself or where an adjustment stands for it."""
    original = earn_of(asked.partner_id, asked.original, asked.member_id, book)
    if original is None:
        return Refusal(Reason.ORIGINAL_UNKNOWN)
    if original.followed_by("cancel_earn"):
        return Refusal(Reason.EARN_CANCELLED)
    wanted = _wanted(asked, original, book)
    if isinstance(wanted, Refusal):
        return wanted

    # From here on nothing can fail.
    draft = Draft()
    place = _place(original)
    if place is None:
        _lower_promise(asked, wanted, wallet, book)
        deficit = 0
    else:
        deficit = _take_back(draft, place, wanted, wallet, book)
    taken = wanted + sum([posting.points for posting in original.followed_by("claw_back_earn")])
    entry, index = draft.post(
        posted,
        wanted,
        original.posting.rate_version,
        book,
        original=original,
        spend_minor=asked.refunded_spend_minor,
    )
    figures = Figures(remaining_points=original.posting.points - taken, deficit_points=deficit)
    return Accepted(entry, index, book.survivor(wallet).open_points, figures=figures)


def _wanted(asked: ClawBackEarn, original: Original, book: Book) -> int | Refusal:
    """Points to take, of what was earned and not taken yet."""
    earned = original.posting
    before = original.followed_by("claw_back_earn")
    left = earned.points - sum([posting.points for posting in before])
    if not asked.refunded_spend_minor:
        if asked.points > left:
            return Refusal(Reason.OVER_ORIGINAL, (("remaining_points", str(left)),))
        return asked.points
    if not earned.spend_minor:
        return Refusal(Reason.CLAW_BACK_BASIS)
    spend_left = earned.spend_minor - sum([posting.spend_minor for posting in before])
    if asked.refunded_spend_minor > spend_left:
        return Refusal(Reason.OVER_ORIGINAL, (("remaining_spend_minor", str(spend_left)),))
    card = book.cards.of_version(asked.partner_id, earned.rate_version)
    kept = card.points_for(spend_left - asked.refunded_spend_minor, book.terms.minor_per_major)
    return max(0, left - kept)


def _place(original: Original) -> LotPlace | None:
    """The lot that the earn made or joined; none while it is pending."""
    for posting in (original.posting, *original.followed_by("confirm_earn")):
        for leg in posting.legs:
            if leg.from_account == ISSUED:
                return LotPlace(leg.member_id, leg.lot_sequence)
    return None


def _lower_promise(asked: ClawBackEarn, points: int, wallet: Wallet, book: Book) -> None:
    pending = book.pending_earns.get((asked.partner_id, asked.original))
    if not points or pending is None:
        return
    pending.points -= points
    pending.changed = True
    pending.closed = pending.points == 0
    wallet.pending_points -= points
    wallet.changed = True


def _take_back(draft: Draft, place: LotPlace, wanted: int, wallet: Wallet, book: Book) -> int:
    """Takes open points where the earn's went and makes the rest, as far as it was used, a deficit; gives this."""
    survivor = book.survivor(wallet)
    rows = _rows(_reached(place, book.lot_moves), book)
    rest = wanted
    for holder, lot in rows:
        taken = min(rest, lot.open_points)
        if (
            taken and book.survivor(holder) is survivor
        ):  # not from who was taken for this member and is another
            draft.move(holder, lot, OPEN, CLAWED_BACK, taken)
            draft.owe(POOL, CLAWBACK_FUNDING, lot.issuer_id, CLAWBACK_FUNDING, taken * lot.prefunded_micros)
            rest -= taken
    if not rest or book.terms.claw_back == "clamp" or survivor.state == MemberState.CLOSED:
        return 0
    deficit = min(rest, max(0, sum([lot.used_points for _, lot in rows])))
    if deficit:
        _, earned = rows[0]
        earned.deficit_raised_points += deficit
        earned.changed = True
        raise_deficit(survivor, earned.issuer_id, earned.funding_micros, deficit, book)
        absorb_open_lots(draft, survivor)
    return deficit


def _reached(place: LotPlace, moves: list[LotMove]) -> list[LotPlace]:
    """A row, and the rows to which merge and grace moved its points, however often, in the order of the moves."""
    reached = [place]
    for move in moves:  # in the order of the ledger: points can't go on before they came
        if move.why in (GRACE, MERGE) and move.source in reached and move.target not in reached:
            reached.append(move.target)
    return reached


def _rows(places: list[LotPlace], book: Book) -> list[tuple[Wallet, Lot]]:
    """The lots there, once what is due for their members is posted."""
    rows = []
    for place in places:
        holder = book.wallets[place.member_id]
        wake(holder, book)
        rows.append((holder, holder.by_sequence()[place.lot_sequence]))
    return rows
