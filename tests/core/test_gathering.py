"""How long the next batch waits, and for how many."""

import pytest

from exchange.gathering import GATHER_SECONDS, MOST_CALLS, SIBLINGS, WORTH_A_BATCH, Gathering

NOW = 100.0


def learnt(calls: int, waiting: int, running: int = 0) -> Gathering:
    gathering = Gathering()
    gathering.learn(calls, waiting, running, NOW)
    return gathering


def test_nobody_waits_before_the_first_batch() -> None:
    assert Gathering().end_of_wait(NOW) is None


@pytest.mark.parametrize("waiting", range(SIBLINGS - 1))
def test_nobody_waits_where_few_call(waiting: int) -> None:
    gathering = learnt(SIBLINGS, 0)

    gathering.learn(SIBLINGS - 1 - waiting, waiting, 0, NOW)

    assert gathering.end_of_wait(NOW) is None
    assert gathering.enough == WORTH_A_BATCH


@pytest.mark.parametrize(("calls", "waiting", "running"), [(8, 0, 0), (1, 7, 0), (1, 0, 7)])
def test_a_crowd_is_waited_for_and_not_for_ever(calls: int, waiting: int, running: int) -> None:
    gathering = learnt(calls, waiting, running)

    assert gathering.end_of_wait(NOW) == pytest.approx(NOW + GATHER_SECONDS)
    assert gathering.end_of_wait(NOW + GATHER_SECONDS) is None


@pytest.mark.parametrize(
    ("calls", "waiting", "enough"),
    [(24, 6, 25), (24, 5, 23), (25, 5, 24), (20, 0, 15), (9, 31, 30), (36, 8, 35)],
)
def test_the_number_grows_while_a_quarter_as_many_wait_and_falls_to_no_less_than_three_quarters_of_all(
    calls: int, waiting: int, enough: int
) -> None:
    assert learnt(calls, waiting).enough == enough


def test_no_batch_waits_for_more_than_the_most() -> None:
    assert learnt(MOST_CALLS, MOST_CALLS).enough == MOST_CALLS
    assert learnt(1_000, 1_000).enough == MOST_CALLS


def test_beside_a_running_batch_few_never_start_one() -> None:
    assert learnt(8, 0).enough_beside() == WORTH_A_BATCH
    assert learnt(40, 24).enough_beside() == MOST_CALLS


@pytest.mark.parametrize("callers", range(SIBLINGS, 53))
@pytest.mark.parametrize("first", [1, 4, 40])
def test_of_callers_that_come_back_most_share_a_batch_and_some_always_wait(callers: int, first: int) -> None:
    gathering = Gathering()
    calls = min(first, callers)
    for _ in range(60):
        gathering.learn(calls, callers - calls, 0, NOW)
        calls = min(gathering.enough, callers)

    assert callers // 2 <= calls < callers
    assert gathering.end_of_wait(NOW) is not None


def test_callers_that_are_on_their_way_when_a_batch_ends_are_found_by_growing() -> None:
    """64 callers of whom no more than ten wait when a batch of 24 ends: the others are in the network."""
    gathering = learnt(24, 10)
    sizes = [gathering.enough]
    for _ in range(MOST_CALLS - 25):
        gathering.learn(sizes[-1], 10 + (sizes[-1] - 24) * 14 // 16, 0, NOW)
        sizes.append(gathering.enough)

    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (25, MOST_CALLS)
