"""Calls that were well formed before something happened to them: 2,000 of them, the same in every run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import grpc
from google.protobuf.message import Message

from merchant_adapter import new_request_id
from tests.live_hub import (
    BURN,
    EARN,
    JOURNAL,
    MEMBERS,
    POINTS,
    POST_BATCH,
    WIDE,
    Answer,
    Coalition,
    Entries,
    signed,
)
from tongdui.exchange.v1 import (
    commands_pb2,
    journal_service_pb2,
    members_service_pb2,
    points_service_pb2,
)

OK: Final = grpc.StatusCode.OK
MUTATIONS: Final = 2_000
TOO_LARGE: Final = b"\x80" * 9 + b"\x01"
"""The varint of 2^63."""


class Mutant(NamedTuple):
    """What is sent in place of a well-formed call, and whether it was signed again after the change."""

    path: str
    body: bytes
    entries: Entries
    signed_again: bool
    changed: bool


def mutated_bytes(chance: random.Random, body: bytes) -> bytes:
    """One to three small harms."""
    made = bytearray(body)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(made) + 1)
        harm = chance.randrange(6)
        if harm == 0 and at < len(made):
            made[at] ^= 1 << chance.randrange(8)
        elif harm == 1:
            made[at:at] = chance.randbytes(chance.randint(1, 12))
        elif harm == 2:
            del made[at : at + chance.randint(1, 12)]
        elif harm == 3:
            made[at:at] = made[at : at + chance.randint(1, 40)]
        elif harm == 4:
            made[at : at + 1] = chance.choice([b"\x00", b"\xff", b"\x80", b"\x7f", TOO_LARGE, b"'", b"\\"])
        else:
            del made[at:]
    return bytes(made)


def mutated_entries(chance: random.Random, entries: Entries) -> Entries:
    """One harm to the four entries; printable, because gRPC's own client sends nothing else."""
    made = list(entries)
    at = chance.randrange(len(made))
    name, value = made[at]
    place = chance.randrange(len(value))
    harm = chance.randrange(6)
    if harm == 0:
        letter = chance.choice([chr(code) for code in range(0x21, 0x7F) if chr(code) != value[place]])
        made[at] = (name, value[:place] + letter + value[place + 1 :])
    elif harm == 1:
        del made[at]
    elif harm == 2:
        made.append((name, value))
    elif harm == 3:
        made[at] = (name, value[:place] + value[place + 1 :])
    elif harm == 4:
        made[at] = (name, value[: place + 1] + value[place:])
    else:
        made[at] = (name, made[at - 1][1])
    return tuple(made)


def mutants(coalition: Coalition, member_id: str, chance: random.Random) -> Iterator[Mutant]:
    key, audience = coalition.keys["cafe"], coalition.site.audience
    for number in range(MUTATIONS):
        path, body = well_formed(coalition, member_id, number)
        harmed = mutated_bytes(chance, body)
        entries = signed(key, path, body, audience)
        if number % 2:
            yield Mutant(path, harmed, signed(key, path, harmed, audience), True, harmed != body)
        elif number % 4:
            yield Mutant(path, harmed, entries, False, harmed != body)
        else:
            yield Mutant(path, body, mutated_entries(chance, entries), False, True)


def well_formed(coalition: Coalition, member_id: str, number: int) -> tuple[str, bytes]:
    earn, burn = coalition.earn(member_id, reason="sale"), coalition.burn(member_id)
    both = points_service_pb2.PostBatchRequest(
        commands=[commands_pb2.Command(earn=earn), commands_pb2.Command(burn=burn)]
    )
    enrolment = members_service_pb2.EnrollMemberRequest(
        request_id=new_request_id(), customer_id=f"mutant-{number}", consent=WIDE
    )
    wallet = points_service_pb2.GetWalletRequest(member_id=member_id)
    listing = points_service_pb2.ListEntriesRequest(member_id=member_id, page_size=3)
    choices: list[tuple[str, Message]] = [
        (EARN, earn),
        (BURN, burn),
        (POST_BATCH, both),
        (POINTS + "GetWallet", wallet),
        (POINTS + "ListEntries", listing),
        (MEMBERS + "EnrollMember", enrolment),
        (JOURNAL + "GetEntry", journal_service_pb2.GetEntryRequest(entry_id="12-0")),
    ]
    path, message = choices[number // 4 % len(choices)]
    return path, message.SerializeToString()


ANSWERS: Final = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
}


def entries_of(coalition: Coalition, member_id: str) -> int:
    ((found,),) = coalition.rows(
        "SELECT count(*) FROM exchange.posted_entries_v1 WHERE member_id = %s", member_id
    )
    return int(found)


def test_2000_mutations_meet_no_crash_no_leak_and_no_wrong_accept(coalition: Coalition) -> None:
    member_id = coalition.member("cafe", points=1_000_000)
    chance = random.Random(20260101)
    posted_before = entries_of(coalition, member_id)
    sent = list(mutants(coalition, member_id, chance))

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda it: coalition.wire.send(it.path, it.body, it.entries), sent))

    accepted = 0
    for mutant, answer in zip(sent, answers, strict=True):
        answer.check_no_leak()
        if mutant.signed_again:
            assert answer.code in ANSWERS, (mutant, answer)
            assert answer.code is OK or answer.reason
            accepted += entries_posted(answer)
        elif mutant.changed:
            assert answer.code is grpc.StatusCode.UNAUTHENTICATED, (mutant, answer)
            assert answer.reason in ("SIGNATURE_INVALID", "SIGNATURE_STALE")
        else:
            accepted += entries_posted(answer)
    # Sometimes counters: a run in which one of these never happened has shown nothing.
    outcomes = Counter(answer.code for answer in answers)
    assert outcomes.keys() >= {
        OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNAUTHENTICATED,
    }
    assert accepted > 0
    assert entries_of(coalition, member_id) == posted_before + accepted
    assert coalition.hub.process.poll() is None
    assert "incident" not in coalition.hub.log.read_text()


def entries_posted(answer: Answer) -> int:
    """Accepted commands, each of which is one entry: no two mutants share a request id and are both well-formed."""
    if answer.code is not OK:
        return 0
    if answer.path in (EARN, BURN):
        return 1
    if answer.path == POST_BATCH:
        results = points_service_pb2.PostBatchResponse.FromString(answer.body).results
        return sum(result.WhichOneof("result") != "error" for result in results)
    return 0
