"""Calls that meet: at one request id, at the last points, at a deadline. Two hub processes on one database."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Final

import grpc
import pytest

from examples.coalition import HubProcess
from tests.live_hub import (
    ACCOUNTS,
    BURN,
    EARN,
    POINTS,
    POST_BATCH,
    Answer,
    Coalition,
    Wire,
    another_hub,
    at_once,
    is_serving,
    signed,
)
from tests.waiting import WAIT_SECONDS, eventually
from tongdui.exchange.v1 import accounts_service_pb2, commands_pb2, points_service_pb2

OK: Final = grpc.StatusCode.OK
TRANSFER: Final = POINTS + "Transfer"


@pytest.fixture(scope="module")
def second_hub(coalition: Coalition) -> Iterator[HubProcess]:
    with another_hub(coalition) as hub:
        yield hub


@pytest.fixture(scope="module")
def connections(coalition: Coalition, second_hub: HubProcess) -> Iterator[list[Wire]]:
    """50 connections, every other one to the second hub."""
    made = [coalition.open_wire(hub) for _ in range(25) for hub in (coalition.hub, second_hub)]
    yield made
    for wire in made:
        wire.close()


def available_points(coalition: Coalition, member_id: str) -> int:
    request = points_service_pb2.GetWalletRequest(member_id=member_id)
    return coalition.wire.accepted(
        coalition.keys["cafe"], POINTS + "GetWallet", request, points_service_pb2.GetWalletResponse
    ).available_points


def posted_points(coalition: Coalition, member_id: str, kind: str) -> list[int]:
    """What the journal holds of a member's entries of a kind."""
    rows = coalition.rows(
        "SELECT points FROM exchange.posted_entries_v1 WHERE member_id = %s AND kind = %s", member_id, kind
    )
    return [points for (points,) in rows]


def test_one_request_id_from_50_connections_has_one_effect_and_50_equal_answers(
    coalition: Coalition, connections: list[Wire]
) -> None:
    cafe, member_id = coalition.keys["cafe"], coalition.member("cafe")
    request = coalition.earn(member_id, points=7)

    answers = at_once([partial(wire.call, cafe, EARN, request) for wire in connections])

    assert {(answer.code, answer.body) for answer in answers} == {(OK, answers[0].body)}
    assert posted_points(coalition, member_id, "earn") == [7]
    for answer in answers:
        answer.receipt(coalition.hub_keys)


def test_one_request_id_with_50_different_bodies_is_decided_once_and_refused_49_times(
    coalition: Coalition, connections: list[Wire]
) -> None:
    cafe, member_id = coalition.keys["cafe"], coalition.member("cafe")
    requests = [coalition.earn(member_id, points=points, request_id="one-id") for points in range(1, 51)]

    answers = at_once(
        [partial(wire.call, cafe, EARN, request) for wire, request in zip(connections, requests, strict=True)]
    )

    assert Counter(answer.reason for answer in answers) == {"": 1, "REQUEST_ID_REUSED": 49}
    assert len(posted_points(coalition, member_id, "earn")) == 1


def test_one_reference_under_50_request_ids_is_earned_once(
    coalition: Coalition, connections: list[Wire]
) -> None:
    cafe, member_id = coalition.keys["cafe"], coalition.member("cafe")

    answers = at_once(
        [
            partial(wire.call, cafe, EARN, coalition.earn(member_id, reference="receipt-1"))
            for wire in connections
        ]
    )

    assert Counter(answer.reason for answer in answers) == {"": 1, "DUPLICATE_REFERENCE": 49}
    entry_ids = {
        commands_pb2.EarnResponse.FromString(answer.body).entry_id for answer in answers if answer.code is OK
    }
    named = {answer.error_info.metadata["entry_id"] for answer in answers if answer.code is not OK}
    assert named == entry_ids


def test_of_two_burns_that_race_for_the_last_points_one_gets_them(
    coalition: Coalition, connections: list[Wire]
) -> None:
    keys = [coalition.keys["cafe"], coalition.keys["books"]]

    for _ in range(10):
        member_id = coalition.member("cafe", "books", points=50)
        burns = [coalition.burn(member_id, points=30) for _ in keys]
        answers = at_once(
            [
                partial(wire.call, key, BURN, burn)
                for wire, key, burn in zip(connections, keys, burns, strict=False)
            ]
        )

        assert sorted(answer.reason for answer in answers) == ["", "INSUFFICIENT_POINTS"]
        assert available_points(coalition, member_id) == 20


def test_a_correction_approved_and_withdrawn_at_once_is_one_of_both_and_stays_it(
    coalition: Coalition, connections: list[Wire]
) -> None:
    alice, bob = coalition.people[:2]
    member_id = coalition.member("cafe")
    outcomes: Counter[tuple[str, str]] = Counter()

    for number in range(20):
        proposed = accounts_service_pb2.ProposeAdjustmentRequest(
            request_id=f"race-{number}",
            reason="missing",
            partner_id="cafe",
            earn=coalition.earn(member_id, points=1),
        )
        kind = accounts_service_pb2.ProposeAdjustmentResponse
        made = connections[0].accepted(alice, ACCOUNTS + "ProposeAdjustment", proposed, kind).adjustment_id
        approve = accounts_service_pb2.ApproveAdjustmentRequest(
            request_id=f"yes-{number}", adjustment_id=made
        )
        withdraw = accounts_service_pb2.WithdrawAdjustmentRequest(
            request_id=f"no-{number}", adjustment_id=made, reason="on second thought"
        )
        calls = [
            partial(connections[number % 2].call, bob, ACCOUNTS + "ApproveAdjustment", approve),
            partial(connections[1 - number % 2].call, alice, ACCOUNTS + "WithdrawAdjustment", withdraw),
        ]
        approved, withdrawn = at_once(calls)
        outcomes[approved.reason, withdrawn.reason] += 1
        assert [call().reason for call in calls] == [approved.reason, withdrawn.reason]

    assert outcomes.keys() <= {("", "ADJUSTMENT_POSTED"), ("ADJUSTMENT_WITHDRAWN", "")}
    assert len(posted_points(coalition, member_id, "adjust_earn")) == outcomes["", "ADJUSTMENT_POSTED"]


def test_200_burns_of_1_on_a_balance_of_50_burn_exactly_50(
    coalition: Coalition, connections: list[Wire]
) -> None:
    books, member_id = coalition.keys["books"], coalition.member("cafe", "books", points=50)

    def four(wire: Wire) -> list[Answer]:
        return [wire.call(books, BURN, coalition.burn(member_id)) for _ in range(4)]

    answers = [answer for four_ in at_once([partial(four, wire) for wire in connections]) for answer in four_]

    assert Counter(answer.reason for answer in answers) == {"": 50, "INSUFFICIENT_POINTS": 150}
    assert posted_points(coalition, member_id, "burn") == [1] * 50
    assert available_points(coalition, member_id) == 0


def test_transfers_both_ways_at_once_are_all_decided_and_lose_no_point(
    coalition: Coalition, connections: list[Wire]
) -> None:
    """Each locks two members: taken in any other order than the members' own, two of them would wait in a circle."""
    cafe = coalition.keys["cafe"]
    members = [coalition.member("cafe", points=100) for _ in range(2)]

    def give(number: int, wire: Wire) -> Answer:
        giver, receiver = members[number % 2], members[(number + 1) % 2]
        common = coalition.burn(giver, points=3)
        request = commands_pb2.TransferRequest(
            request_id=common.request_id,
            member_id=giver,
            event_time=common.event_time,
            store_id=common.store_id,
            terminal_id=common.terminal_id,
            reference=common.reference,
            to_member_id=receiver,
            points=3,
        )
        return wire.call(cafe, TRANSFER, request)

    answers = at_once([partial(give, number, wire) for number, wire in enumerate(connections)])

    assert {answer.reason for answer in answers} == {""}
    assert [available_points(coalition, member_id) for member_id in members] == [100, 100]
    assert sorted(posted_points(coalition, members[0], "transfer")) == [3] * 25


def test_batches_of_two_hubs_over_the_same_members_in_any_order_are_all_decided(
    coalition: Coalition, connections: list[Wire]
) -> None:
    cafe, chance = coalition.keys["cafe"], random.Random(7)
    members = [coalition.member("cafe", points=1_000) for _ in range(20)]
    batches = []
    for _ in range(12):
        order = [member_id for member_id in members for _ in range(2)]
        chance.shuffle(order)
        commands = [commands_pb2.Command(burn=coalition.burn(member_id, points=3)) for member_id in order]
        batches.append(points_service_pb2.PostBatchRequest(commands=commands))

    answers = at_once(
        [
            partial(wire.call, cafe, POST_BATCH, batch)
            for wire, batch in zip(connections, batches, strict=False)
        ]
    )

    for answer in answers:
        results = points_service_pb2.PostBatchResponse.FromString(answer.body).results
        assert Counter(result.WhichOneof("result") for result in results) == {"burn": 40}
    assert {available_points(coalition, member_id) for member_id in members} == {1_000 - 12 * 2 * 3}


def database_connections(coalition: Coalition, state: str = "") -> int:
    ((found,),) = coalition.rows(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND state LIKE %s",
        f"{state}%",
    )
    return int(found)


def test_200_deadlines_of_1_ms_to_1_s_and_cancels_double_nothing_and_leave_the_hub_well(
    coalition: Coalition, second_hub: HubProcess, connections: list[Wire]
) -> None:
    cafe, member_id, chance = coalition.keys["cafe"], coalition.member("cafe"), random.Random(11)
    requests = [coalition.earn(member_id, points=1) for _ in range(200)]

    def give_up(number: int) -> Answer | None:
        """Sends with a short deadline, or cancels after as short a time; None where no answer came."""
        body = requests[number].SerializeToString()
        entries = signed(cafe, EARN, body, coalition.site.audience)
        # As many short ones as long ones, so that some give up and some do not on any machine.
        wire, patience = connections[number % 50], 10.0 ** chance.uniform(-3.0, 0.0)
        if number % 10 == 0:
            patience = WAIT_SECONDS
        if number % 2:
            return wire.send_and_cancel(EARN, body, entries, after_seconds=patience)
        answer = wire.send(EARN, body, entries, seconds=patience)
        return None if answer.code is grpc.StatusCode.DEADLINE_EXCEEDED else answer

    first = [
        answer
        for part in range(0, 200, 50)
        for answer in at_once([partial(give_up, it) for it in range(part, part + 50)])
    ]
    answered = [answer for answer in first if answer is not None]
    eventually(lambda: len(posted_points(coalition, member_id, "earn")) > len(answered))  # answers were lost
    again = [coalition.wire.call(cafe, EARN, request) for request in requests]

    assert {answer.code for answer in answered} <= {OK}
    assert 0 < len(answered) < 200  # some calls gave up and some did not, or the test has shown nothing
    assert all(answer.code is OK for answer in again)
    for one, other in zip(first, again, strict=True):
        assert one is None or one.body == other.body
    assert posted_points(coalition, member_id, "earn") == [1] * 200
    assert available_points(coalition, member_id) == 200
    # Three lanes and five pooled connections a hub, none of them in a transaction that somebody forgot.
    eventually(lambda: database_connections(coalition) <= 2 * (3 + 5))
    # A read is between two statements now and then; a forgotten transaction stays until the server ends it.
    eventually(lambda: not database_connections(coalition, "idle in transaction"), 5.0)
    for hub in (coalition.hub, second_hub):
        eventually(partial(is_serving, hub.address))
