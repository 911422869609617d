"""Merge and unmerge: one person had two accounts, or was thought to."""

from __future__ import annotations

from exchange.core.accounts import Link, MemberState, Wallet
from exchange.core.book import Book
from exchange.core.commands import Merge, Unmerge
from exchange.core.decide.account import check_nothing_outstanding
from exchange.core.decide.admission import admit_operator, operator_needs
from exchange.core.decide.arrival import absorb_open_lots
from exchange.core.decide.draft import Draft
from exchange.core.decisions import Accepted
from exchange.core.lots import MERGE, UNMERGE, LotMove, LotPlace
from exchange.core.needs import Needs
from exchange.core.originals import Deficit, EntryName, Original
from exchange.core.rates import NEVER
from exchange.core.refusals import Reason, Refusal

_LIVING = (MemberState.ACTIVE, MemberState.FROZEN)


def merge_needs(command: Merge, needs: Needs) -> None:
    """Besides what every command needs: the survivor, whole."""
    operator_needs(command, needs)
    needs.members.add(command.into_member_id)
    needs.whole.add(command.into_member_id)


def unmerge_needs(command: Unmerge, needs: Needs) -> None:
    """Besides what every command needs: the merge."""
    operator_needs(command, needs)
    needs.originals.add((command.partner_id, command.original))


def further_unmerge_needs(command: Unmerge, book: Book, needs: Needs) -> None:
    """Every move that the merge made. Whoever has the points now is whole, as all survivors are."""
    wallet = book.wallets.get(command.member_id)
    if wallet is not None and wallet.merged_by is not None:
        needs.merges.add(wallet.merged_by)


def decide_merge(command: Merge, book: Book) -> Accepted | Refusal:
    """Moves all that a member has and owes to another, who lives on for both."""
    wallet = admit_operator(command, book)
    if isinstance(wallet, Refusal):
        return wallet
    survivor = book.wallets.get(command.into_member_id)
    if survivor is None:
        return Refusal(Reason.MEMBER_UNKNOWN)
    refusal = _check_merge(wallet, survivor)
    if refusal is not None:
        return refusal

    # From here on nothing can fail.
    name = EntryName(book.batch_id, len(book.entries))
    draft = Draft()
    moved = wallet.open_points
    for lot in wallet.spendable():
        row = survivor.row_like(lot, lot.expiry_date)
        move = LotMove(lot.place, row.place, *name, MERGE, lot.open_points)
        draft.carry_noted(wallet, lot, survivor, row, move, book)
        survivor.next_expiry_date = min(survivor.next_expiry_date, lot.expiry_date)
    for deficit in wallet.owed():
        _inherit(deficit, wallet, survivor)
    absorb_open_lots(draft, survivor)
    _share_marks(wallet, survivor, book)
    _share_links(wallet, survivor, book)
    wallet.state = MemberState.MERGED
    wallet.survivor_id = survivor.member_id
    wallet.merged_by = name
    wallet.next_expiry_date = NEVER
    wallet.changed = survivor.changed = True
    entry, index = draft.post(command, moved, 0, book)
    return Accepted(entry, index, survivor.open_points)


def _check_merge(wallet: Wallet, survivor: Wallet) -> Refusal | None:
    if wallet is survivor:
        return Refusal(Reason.SAME_MEMBER)
    for each in (wallet, survivor):
        if each.state not in _LIVING:
            return Refusal(Reason.MEMBER_STATE, (("state", each.state.value),))
    return check_nothing_outstanding(wallet) or check_nothing_outstanding(survivor)


def _inherit(deficit: Deficit, debtor: Wallet, heir: Wallet) -> None:
    """Makes another account owe what is outstanding, to the same issuer, at the same F, since the same time."""
    points = deficit.outstanding_points
    heir.deficit_sequence += 1
    own = Deficit(
        heir.member_id,
        heir.deficit_sequence,
        deficit.issuer_id,
        deficit.funding_micros,
        deficit.raised_time,
        moved_from=(deficit.member_id, deficit.deficit_sequence),
        created=True,
    )
    heir.deficits.append(own)
    _move_deficit(deficit, own, points, debtor, heir)


def _move_deficit(deficit: Deficit, target: Deficit, points: int, debtor: Wallet, heir: Wallet) -> None:
    deficit.moved_out_points += points
    target.moved_in_points += points
    debtor.deficit_points -= points
    heir.deficit_points += points
    deficit.changed = target.changed = debtor.changed = heir.changed = True


def _share_marks(wallet: Wallet, survivor: Wallet, book: Book) -> None:
    """What either has earned once, both have."""
    both = (wallet.member_id, survivor.member_id)
    rules = {(partner_id, rule) for member_id, partner_id, rule in book.marks if member_id in both}
    fresh = sorted({(member_id, *rule) for rule in rules for member_id in both} - book.marks)
    book.marks.update(fresh)
    book.new_marks += fresh


def _share_links(wallet: Wallet, survivor: Wallet, book: Book) -> None:
    """The survivor is known wherever the member was; consent is not inherited."""
    partners = [
        link.partner_id
        for link in book.links.values()
        if link.member_id == wallet.member_id and not link.unlinked
    ]
    for partner_id in partners:
        key = (survivor.member_id, partner_id)
        if key not in book.links:
            book.links[key] = Link(*key, created=True)


def decide_unmerge(command: Unmerge, book: Book) -> Accepted | Refusal:
    """Moves back what of a merge is still there, and makes the member's account its own again."""
    wallet = admit_operator(command, book)
    if isinstance(wallet, Refusal):
        return wallet
    original = book.original(command.partner_id, command.original)
    if original is None or original.posting.kind != "merge":
        return Refusal(Reason.ORIGINAL_UNKNOWN)
    if original.posting.member_id != wallet.member_id:
        return Refusal(Reason.ORIGINAL_UNKNOWN)
    if wallet.merged_by != original.posting.name:
        return Refusal(Reason.MEMBER_STATE, (("state", wallet.state.value),))

    # From here on nothing can fail.
    draft = Draft()
    survivor = book.survivor(wallet)
    moved = _move_back(draft, wallet, survivor, original, book)
    for deficit in survivor.owed():
        own = _inherited_from(deficit, wallet, book)
        if own is not None:
            _move_deficit(deficit, own, deficit.outstanding_points, survivor, wallet)
    wallet.state = MemberState.ACTIVE
    wallet.survivor_id = 0
    wallet.merged_by = None
    wallet.changed = True
    entry, index = draft.post(command, moved, 0, book, original=original)
    return Accepted(entry, index, wallet.open_points)


def _move_back(draft: Draft, wallet: Wallet, survivor: Wallet, original: Original, book: Book) -> int:
    """Per row, the lesser of what that merge moved and what is open where it is now; gives the sum."""
    sent: dict[LotPlace, int] = {}
    for move in book.lot_moves:
        if move.why == MERGE and (move.batch_id, move.entry_index) == original.posting.name:
            sent[move.source] = sent.get(move.source, 0) + move.points
    name = EntryName(book.batch_id, len(book.entries))
    lots = wallet.by_sequence()
    moved = 0
    for source, points in sent.items():
        lot = lots[source.lot_sequence]
        row = survivor.row_like(lot, lot.expiry_date)
        back = min(points, row.open_points)
        if back:
            move = LotMove(row.place, source, *name, UNMERGE, back)
            draft.carry_noted(survivor, row, wallet, lot, move, book)
            wallet.next_expiry_date = min(wallet.next_expiry_date, lot.expiry_date)
            moved += back
    return moved


def _inherited_from(deficit: Deficit, wallet: Wallet, book: Book) -> Deficit | None:
    """The member's deficit that became this one of a survivor's, by one merge or by several."""
    owners = {each.member_id: each for each in book.lineage(wallet)}
    while deficit.moved_from is not None and deficit.moved_from[0] in owners:
        owner = owners[deficit.moved_from[0]]
        numbered = {each.deficit_sequence: each for each in owner.deficits}
        deficit = numbered[deficit.moved_from[1]]
        if owner is wallet:
            return deficit
    return None
