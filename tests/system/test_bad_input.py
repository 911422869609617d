"""Whatever is sent: a clear answer, nothing of how the hub is made, and no wrong accept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import date_pb2

from examples.coalition import CardTerms, Operators, timestamp
from merchant_adapter import Key, new_request_id
from tests.live_hub import (
    BURN,
    CARDS,
    CARDS_BEGIN,
    EARN,
    JOURNAL,
    MEMBERS,
    PARTNERS,
    POINTS,
    POST_BATCH,
    Answer,
    Coalition,
    check_no_leak,
    field_violations,
    signed,
    sole_error_info,
)
from tests.waiting import eventually
from tongdui.exchange.v1 import (
    commands_pb2,
    journal_service_pb2,
    members_service_pb2,
    partners_service_pb2,
    points_service_pb2,
    rate_cards_service_pb2,
)

OK: Final = grpc.StatusCode.OK
INVALID: Final = grpc.StatusCode.INVALID_ARGUMENT
CONTROL: Final = "order\n1"
LIMIT: Final = 1_000_000_000

UNKNOWN_FIELD: Final = b"\xba\x3e\x03abc"
"""Field 999 of any message: the bytes `abc`."""


@pytest.fixture(scope="module")
def member_id(coalition: Coalition) -> str:
    return coalition.member("cafe", "books", points=1_000_000)


@pytest.fixture(scope="module", autouse=True)
def unharmed(coalition: Coalition) -> Iterator[None]:
    """After all of these tests the hub still runs, and has met nothing that it calls a defect of its own."""
    yield
    assert coalition.hub.process.poll() is None
    log = coalition.hub.log.read_text()
    assert "incident" not in log
    assert "Traceback" not in log


def send(coalition: Coalition, path: str, body: bytes) -> Answer:
    """Signed by a partner, or by an operator where the method is one for operators."""
    key = coalition.keys["cafe"] if path.startswith((POINTS, MEMBERS)) else coalition.people[0]
    answer = coalition.wire.call(key, path, body)
    answer.check_no_leak()
    return answer


def check_names_field(answer: Answer, field: str, reason: str = "INVALID_FIELD") -> None:
    assert (answer.code, answer.reason) == (INVALID, reason)
    assert answer.fields == [field]
    if reason == "INVALID_FIELD":
        assert dict(answer.error_info.metadata) == {"field": field}
        assert answer.text.startswith(f"{field}: ")


def varint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


# --- shape: one field of a command


class Shape(NamedTuple):
    """A change to a command that takes it out of shape, and the field that the answer is to name."""

    name: str
    field: str
    changes: dict[str, Any]


def ids(shape: Shape) -> str:
    return f"{shape.field} {shape.name}"


def moment(seconds: int, nanos: int = 0) -> Timestamp:
    return Timestamp(seconds=seconds, nanos=nanos)


def day(year: int, month: int, day_of_month: int) -> date_pb2.Date:
    return date_pb2.Date(year=year, month=month, day=day_of_month)


NOW: Final = int(datetime.now(UTC).timestamp())

REQUIRED_TEXTS: Final = ("request_id", "member_id", "store_id", "terminal_id", "reference")
COMMON: Final = [
    *(Shape("empty", field, {field: ""}) for field in REQUIRED_TEXTS),
    *(Shape("over-long", field, {field: "x" * 65}) for field in REQUIRED_TEXTS),
    *(Shape("with a line break", field, {field: CONTROL}) for field in REQUIRED_TEXTS),
    *(Shape("with a NUL", field, {field: "order\0"}) for field in REQUIRED_TEXTS),
    *(Shape("with a direction override", field, {field: "order\u202e"}) for field in REQUIRED_TEXTS[1:]),
    Shape("not ASCII", "request_id", {"request_id": "r-é"}),
    Shape("over-long", "reason", {"reason": "x" * 201}),
    Shape("over-long", "campaign_id", {"campaign_id": "x" * 65}),
    Shape("over-long", "channel", {"channel": "x" * 65}),
    Shape("with a line break", "reason", {"reason": CONTROL}),
    Shape("with a NUL", "channel", {"channel": "\0"}),
    Shape("missing", "event_time", {"event_time": None}),
    Shape("nanos below 0", "event_time", {"event_time": moment(NOW, -1)}),
    Shape("nanos of a whole second", "event_time", {"event_time": moment(NOW, 1_000_000_000)}),
    Shape("before the year 2000", "event_time", {"event_time": moment(0)}),
    Shape("after the year 9998", "event_time", {"event_time": moment(253_402_300_800)}),
    Shape("2^63 - 1 s", "event_time", {"event_time": moment(2**63 - 1)}),
    Shape("-2^63 s", "event_time", {"event_time": moment(-(2**63))}),
    Shape("negative", "points", {"points": -1}),
    Shape("zero", "points", {"points": 0}),
    Shape("over its limit", "points", {"points": LIMIT + 1}),
    Shape("2^63 - 1", "points", {"points": 2**63 - 1}),
]
OF_EARN: Final = [
    *(
        Shape(name, "eligible_spend_minor", {"eligible_spend_minor": spend})
        for name, spend in (("zero", 0), ("negative", -1), ("over its limit", 10**12 + 1))
    ),
    Shape("2^63 - 1", "eligible_spend_minor", {"eligible_spend_minor": 2**63 - 1}),
    Shape("missing", "basis", {"points": None}),
    Shape("30 February", "expiry_date", {"expiry_date": day(2027, 2, 30)}),
    Shape("month 13", "expiry_date", {"expiry_date": day(2027, 13, 1)}),
    Shape("without a year", "expiry_date", {"expiry_date": day(0, 2, 3)}),
    Shape("empty", "expiry_date", {"expiry_date": day(0, 0, 0)}),
    Shape("before the year 2000", "expiry_date", {"expiry_date": day(1999, 12, 31)}),
    Shape("year 9999", "expiry_date", {"expiry_date": day(9999, 12, 31)}),
]


@pytest.mark.parametrize("shape", [*COMMON, *OF_EARN], ids=ids)
def test_an_earn_out_of_shape_names_the_field_and_leaves_the_request_id_free(
    coalition: Coalition, member_id: str, shape: Shape
) -> None:
    request = coalition.earn(member_id, **shape.changes)

    answer = send(coalition, EARN, request.SerializeToString())

    check_names_field(answer, shape.field)
    if shape.field != "request_id":
        corrected = coalition.earn(member_id, request_id=request.request_id)
        assert send(coalition, EARN, corrected.SerializeToString()).code is OK


@pytest.mark.parametrize("shape", COMMON, ids=ids)
def test_a_burn_out_of_shape_names_the_field_and_leaves_the_request_id_free(
    coalition: Coalition, member_id: str, shape: Shape
) -> None:
    request = coalition.burn(member_id, **shape.changes)

    answer = send(coalition, BURN, request.SerializeToString())

    check_names_field(answer, shape.field)
    if shape.field != "request_id":
        corrected = coalition.burn(member_id, request_id=request.request_id)
        assert send(coalition, BURN, corrected.SerializeToString()).code is OK


def test_what_lies_just_inside_the_limits_is_accepted(coalition: Coalition) -> None:
    member_id = coalition.member("cafe")
    longest = {"store_id": "店" * 64, "terminal_id": "t" * 64, "reference": "r" * 64, "reason": "é" * 200}
    longest |= {"campaign_id": "c" * 64, "channel": "w" * 64, "request_id": "q" * 64}

    earns = [
        coalition.earn(member_id, points=LIMIT, **longest),
        coalition.earn(member_id, eligible_spend_minor=10**11),
        coalition.earn(member_id, event_time=timestamp(datetime.now(UTC) + timedelta(seconds=55))),
        coalition.earn(member_id, event_time=timestamp(datetime.now(UTC) - timedelta(days=6, hours=23))),
    ]
    answers = [send(coalition, EARN, request.SerializeToString()) for request in earns]
    spent = send(coalition, BURN, coalition.burn(member_id, points=LIMIT).SerializeToString())

    assert [answer.code for answer in answers] == [OK] * 4
    assert spent.code is OK


@pytest.mark.parametrize(
    ("path", "field_number", "field"),
    [(EARN, 10, "points"), (EARN, 11, "eligible_spend_minor"), (BURN, 10, "points")],
)
@pytest.mark.parametrize("number", [2**63, 2**64 - 1], ids=["2^63", "2^64 - 1"])
def test_a_raw_varint_too_large_for_its_field_is_refused(
    coalition: Coalition, member_id: str, path: str, field_number: int, field: str, number: int
) -> None:
    request: Any = coalition.earn(member_id, points=None) if path == EARN else coalition.burn(member_id)
    if path == BURN:
        request.ClearField("points")

    answer = send(coalition, path, request.SerializeToString() + varint(field_number << 3) + varint(number))

    check_names_field(answer, field)


def test_a_time_in_the_future_is_refused_and_not_recorded(coalition: Coalition, member_id: str) -> None:
    early = coalition.earn(member_id, event_time=timestamp(datetime.now(UTC) + timedelta(seconds=90)))

    answer = send(coalition, EARN, early.SerializeToString())

    check_names_field(answer, "event_time", "EVENT_IN_FUTURE")
    later = coalition.earn(member_id, request_id=early.request_id)
    assert send(coalition, EARN, later.SerializeToString()).code is OK


# --- shape: the message as a whole


def with_unknown_inside(request: commands_pb2.EarnRequest) -> bytes:
    """The earn with an unknown field in its event time."""
    moment_bytes = request.event_time.SerializeToString() + UNKNOWN_FIELD
    request.ClearField("event_time")
    return request.SerializeToString() + b"\x1a" + varint(len(moment_bytes)) + moment_bytes


MALFORMED: Final[dict[str, Callable[[commands_pb2.EarnRequest], bytes]]] = {
    "an unknown field": lambda it: it.SerializeToString() + UNKNOWN_FIELD,
    "an unknown field in a message inside": with_unknown_inside,
    "a known field of another wire type": lambda it: it.SerializeToString() + b"\x0a\x01r"[:0] + b"\x08\x01",
    "cut off": lambda it: it.SerializeToString()[:-1],
    "not protobuf": lambda _: b"\xff" * 40,
    "JSON": lambda _: b'{"request_id": "r-1"}',
    "a length beyond its end": lambda it: it.SerializeToString() + b"\x3a\x7f",
    "a varint without an end": lambda it: it.SerializeToString() + b"\x50" + b"\xff" * 11,
    "text that is not UTF-8": lambda it: it.SerializeToString() + b"\x3a\x02\xc3\x28",
    "an unpaired surrogate": lambda it: it.SerializeToString() + b"\x3a\x03\xed\xa0\x80",
    "groups in groups": lambda _: b"\x0b" * 20_000,
    "larger than 64 KiB": lambda it: it.SerializeToString() + b"\x3a" + varint(65_536) + b"x" * 65_536,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_message_that_is_no_earn_is_refused_as_a_message(
    coalition: Coalition, member_id: str, name: str
) -> None:
    request = coalition.earn(member_id)
    body = MALFORMED[name](request)

    answer = send(coalition, EARN, body)

    check_names_field(answer, "message")
    assert send(coalition, EARN, coalition.earn(member_id).SerializeToString()).code is OK


def test_the_message_of_another_method_is_refused(coalition: Coalition, member_id: str) -> None:
    burn = coalition.burn(member_id).SerializeToString()
    enrolment = members_service_pb2.EnrollMemberRequest(request_id=new_request_id(), customer_id="c")

    as_enrolment = send(coalition, MEMBERS + "EnrollMember", burn)
    as_earn = send(coalition, EARN, enrolment.SerializeToString())
    as_batch = send(coalition, POST_BATCH, burn)

    check_names_field(as_enrolment, "message")
    assert (as_earn.code, as_earn.reason) == (INVALID, "INVALID_FIELD")
    assert (as_batch.code, as_batch.reason) == (INVALID, "INVALID_FIELD")


EMPTY: Final = {
    EARN: "basis",
    BURN: "points",
    POST_BATCH: "commands",
    POINTS + "GetWallet": "member_id",
    MEMBERS + "EnrollMember": "request_id",
    MEMBERS + "BatchEnrollMembers": "requests",
    MEMBERS + "LinkAlias": "request_id",
    MEMBERS + "BatchLinkAliases": "requests",
    MEMBERS + "SetConsent": "request_id",
    PARTNERS + "CreatePartner": "request_id",
    PARTNERS + "CreateKeyChallenge": "request_id",
    PARTNERS + "RegisterKey": "request_id",
    PARTNERS + "ApproveKey": "request_id",
    PARTNERS + "RevokeKey": "request_id",
    CARDS + "ProposeRateCard": "request_id",
    CARDS + "ApproveRateCard": "request_id",
    CARDS + "WithdrawRateCard": "request_id",
    CARDS + "PreviewRateCard": "partner_id",
    CARDS + "GetRateCard": "partner_id",
    CARDS + "ListRateCards": "partner_id",
    JOURNAL + "SetLedgerTime": "request_id",
    JOURNAL + "CloseWindow": "request_id",
    JOURNAL + "SettleWindow": "request_id",
    JOURNAL + "GetEntry": "entry_id",
}


@pytest.mark.parametrize("path", EMPTY)
def test_an_empty_message_names_the_first_field_that_it_lacks(coalition: Coalition, path: str) -> None:
    check_names_field(send(coalition, path, b""), EMPTY[path])


@pytest.mark.parametrize("path", [*EMPTY, JOURNAL + "GetLedger", JOURNAL + "ListBatches"])
def test_every_method_refuses_an_unknown_field_and_bytes_that_are_no_message(
    coalition: Coalition, path: str
) -> None:
    unknown, garbage = send(coalition, path, UNKNOWN_FIELD), send(coalition, path, b"\x0a\xff")

    for answer in (unknown, garbage):
        assert (answer.code, answer.reason) == (INVALID, "INVALID_FIELD")
    check_names_field(garbage, "message")


def test_a_message_beyond_4_mib_never_reaches_the_hubs_services(coalition: Coalition, member_id: str) -> None:
    body = coalition.earn(member_id).SerializeToString() + b"\x3a\x80\x80\x80\x04" + b"x" * (8 << 20)

    answer = send(coalition, POST_BATCH, body)

    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert send(coalition, EARN, coalition.earn(member_id).SerializeToString()).code is OK


def test_a_compressed_message_is_not_taken(coalition: Coalition, member_id: str) -> None:
    body = coalition.earn(member_id, reason="x" * 200).SerializeToString()
    entries = signed(coalition.keys["cafe"], EARN, body, coalition.site.audience)

    answer = coalition.wire.send(EARN, body, entries, compression=grpc.Compression.Gzip)

    assert answer.code is grpc.StatusCode.UNIMPLEMENTED
    answer.check_no_leak()


def test_a_method_and_a_service_that_do_not_exist_are_unimplemented(coalition: Coalition) -> None:
    for path in (POINTS + "Steal", "/tongdui.exchange.v1.VaultService/Open", "/x/y"):
        answer = coalition.wire.call(coalition.keys["cafe"], path, b"")

        assert answer.code is grpc.StatusCode.UNIMPLEMENTED
        answer.check_no_leak()


# --- shape: the other services


def operator_card(**changes: Any) -> rate_cards_service_pb2.RateCard:
    values: dict[str, Any] = {
        "partner_id": "cafe",
        "valid_from": timestamp(datetime(2030, 1, 1, tzinfo=UTC)),
        "earn_rate": {"numerator": 1, "denominator": 1},
        "face_value_micros": 10_000,
        "funding_micros": 10_000,
        "reimbursement_micros": 9_500,
        "expiry_policy": {"days": 30},
    }
    return rate_cards_service_pb2.RateCard(**(values | changes))


def propose(**changes: Any) -> bytes:
    return rate_cards_service_pb2.ProposeRateCardRequest(
        request_id=new_request_id(), rate_card=operator_card(**changes)
    ).SerializeToString()


def register(**changes: Any) -> bytes:
    values: dict[str, Any] = {
        "request_id": new_request_id(),
        "owner": "operator",
        "holder": "mallory",
        "public_key": b"k" * 32,
        "challenge": b"c" * 32,
        "proof": b"p" * 64,
        "roles": [partners_service_pb2.ROLE_AUDITOR],
    }
    return partners_service_pb2.RegisterKeyRequest(**(values | changes)).SerializeToString()


def create(**changes: Any) -> bytes:
    partner = {"partner_id": "bakery", "display_name": "Bakery"} | changes
    return partners_service_pb2.CreatePartnerRequest(
        request_id=new_request_id(), partner=partners_service_pb2.Partner(**partner)
    ).SerializeToString()


def enroll(**changes: Any) -> bytes:
    values: dict[str, Any] = {"request_id": new_request_id(), "customer_id": "c-1"} | changes
    return members_service_pb2.EnrollMemberRequest(**values).SerializeToString()


def consents(per_burn: int, per_day: int) -> dict[str, dict[str, int]]:
    return {"consent": {"per_burn_limit_points": per_burn, "per_day_limit_points": per_day}}


def clock(**changes: Any) -> bytes:
    return journal_service_pb2.SetLedgerTimeRequest(
        request_id=new_request_id(), **changes
    ).SerializeToString()


def closing(**changes: Any) -> bytes:
    return journal_service_pb2.CloseWindowRequest(request_id=new_request_id(), **changes).SerializeToString()


def settling(**changes: Any) -> bytes:
    return journal_service_pb2.SettleWindowRequest(request_id=new_request_id(), **changes).SerializeToString()


def listing(**changes: Any) -> bytes:
    return points_service_pb2.ListEntriesRequest(**changes).SerializeToString()


RATE: Final = "rate_card."
OTHERS: Final[list[tuple[str, str, bytes]]] = [
    (CARDS + "ProposeRateCard", RATE + "state", propose(state=77)),
    (CARDS + "ProposeRateCard", RATE + "version", propose(version=3)),
    (CARDS + "ProposeRateCard", RATE + "approved_by", propose(approved_by="me")),
    (CARDS + "ProposeRateCard", RATE + "earn_rate.denominator", propose(earn_rate={"numerator": 1})),
    (
        CARDS + "ProposeRateCard",
        RATE + "earn_rate.numerator",
        propose(earn_rate={"numerator": -1, "denominator": 1}),
    ),
    (CARDS + "ProposeRateCard", RATE + "funding_micros", propose(funding_micros=0)),
    (CARDS + "ProposeRateCard", RATE + "funding_micros", propose(funding_micros=2**63 - 1)),
    (CARDS + "ProposeRateCard", RATE + "reimbursement_micros", propose(reimbursement_micros=-1)),
    (CARDS + "ProposeRateCard", RATE + "prefunded_micros", propose(prefunded_micros=10_001)),
    (CARDS + "ProposeRateCard", RATE + "valid_from", propose(valid_from=None)),
    (CARDS + "ProposeRateCard", RATE + "expiry_policy", propose(expiry_policy={})),
    (CARDS + "ProposeRateCard", RATE + "expiry_policy", propose(expiry_policy={"never": False})),
    (CARDS + "ProposeRateCard", RATE + "expiry_policy.days", propose(expiry_policy={"days": 36_501})),
    (
        CARDS + "ProposeRateCard",
        RATE + "expiry_policy.fixed_date",
        propose(expiry_policy={"fixed_date": day(2027, 2, 29)}),
    ),
    (
        CARDS + "ProposeRateCard",
        RATE + "exchange_spread",
        propose(exchange_spread={"numerator": 1, "denominator": 1}),
    ),
    (
        CARDS + "ProposeRateCard",
        RATE + "native_rate_in.numerator",
        propose(native_rate_in={"numerator": 0, "denominator": 1}),
    ),
    (
        CARDS + "ProposeRateCard",
        RATE + "breakage_issuer_share",
        propose(breakage_issuer_share={"numerator": 3, "denominator": 2}),
    ),
    (PARTNERS + "RegisterKey", "roles", register(roles=[99])),
    (PARTNERS + "RegisterKey", "roles", register(roles=[0])),
    (PARTNERS + "RegisterKey", "roles", register(roles=[])),
    (PARTNERS + "RegisterKey", "roles", register(roles=[partners_service_pb2.ROLE_PARTNER])),
    (PARTNERS + "RegisterKey", "roles", register(owner="cafe", holder="")),
    (PARTNERS + "RegisterKey", "public_key", register(public_key=b"k" * 31)),
    (PARTNERS + "RegisterKey", "challenge", register(challenge=b"")),
    (PARTNERS + "RegisterKey", "proof", register(proof=b"p" * 65)),
    (PARTNERS + "RegisterKey", "owner", register(owner="hub", holder="")),
    (PARTNERS + "RegisterKey", "owner", register(owner="Café")),
    (PARTNERS + "RegisterKey", "holder", register(holder="")),
    (PARTNERS + "RegisterKey", "validity_days", register(validity_days=367)),
    *(
        (PARTNERS + "CreatePartner", "partner.partner_id", create(partner_id=code))
        for code in ("hub", "operator", "pool", "Cafe", "-cafe", "c" * 33, "", "café", "ca fe")
    ),
    (PARTNERS + "CreatePartner", "partner.display_name", create(display_name="")),
    (PARTNERS + "CreatePartner", "partner.display_name", create(display_name="x" * 101)),
    (PARTNERS + "CreatePartner", "partner.display_name", create(display_name="a\0b")),
    (PARTNERS + "CreatePartner", "partner.create_time", create(create_time=moment(NOW))),
    (MEMBERS + "EnrollMember", "customer_id", enroll(customer_id="")),
    (MEMBERS + "EnrollMember", "customer_id", enroll(customer_id="x" * 65)),
    (MEMBERS + "EnrollMember", "customer_id", enroll(customer_id="a\tb")),
    (MEMBERS + "EnrollMember", "request_id", enroll(request_id="x" * 65)),
    (MEMBERS + "EnrollMember", "consent", enroll(**consents(1, 0))),
    (MEMBERS + "EnrollMember", "consent.per_burn_limit_points", enroll(**consents(-1, 1))),
    (MEMBERS + "EnrollMember", "consent.per_day_limit_points", enroll(**consents(1, LIMIT + 1))),
    (JOURNAL + "SetLedgerTime", "ledger_time", clock()),
    (JOURNAL + "SetLedgerTime", "ledger_time", clock(ledger_time=moment(NOW, -5))),
    (JOURNAL + "CloseWindow", "window_date", closing()),
    (JOURNAL + "CloseWindow", "window_date", closing(window_date=day(2026, 0, 1))),
    (JOURNAL + "SettleWindow", "window_date", settling(certificate_sha256=bytes(32))),
    (JOURNAL + "SettleWindow", "certificate_sha256", settling(window_date=day(2026, 1, 1))),
    (POINTS + "ListEntries", "page_size", listing(page_size=1_001)),
    (POINTS + "ListEntries", "page_size", listing(page_size=-1)),
    (POINTS + "ListEntries", "page_token", listing(page_token="not a token")),
    (POINTS + "ListEntries", "page_token", listing(page_token="WzEsMl0x" * 100)),
    (POINTS + "ListEntries", "page_token", listing(page_token="W1tbW1tbW10")),
    (POINTS + "ListEntries", "member_id", listing(member_id="m\0")),
]


@pytest.mark.parametrize(
    ("path", "field", "body"),
    [
        pytest.param(*case, id=f"{number} {case[0].rpartition('/')[2]} {case[1]}")
        for number, case in enumerate(OTHERS)
    ],
)
def test_every_other_write_and_list_names_the_field_that_is_out_of_shape(
    coalition: Coalition, path: str, field: str, body: bytes
) -> None:
    check_names_field(send(coalition, path, body), field)


# --- batches


def batch(*commands: commands_pb2.Command) -> bytes:
    return points_service_pb2.PostBatchRequest(commands=commands).SerializeToString()


@pytest.mark.parametrize("count", [0, 1_001])
def test_a_batch_of_none_or_of_more_than_1000_commands_is_refused_whole(
    coalition: Coalition, member_id: str, count: int
) -> None:
    before = entries_of(coalition, member_id)
    commands = [commands_pb2.Command(earn=coalition.earn(member_id)) for _ in range(count)]

    answer = send(coalition, POST_BATCH, batch(*commands))

    check_names_field(answer, "commands")
    assert entries_of(coalition, member_id) == before


def test_a_batch_of_1000_commands_is_accepted_whole(coalition: Coalition, member_id: str) -> None:
    before = entries_of(coalition, member_id)
    commands = [commands_pb2.Command(earn=coalition.earn(member_id)) for _ in range(1_000)]

    answer = send(coalition, POST_BATCH, batch(*commands))

    results = points_service_pb2.PostBatchResponse.FromString(answer.body).results
    assert Counter(result.WhichOneof("result") for result in results) == {"earn": 1_000}
    assert entries_of(coalition, member_id) == before + 1_000


def entries_of(coalition: Coalition, member_id: str) -> int:
    ((found,),) = coalition.rows(
        "SELECT count(*) FROM exchange.posted_entries_v1 WHERE member_id = %s", member_id
    )
    return int(found)


def bad_commands(coalition: Coalition, member_id: str) -> dict[str, bytes]:
    """Bytes of `Command` messages that are out of shape, by the field that is to be named."""
    unknown_in_earn = coalition.earn(member_id).SerializeToString() + UNKNOWN_FIELD
    unknown_in_time = with_unknown_inside(coalition.earn(member_id))
    return {
        "points": commands_pb2.Command(burn=coalition.burn(member_id, points=-1)).SerializeToString(),
        "store_id": commands_pb2.Command(earn=coalition.earn(member_id, store_id="")).SerializeToString(),
        "command": b"",
        "message": UNKNOWN_FIELD,
        "message ": b"\x0a" + varint(len(unknown_in_earn)) + unknown_in_earn,
        "message  ": b"\x0a" + varint(len(unknown_in_time)) + unknown_in_time,
    }


def test_a_malformed_command_of_a_batch_gets_its_own_unrecorded_result_and_the_rest_post(
    coalition: Coalition, member_id: str
) -> None:
    bad = bad_commands(coalition, member_id)
    good = [commands_pb2.Command(earn=coalition.earn(member_id)).SerializeToString() for _ in bad]
    before = entries_of(coalition, member_id)
    both = [command for pair in zip(good, bad.values(), strict=True) for command in pair]
    body = b"".join(b"\x0a" + varint(len(command)) + command for command in both)

    answer = send(coalition, POST_BATCH, body)

    results = points_service_pb2.PostBatchResponse.FromString(answer.body).results
    assert [result.WhichOneof("result") for result in results] == ["earn", "error"] * len(bad)
    for result, field in zip(results[1::2], bad, strict=True):
        assert sole_error_info(result.error).reason == "INVALID_FIELD"
        assert field_violations(result.error) == [field.strip()]
        check_no_leak(str(result.error))
    assert entries_of(coalition, member_id) == before + len(bad)
    ((recorded,),) = coalition.rows(
        "SELECT count(*) FROM exchange.requests WHERE request_id = ANY(%s)",
        [commands_pb2.Command.FromString(command).earn.request_id for command in both[1::2]],
    )
    assert recorded == 0


def test_an_unknown_field_on_the_batch_itself_refuses_all_of_it(coalition: Coalition, member_id: str) -> None:
    before = entries_of(coalition, member_id)
    good = batch(commands_pb2.Command(earn=coalition.earn(member_id)))

    check_names_field(send(coalition, POST_BATCH, good + UNKNOWN_FIELD), "message")
    check_names_field(send(coalition, POST_BATCH, good[:-1]), "message")

    assert entries_of(coalition, member_id) == before


# --- rules: refusals that belong to their request id for ever


@pytest.fixture(scope="module")
def newcomer(coalition: Coalition) -> str:
    """A member of partners `early`, who has no card at all, and `later`, whose card begins tomorrow."""
    coalition.add_partner("early")
    coalition.add_partner("later")

    async def card(operators: Operators) -> None:
        await operators.add_card("later", datetime.now(UTC) + timedelta(days=1), CardTerms())

    coalition.operate(card)
    return coalition.member("early", "later")


RULES: Final = ["MEMBER_UNKNOWN", "EVENT_TOO_OLD", "NO_RATE_CARD", "NO_RATE_CARD yet", "NOTHING_TO_EARN"]


@pytest.mark.parametrize("rule", RULES)
def test_a_refusal_by_the_rules_is_recorded_under_its_request_id(
    coalition: Coalition, member_id: str, newcomer: str, rule: str
) -> None:
    eight_days_ago = timestamp(datetime.now(UTC) - timedelta(days=8))
    code, request = {
        "MEMBER_UNKNOWN": ("cafe", coalition.earn("m-00000000zzzz")),
        "EVENT_TOO_OLD": ("cafe", coalition.earn(member_id, event_time=eight_days_ago)),
        "NO_RATE_CARD": ("early", coalition.earn(newcomer)),
        "NO_RATE_CARD yet": ("later", coalition.earn(newcomer)),
        "NOTHING_TO_EARN": ("cafe", coalition.earn(member_id, eligible_spend_minor=99)),
    }[rule]
    key = coalition.keys[code]

    first, again = (coalition.wire.call(key, EARN, request) for _ in range(2))
    other = commands_pb2.EarnRequest.FromString(request.SerializeToString())
    other.reference += "-other"
    reused = coalition.wire.call(key, EARN, other)
    burned = coalition.wire.call(key, BURN, coalition.burn(member_id, request_id=request.request_id))

    assert first.reason == rule.partition(" ")[0]
    assert again.body == first.body
    assert (again.code, again.text) == (first.code, first.text)
    assert reused.code is grpc.StatusCode.ALREADY_EXISTS
    assert [reused.reason, burned.reason] == ["REQUEST_ID_REUSED"] * 2
    for answer in (first, again, reused, burned):
        answer.check_no_leak()
        answer.receipt(coalition.hub_keys)


def test_a_recorded_refusal_stays_though_what_was_missing_has_come(coalition: Coalition) -> None:
    coalition.add_partner("upstart")
    member_id = coalition.member("upstart")
    request = coalition.earn(member_id)
    key = coalition.keys["upstart"]
    refused = coalition.wire.call(key, EARN, request)

    async def card(operators: Operators) -> None:
        await operators.add_card("upstart", CARDS_BEGIN, CardTerms())

    coalition.operate(card)
    again = coalition.wire.call(key, EARN, request)
    fresh = coalition.wire.call(key, EARN, coalition.earn(member_id))

    assert (refused.reason, again.body) == ("NO_RATE_CARD", refused.body)
    assert fresh.code is OK


def test_a_burn_is_refused_by_the_first_rule_that_says_no_and_the_refusal_is_kept(
    coalition: Coalition,
) -> None:
    member_id = coalition.member("cafe", points=100)
    tight = members_service_pb2.SetConsentRequest(
        request_id=new_request_id(),
        member_id=member_id,
        consent=members_service_pb2.Consent(per_burn_limit_points=50, per_day_limit_points=60),
    )
    coalition.wire.accepted(
        coalition.keys["cafe"], MEMBERS + "SetConsent", tight, members_service_pb2.SetConsentResponse
    )
    spent = coalition.burn(member_id, points=40)
    burns = {
        "": spent,
        "DUPLICATE_REFERENCE": coalition.burn(member_id, reference=spent.reference),
        "CONSENT_LIMIT_EXCEEDED": coalition.burn(member_id, points=51),
        "CONSENT_DAILY_LIMIT_EXCEEDED": coalition.burn(member_id, points=21),
    }

    first = {reason: coalition.wire.call(coalition.keys["cafe"], BURN, it) for reason, it in burns.items()}
    again = {reason: coalition.wire.call(coalition.keys["cafe"], BURN, it) for reason, it in burns.items()}

    assert {reason: answer.reason for reason, answer in first.items()} == {it: it for it in burns}
    assert {reason: answer.body for reason, answer in again.items()} == {
        reason: answer.body for reason, answer in first.items()
    }
    daily = first["CONSENT_DAILY_LIMIT_EXCEEDED"].error_info.metadata
    assert dict(daily) == {"limit_points": "60", "burned_points": "40"}


def test_an_unknown_caller_is_answered_alike_while_nothing_is_looked_up_for_him(
    coalition: Coalition,
) -> None:
    strangers = [Key.generate("cafe") for _ in range(50)]

    answers = [coalition.wire.call(key, JOURNAL + "GetLedger", b"") for key in strangers]

    assert {answer.body for answer in answers} == {answers[0].body}
    eventually(lambda: coalition.wire.call(coalition.keys["cafe"], JOURNAL + "GetLedger", b"").code is OK)
