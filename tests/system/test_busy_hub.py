"""A hub with more reads than it can do: what must not wait behind them does not."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count
from typing import Any

import grpc
from google.rpc import status_pb2

from merchant_adapter import Key, new_request_id
from tests.live_hub import (
    EARN,
    JOURNAL,
    PARTNERS,
    POINTS,
    POST_BATCH,
    Answer,
    Coalition,
    is_serving,
    signed,
    sole_error_info,
)
from tests.waiting import WAIT_SECONDS, eventually, in_time
from tongdui.exchange.v1 import commands_pb2, partners_service_pb2, points_service_pb2

ENTRIES = 300
READS = 300
SECONDS = 5.0


def begin_reads(coalition: Coalition, channel: grpc.Channel) -> list[Any]:
    """Asks for long pages of entries, all at once."""
    path, key = POINTS + "ListEntries", coalition.people[0]
    body = points_service_pb2.ListEntriesRequest(page_size=ENTRIES).SerializeToString()
    stub: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    entries = signed(key, path, body, coalition.site.audience)
    return [stub.future(body, metadata=entries, timeout=2 * WAIT_SECONDS) for _ in range(READS)]


def outcome(read: Any) -> str:
    """OK, or the reason of the error."""
    failure = read.exception()
    if failure is None:
        return "OK"
    details = dict(failure.trailing_metadata())["grpc-status-details-bin"]
    return sole_error_info(status_pb2.Status.FromString(details)).reason


@dataclass(frozen=True, slots=True)
class Seen:
    """The answers of the calls that must not wait, the seconds they took, and what became of the reads."""

    earned: Answer
    revoked: Answer
    refused: Answer
    took: float
    waiting: int
    """Reads without an answer by then."""
    reads: Counter[str]


def seen(coalition: Coalition, member_id: str, doomed: Key) -> Seen:
    """Earns, revokes a key and uses it, all behind hundreds of reads."""
    revocation = partners_service_pb2.RevokeKeyRequest(
        request_id=new_request_id(), key_id=doomed.key_id, reason="lost"
    )
    with grpc.insecure_channel(coalition.hub.address) as channel:
        reads = begin_reads(coalition, channel)
        begun = time.monotonic()

        earned = coalition.wire.call(coalition.keys["cafe"], EARN, coalition.earn(member_id))
        revoked = coalition.wire.call(coalition.people[0], PARTNERS + "RevokeKey", revocation)
        refused = coalition.wire.call(doomed, JOURNAL + "GetLedger", b"")

        took = time.monotonic() - begun
        waiting = sum(not read.done() for read in reads)
        return Seen(earned, revoked, refused, took, waiting, Counter(outcome(read) for read in reads))


def test_earns_and_revocations_do_not_wait_behind_hundreds_of_reads(coalition: Coalition) -> None:
    member_id = coalition.member("cafe")
    earns = [commands_pb2.Command(earn=coalition.earn(member_id)) for _ in range(ENTRIES)]
    batch = points_service_pb2.PostBatchRequest(commands=earns)
    coalition.wire.accepted(coalition.keys["cafe"], POST_BATCH, batch, points_service_pb2.PostBatchResponse)
    numbers = count(1)

    def seconds() -> float:
        found = seen(coalition, member_id, coalition.add_partner(f"tea-{next(numbers)}"))
        assert commands_pb2.EarnResponse.FromString(found.earned.body).points == 10
        assert (found.revoked.code, found.refused.reason) == (grpc.StatusCode.OK, "SIGNATURE_INVALID")
        assert found.reads.keys() <= {"OK", "HUB_BUSY"}
        # Where the reads were over before, or never too many, it showed nothing.
        return found.took if found.waiting and found.reads["HUB_BUSY"] and found.reads["OK"] else math.inf

    assert in_time(SECONDS, seconds)
    eventually(lambda: is_serving(coalition.hub.address))
