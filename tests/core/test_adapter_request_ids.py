"""Request ids: UUIDv7, always ascending within a process."""

import uuid
from concurrent.futures import ThreadPoolExecutor

from merchant_adapter.request_ids import RequestIds, new_request_id


def test_a_request_id_is_a_version_7_uuid_of_the_rfc_9562_variant() -> None:
    ids = [new_request_id() for _ in range(100)]

    read = [uuid.UUID(text) for text in ids]

    assert [str(one) for one in read] == ids
    assert {(one.version, one.variant) for one in read} == {(7, uuid.RFC_4122)}


def test_the_first_48_bits_are_unix_milliseconds() -> None:
    ids = RequestIds(lambda: 1_767_225_600_123)

    first = uuid.UUID(ids.next())

    assert first.int >> 80 == 1_767_225_600_123


def test_ids_of_one_millisecond_ascend() -> None:
    ids = RequestIds(lambda: 1_767_225_600_123)

    made = [ids.next() for _ in range(10_000)]

    assert made == sorted(made)
    assert len(set(made)) == 10_000
    assert {uuid.UUID(one).version for one in made} == {7}


def test_ids_ascend_when_the_clock_is_set_back() -> None:
    clock = iter([2_000, 1_000, 1_500, 2_000, 2_001])
    ids = RequestIds(lambda: next(clock))

    made = [ids.next() for _ in range(5)]

    assert made == sorted(made)
    assert [uuid.UUID(one).int >> 80 for one in made] == [2_000, 2_000, 2_000, 2_000, 2_001]


def test_threads_never_get_the_same_id() -> None:
    ids = RequestIds(lambda: 1)

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: ids.next(), range(4_000)))

    assert len(set(made)) == 4_000


def test_two_processes_of_one_millisecond_get_different_ids() -> None:
    one, other = RequestIds(lambda: 1), RequestIds(lambda: 1)

    made = {one.next(), other.next()}

    assert len(made) == 2
