"""Reversals at the end of a random history: of a deal made there, and of what is left of the deals in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from exchange.core.commands import Burn, ClawBackEarn, Earn, RefundBurn, Wake
from exchange.core.ids import OPERATOR
from exchange.core.points import MAX_POINTS
from tests.property.asking import ask
from tests.property.coalition import MEMBERS, PARTNERS
from tests.property.histories import HISTORIES, History
from tests.property.playing import ACCOUNTS, LotName, PlayingCore, View
from tests.property.profiles import tries

PIECES = st.lists(st.integers(1, 40), max_size=5)
"""How an amount is cut: each piece is so much, the last is what is left."""
SETTLED = [ACCOUNTS.index(account) for account in ("open", "held", "burned", "expired", "absorbed")]


@tries(100)
@given(HISTORIES, st.integers(0, 11), st.integers(1, 100), PIECES)
def test_a_burn_that_is_refunded_in_whatever_pieces_might_as_well_not_have_been(
    history: History, first: int, share: int, pieces: list[int]
) -> None:
    playing = _played(history)
    before = playing.view()
    burn = _accepted_burn(playing, history, before, first, share)
    assume(burn is not None)

    for refund in _reversals(RefundBurn, history, burn, burn.points, pieces):
        assert _told(playing, history, refund)["verdict"] == "accepted"

    assert playing.view() == before


@tries(100)
@given(HISTORIES, st.integers(0, 11), st.integers(1, 100), PIECES)
def test_an_earn_that_is_clawed_back_in_whatever_pieces_leaves_its_fee(
    history: History, first: int, points: int, pieces: list[int]
) -> None:
    playing = _played(history)
    before = playing.view()
    earn = _earn_that_stays(playing, history, first, points)
    assume(earn is not None)

    for claw_back in _reversals(ClawBackEarn, history, earn, points, pieces):
        assert _told(playing, history, claw_back)["verdict"] == "accepted"

    after = playing.view()
    (card,) = (
        each
        for each in history.coalition.cards
        if (each.partner_id, each.version) == (earn.partner_id, _told(playing, history, earn)["rate_version"])
    )
    fee = points * card.issue_fee_micros
    nets = Counter(before.nets)
    nets[earn.partner_id] -= fee
    nets[OPERATOR] += fee
    assert after.nets == {party: net for party, net in nets.items() if net}
    assert after.members == before.members
    assert _settled(after) == _settled(before)


@tries(60)
@given(HISTORIES, PIECES)
def test_the_rest_of_any_deal_can_be_reversed_once_in_pieces_or_at_once_to_the_same_end(
    history: History, pieces: list[int]
) -> None:
    playing = _played(history)
    in_order = history.coalition.terms.refund == "lot_exact"

    for deal, what in _deals(history):
        left = _left(playing, history, deal, what)
        if left and (in_order or not any(member.deficit for member in playing.view().members.values())):
            at_once, in_pieces = playing.copy(), playing.copy()
            (whole,) = _reversals(what, history, deal, left, [])
            answer = _told(at_once, history, whole)
            assert answer["verdict"] == "accepted"
            for part in _reversals(what, history, deal, left, pieces):
                assert _told(in_pieces, history, part)["verdict"] == "accepted"

            assert _without_numbers(in_pieces.view()) == _without_numbers(at_once.view())
            end = at_once.view()
            assert _told(at_once, history, whole) == answer  # the same once more is the same one
            beyond = ask(what, "beyond", **_named(history, deal), points=1)
            assert _told(at_once, history, beyond)["reason"] == "OVER_ORIGINAL"
            assert at_once.view() == end


def _played(history: History) -> PlayingCore:
    playing = PlayingCore(history.coalition, history.pay_codes)
    for batch in history.batches:
        playing.tell(batch.commands, batch.decided_time, batch.wall_time)
    last = history.batches[-1]
    playing.tell([Wake(member) for member in MEMBERS], last.decided_time, last.wall_time)
    return playing


def _told(playing: PlayingCore, history: History, command: Any) -> Any:
    """The answer to one more command at the end of the history."""
    last = history.batches[-1]
    ((answer, _),) = playing.tell([command], last.decided_time, last.wall_time)
    return answer


def _accepted_burn(playing: PlayingCore, history: History, view: View, first: int, share: int) -> Any:
    """A burn of so many hundredths of what a member has, of the first member and partner who can."""
    for number, (member, partner) in enumerate(_rotated(first)):
        points = -(-view.members[member].available * share // 100)
        if points:
            now = history.batches[-1].decided_time
            named: dict[str, Any] = {"member_id": member, "partner_id": partner, "event_time": now}
            burn = ask(Burn, f"last-{number}", **named, points=points)
            if _told(playing, history, burn)["verdict"] == "accepted":
                return burn
    return None


def _earn_that_stays(playing: PlayingCore, history: History, first: int, points: int) -> Any:
    """An earn whose points are neither absorbed nor expired, of the first member and partner who can."""
    for number, (member, partner) in enumerate(_rotated(first)):
        now = history.batches[-1].decided_time
        earn = ask(
            Earn, f"last-{number}", member_id=member, partner_id=partner, event_time=now, points=points
        )
        trial = playing.copy()
        has = _available(trial)
        if _told(trial, history, earn)["verdict"] == "accepted" and _available(trial) == has + points:
            _told(playing, history, earn)
            return earn
    return None


def _available(playing: PlayingCore) -> int:
    return sum(member.available for member in playing.view().members.values())


def _rotated(first: int) -> list[tuple[int, int]]:
    pairs = list(product(MEMBERS, PARTNERS))
    return pairs[first:] + pairs[:first]


def _deals(history: History) -> Iterator[tuple[Any, type[Any]]]:
    """Commands that may be what a reversal names. Whether they were accepted is still to be seen."""
    kinds = {"earn": ClawBackEarn} | dict.fromkeys(
        ("burn", "capture_burn", "confirm_exchange_out"), RefundBurn
    )
    for command in history.commands():
        if command.kind in kinds:
            yield command, kinds[command.kind]


def _left(playing: PlayingCore, history: History, deal: Any, what: type[Any]) -> int:
    """What can still be reversed of a deal, as the refusal of too much says; 0 where it is no deal."""
    too_much = ask(what, "too much", **_named(history, deal), points=MAX_POINTS)
    answer = _told(playing.copy(), history, too_much)
    return int(answer.get("remaining_points", 0)) if answer.get("reason") == "OVER_ORIGINAL" else 0


def _reversals(what: type[Any], history: History, deal: Any, points: int, pieces: Sequence[int]) -> list[Any]:
    """The claw backs or refunds of so many points of a deal."""
    parts = []
    for piece in pieces:
        if points > piece:
            parts.append(piece)
            points -= piece
    parts.append(points)
    return [
        ask(what, f"part-{number}", **_named(history, deal), points=part) for number, part in enumerate(parts)
    ]


def _named(history: History, deal: Any) -> dict[str, Any]:
    now = history.batches[-1].decided_time
    who = {"member_id": deal.member_id, "partner_id": deal.partner_id, "event_time": now}
    return who | {"original": deal.request_id}


def _settled(view: View) -> dict[LotName, tuple[int, ...]]:
    """What stands in the accounts of lots, without how it came in and was taken back."""
    lots = {name: tuple(points[place] for place in SETTLED) for name, points in view.lots.items()}
    return {name: points for name, points in lots.items() if any(points)}


def _without_numbers(view: View) -> Any:
    """The view with deficits added up by whom and at which price: in pieces there are more of them."""
    debts: Counter[tuple[Any, ...]] = Counter()
    for debt, (raised, moved_in, absorbed, forgiven, moved_out) in view.debts.items():
        key = (debt.member, debt.issuer, debt.funding, debt.since)
        debts[key] += raised + moved_in - absorbed - forgiven - moved_out
    return view._replace(debts={}), +debts
