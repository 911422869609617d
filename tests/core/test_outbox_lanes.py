"""Which commands may be sent, and the bytes they are sent as."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from merchant_adapter import BurnCommand, EarnCommand, TransferCommand, prepare, prepare_batch
from merchant_adapter.outbox.frames import FRAME_BYTES, batch_body
from merchant_adapter.outbox.lanes import Lanes, Waiting
from tests.property.profiles import tries
from tongdui.exchange.v1.points_service_pb2 import PostBatchRequest

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TILL: dict[str, Any] = {"event_time": NOON, "store_id": "s", "terminal_id": "t"}


def waiting(number: int, member: str, *, due: float = 0.0, size: int = 10) -> Waiting:
    return Waiting(number, f"r-{number}", member, "earn", b"x" * size, due=due)


def numbers(commands: list[Waiting]) -> list[int]:
    return [command.number for command in commands]


def test_of_each_member_only_the_oldest_is_taken_until_it_is_final() -> None:
    lanes = Lanes()
    lanes.read([waiting(1, "a"), waiting(2, "a"), waiting(3, "b")])

    first = lanes.take(0.0, 10, 1_000)
    nothing = lanes.take(0.0, 10, 1_000)
    lanes.advance(["a"], [waiting(2, "a")])
    second = lanes.take(0.0, 10, 1_000)

    assert (numbers(list(first)), list(nothing), numbers(list(second))) == ([1, 3], [], [2])


def test_one_that_is_put_off_holds_its_member_back_until_it_is_due() -> None:
    lanes = Lanes()
    lanes.read([waiting(1, "a"), waiting(2, "b")])
    (first, second) = lanes.take(0.0, 10, 1_000)

    lanes.put_off(waiting(first.number, "a", due=5.0))
    lanes.read([waiting(3, "a")])
    lanes.advance([second.member_id], [])

    assert list(lanes.take(4.9, 10, 1_000)) == []
    assert lanes.next_due == 5.0
    assert numbers(list(lanes.take(5.0, 10, 1_000))) == [1]
    assert not lanes.is_empty


def test_one_that_was_put_off_before_the_clock_was_set_back_does_not_wait_for_the_old_time() -> None:
    lanes = Lanes(no_pause_seconds=120.0)
    lanes.read([waiting(1, "a", due=100_060.0), waiting(2, "b", due=3_660.0)])

    (past,) = lanes.take(100_000.0, 10, 1_000)
    lanes.put_off(waiting(2, "b", due=3_660.0))
    nothing = lanes.take(3_600.0, 10, 1_000)
    both = lanes.take(3_660.0, 10, 1_000)

    assert (past.number, list(nothing), numbers(list(both))) == (2, [], [1, 2])


def test_one_that_a_till_asks_for_holds_its_member_back_until_it_is_answered_or_left_alone() -> None:
    lanes = Lanes()
    asked = [
        replace(waiting(number, name), asked_until=9.0) for number, name in ((1, "a"), (2, "b"), (3, "c"))
    ]
    lanes.read([*asked, waiting(4, "a"), waiting(5, "b")])

    early = lanes.look_again(asked, 5.0)
    nothing = lanes.take(5.0, 10, 1_000)
    # The first was answered, the second given up with a pause, the third is past what its till could wait for.
    gone = lanes.look_again([waiting(2, "b", due=7.0), asked[2]], 9.0)
    lanes.advance(gone, [waiting(4, "a")])

    assert (early, list(nothing), gone, lanes.asked) == ([], [], ["a"], ())
    assert numbers(list(lanes.take(9.0, 10, 1_000))) == [2, 3, 4]


def test_a_batch_ends_at_its_bytes_and_a_larger_command_goes_alone() -> None:
    lanes = Lanes()
    lanes.read(waiting(number, f"m-{number}", size=40) for number in range(1, 6))

    taken = [numbers(list(lanes.take(0.0, 10, 100))) for _ in range(3)]
    lanes.read([waiting(6, "m-6", size=500)])

    assert taken == [[1, 2], [3, 4], [5]]
    assert numbers(list(lanes.take(0.0, 10, 100))) == [6]


def test_reading_stops_while_as_many_members_as_memory_is_meant_for_are_under_way() -> None:
    lanes = Lanes(most_members=2)
    lanes.read([waiting(1, "a"), waiting(2, "b")])

    assert lanes.is_full
    lanes.advance(["a"], [])
    assert not lanes.is_full


@tries(40)
@given(st.data())
def test_members_keep_their_order_whatever_fails_and_whatever_is_read_when(data: st.DataObject) -> None:
    """The store as a list: a model of what dispatcher and store do together."""
    members = data.draw(st.lists(st.sampled_from("abc"), max_size=30))
    stored = [waiting(number, member) for number, member in enumerate(members, 1)]
    queue: list[Waiting] = []
    under_way: list[Waiting] = []
    lanes, final = Lanes(), defaultdict[str, list[int]](list)

    def head(member: str) -> list[Waiting]:
        return [one for one in queue if one.member_id == member][:1]

    for _ in range(80):
        match data.draw(st.sampled_from(("accept", "read", "take", "answer", "lose"))):
            case "accept" if stored:
                queue.append(stored.pop(0))
            case "read":
                lanes.read([one for one in queue if one.number > lanes.cursor][:3])
            case "take":
                taken = lanes.take(0.0, data.draw(st.integers(1, 3)), 1_000)
                assert {one.member_id for one in taken}.isdisjoint(one.member_id for one in under_way)
                under_way += taken
            case "answer" if under_way:
                answered = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
                queue.remove(answered)
                final[answered.member_id].append(answered.number)
                lanes.advance([answered.member_id], head(answered.member_id))
            case "lose" if under_way:
                lanes.put_off(under_way.pop(data.draw(st.integers(0, len(under_way) - 1))))
        if not stored and not queue:
            break

    assert all(found == sorted(found) for found in final.values())
    left = [one.number for one in queue + stored]
    assert sorted([*chain.from_iterable(final.values()), *left]) == list(range(1, len(members) + 1))


@tries(100)
@given(st.lists(st.tuples(st.sampled_from(["earn", "burn", "transfer"]), st.text(max_size=200)), max_size=8))
def test_stored_bytes_make_the_very_batch_that_protobuf_makes_of_the_commands(
    drawn: list[tuple[str, str]],
) -> None:
    kinds = {"earn": EarnCommand, "burn": BurnCommand}
    commands = [
        TransferCommand(member_id="m", to_member_id="n", points=1, reference="r", reason=text, **TILL)
        if kind == "transfer"
        else kinds[kind](member_id="m", points=1, reference="r", reason=text, **TILL)
        for kind, text in drawn
    ]

    body = batch_body((kind, prepare(one).body) for (kind, _), one in zip(drawn, commands, strict=True))

    assert body == prepare_batch(commands).body
    assert len(body) <= sum(len(prepare(one).body) + FRAME_BYTES for one in commands)
    assert len(PostBatchRequest.FromString(body).commands) == len(drawn)
