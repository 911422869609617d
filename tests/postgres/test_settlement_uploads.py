"""Partners' files over a real connection: all of a file or nothing, whoever sends it and however it ends."""

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import psycopg
import pytest

from merchant_adapter import (
    Deal,
    FileFormat,
    InvalidRequest,
    Key,
    PartnerFileHeader,
    Receipt,
    Refused,
    SettlementKeys,
    SyncSettlement,
    verify_receipt,
    write_partner_file,
)
from settlement import server
from settlement.rpc.keys import PrivateKey
from settlement.rpc.uploads import PART_BYTES, UploadLimits, Uploads
from settlement.store.engine import open_engine
from tests.conftest import Databases
from tests.postgres.settlement_served import (
    AUDITOR,
    PARTNER_A,
    PARTNER_B,
    REVOKED,
    SETTLEMENT_KEY,
    STRANGER,
    Metadata,
    Service,
    path_of,
    refusal,
    register_keys,
    serving,
    settle,
    to_date,
)
from tests.settlement_hub import AUDIENCE, DAY_1, DAY_3, PostedLedger, prepare
from tests.waiting import WAIT_SECONDS, eventually
from tongdui.settlement.v1 import reconciliation_service_pb2 as wire

NOON = datetime(2026, 1, 3, 12, tzinfo=UTC)
KNOWN = SettlementKeys({SETTLEMENT_KEY.key_id: SETTLEMENT_KEY.public_key})
DEALS = (
    Deal("burn", NOON, 3_333, claimed_micros=31_663_500, request_id="r-1", reference="o-1"),
    Deal("earn", NOON, 16, owed_micros=163_200, request_id="r-2", reference="o-2", rate_version=1),
)
CSV = write_partner_file(DEALS, PartnerFileHeader("b", DAY_3, "CNY"))
TRACES = ("partner_files", "partner_file_parts", "partner_file_lines", "partner_requests")


@dataclass(frozen=True, slots=True)
class Desk:
    """A running service and a look into its database and at its places for uploads."""

    service: Service
    connection: psycopg.Connection[Any]
    uploads: Uploads

    def holds(self, count: int) -> bool:
        """Whether that many uploads of B have a place. Asking with a further one could take theirs."""
        return self.uploads.under_way["b"] == count

    def settlement(self, key: Key) -> SyncSettlement:
        return SyncSettlement.connect(
            self.service.address, AUDIENCE, key=key, settlement_keys=KNOWN, timeout_seconds=WAIT_SECONDS
        )

    def traces(self) -> dict[str, int]:
        """How many rows each table has that an upload writes to."""
        counts = {name: self._count(f"SELECT count(*) FROM settlement.{name}") for name in TRACES}
        deeds = "SELECT count(*) FROM settlement.audit_log WHERE act = 'load_file'"
        return counts | {"deeds": self._count(deeds)}

    def upload(self, key: PrivateKey, header: wire.UploadHeader, data: Iterable[bytes]) -> bytes:
        answer: bytes = self.begin(key, header, data).result()
        return answer

    def begin(self, key: PrivateKey, header: wire.UploadHeader, data: Iterable[bytes]) -> Any:
        first = wire.UploadPartnerFileRequest(header=header).SerializeToString()
        metadata = self.service.signed(key, "UploadPartnerFile", first)
        return self.service.upload(
            [first, *messages(data)] if isinstance(data, list) else _chain(first, data), metadata
        )

    def _count(self, query: str) -> int:
        found = self.connection.execute(query.encode()).fetchone()
        assert found is not None
        return int(found[0])


def _chain(first: bytes, data: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from messages(data)


def messages(data: Iterable[bytes]) -> Iterator[bytes]:
    return (wire.UploadPartnerFileRequest(data=part).SerializeToString() for part in data)


def header_of(data: bytes, **changes: Any) -> wire.UploadHeader:
    fields: dict[str, Any] = {
        "request_id": f"u-{time.monotonic_ns()}",
        "business_date": to_date(DAY_3),
        "format": wire.FILE_FORMAT_CSV,
        "byte_count": len(data),
        "sha256": hashlib.sha256(data).digest(),
    }
    return wire.UploadHeader(**(fields | changes))


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        prepare(url)
        yield url


@contextlib.contextmanager
def served(url: str, folder: Path, limits: UploadLimits | None = None) -> Iterator[Desk]:
    engine = open_engine(url)
    address = f"unix:{folder / 's.sock'}"
    made: list[Uploads] = []

    def kept(*arguments: Any) -> Uploads:
        made.append(Uploads(*arguments))
        return made[0]

    with (
        mock.patch.object(server, "Uploads", kept),
        serving(engine, address, limits),
        grpc.insecure_channel(address) as channel,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        yield Desk(Service(address, channel), connection, made[0])
    engine.dispose()


@pytest.fixture(scope="module")
def desk(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    ledger = PostedLedger.open(url)
    ledger.first_day_of_the_example()
    register_keys(ledger)
    engine = open_engine(url)
    settle(engine, ledger)
    engine.dispose()
    ledger.connection.close()
    with served(url, tmp_path_factory.mktemp("uploads")) as desk:
        yield desk


KEY_A = Key("a", b"a" * 32)
KEY_B = Key("b", b"b" * 32)


def test_a_file_is_taken_in_with_its_totals_and_its_bytes(desk: Desk) -> None:
    with desk.settlement(KEY_B) as settlement:
        accepted = settlement.upload_partner_file(CSV, DAY_3)

    file = accepted.file
    assert (file.partner_id, file.business_date, file.line_count) == ("b", DAY_3, 2)
    assert (file.earned_points, file.burned_points) == (16, 3_333)
    assert (file.claimed_micros, file.owed_micros) == (31_663_500, 163_200)
    assert file.sha256 == hashlib.sha256(CSV).hexdigest()
    kept = desk.connection.execute(
        "SELECT string_agg(content, '' ORDER BY part_number) FROM settlement.partner_file_parts"
        " WHERE file_id = %s",
        (file.file_id,),
    ).fetchone()
    assert kept is not None and bytes(kept[0]) == CSV  # noqa: PT018 - one thing


def test_the_receipt_proves_offline_what_was_handed_in_and_accepted(desk: Desk) -> None:
    with desk.settlement(KEY_B) as settlement:
        accepted = settlement.upload_partner_file(CSV, DAY_3)

    assert accepted.receipt is not None
    receipt = Receipt.from_json(accepted.receipt.to_json())
    signed = verify_receipt(receipt, KNOWN)
    header = wire.UploadPartnerFileRequest.FromString(receipt.request).header
    assert signed.key_id == SETTLEMENT_KEY.key_id
    assert header.sha256 == hashlib.sha256(CSV).digest()


def test_the_signed_call_is_kept_as_evidence_of_who_handed_it_in(desk: Desk) -> None:
    desk.upload(PARTNER_B, header_of(CSV), [CSV])

    row = desk.connection.execute(
        "SELECT received_from, key_id, evidence->>'path', evidence->'metadata'->>'tongdui-audience'"
        " FROM settlement.partner_files WHERE partner_id = 'b' AND business_date = %s",
        (DAY_3,),
    ).fetchone()
    assert row == ("b", PARTNER_B.key_id, path_of("UploadPartnerFile"), AUDIENCE)


def test_the_same_file_again_gets_the_same_answer(desk: Desk) -> None:
    with desk.settlement(KEY_B) as settlement:
        first = settlement.upload_partner_file(CSV, DAY_3)
        before = desk.traces()
        again = settlement.upload_partner_file(CSV, DAY_3)

    assert again.file == first.file
    assert desk.traces() == before | {"partner_requests": before["partner_requests"] + 1}


def test_a_repeated_request_gets_the_same_bytes(desk: Desk) -> None:
    header = header_of(CSV)
    first = desk.upload(PARTNER_B, header, [CSV])
    before = desk.traces()

    again = desk.begin(PARTNER_B, header, [CSV])

    assert again.result() == first
    assert ("tongdui-replayed", "1") in again.trailing_metadata()
    assert desk.traces() == before


def test_a_request_id_that_was_used_for_another_file_is_refused(desk: Desk) -> None:
    other = write_partner_file(DEALS[:1], PartnerFileHeader("b", DAY_3, "CNY"))
    header = header_of(CSV)
    desk.upload(PARTNER_B, header, [CSV])

    changed = header_of(other, request_id=header.request_id)
    code, info, _ = refusal(partial(desk.upload, PARTNER_B, changed, [other]))

    assert (code, info.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


def test_another_file_of_an_open_day_takes_the_place_of_the_first(desk: Desk) -> None:
    header = PartnerFileHeader("a", DAY_3, "CNY")
    with desk.settlement(KEY_A) as settlement:
        first = settlement.upload_partner_file(write_partner_file(DEALS, header), DAY_3)
        second = settlement.upload_partner_file(
            write_partner_file(DEALS[:1], header, FileFormat.JSONL), DAY_3, FileFormat.JSONL
        )

    states = desk.connection.execute(
        "SELECT file_id, state FROM settlement.partner_files WHERE partner_id = 'a' ORDER BY file_id"
    ).fetchall()
    assert states == [(first.file.file_id, "SUPERSEDED"), (second.file.file_id, "ACCEPTED")]


def test_a_large_file_comes_in_many_messages(desk: Desk, tmp_path: Path) -> None:
    many = (Deal("earn", NOON, 1, owed_micros=10_200, request_id=f"m-{n}") for n in range(20_000))
    file = tmp_path / "record.csv"
    file.write_bytes(write_partner_file(many, PartnerFileHeader("b", DAY_3, "CNY")))
    assert file.stat().st_size > PART_BYTES

    with desk.settlement(KEY_B) as settlement:
        accepted = settlement.upload_partner_file(file, DAY_3)

    assert (accepted.file.line_count, accepted.file.owed_micros) == (20_000, 204_000_000)


def edited(text: bytes, old: bytes, new: bytes) -> bytes:
    """The file with something changed and a trailer that agrees with it."""
    body = text[: text.rindex(b"T,")].replace(old, new, 1)
    return body + b"T," + hashlib.sha256(body).hexdigest().encode() + b"\n"


@pytest.mark.parametrize(
    ("file", "reason", "told"),
    [
        (
            edited(CSV, b",3333,", b",3334,"),
            "CONTROL_TOTAL",
            {"control": "burned_points", "stated": "3334", "found": "3333"},
        ),
        (CSV[:-30], "CONTROL_TOTAL", {"control": "sha256"}),
        (CSV.replace(b"o-1", b"o-9"), "CONTROL_TOTAL", {"control": "sha256"}),
        (edited(CSV, b"CNY", b"USD"), "FILE_MALFORMED", {"line": "1", "field": "currency"}),
        (edited(CSV, b"-01-03,", b"-01-04,"), "FILE_MALFORMED", {"line": "1", "field": "business_date"}),
        (edited(CSV, b",b,", b",a,"), "FILE_MALFORMED", {"line": "1", "field": "partner_id"}),
        (edited(CSV, b"o-1", b"=1+1"), "FILE_MALFORMED", {"line": "2", "field": "reference"}),
        (bytes(100_000), "FILE_MALFORMED", {}),
        (CSV.decode().encode("utf-16"), "FILE_MALFORMED", {}),
    ],
    ids=range(9),
)
def test_a_damaged_file_is_refused_as_a_whole_with_its_place(
    desk: Desk, file: bytes, reason: str, told: dict[str, str]
) -> None:
    before = desk.traces()

    _, info, _ = refusal(partial(desk.upload, PARTNER_B, header_of(file), [file]))

    assert info.reason == reason
    assert told.items() <= dict(info.metadata).items()
    assert desk.traces() == before


def test_a_refusal_carries_settlements_receipt(desk: Desk) -> None:
    damaged = edited(CSV, b",3333,", b",3334,")

    with desk.settlement(KEY_B) as settlement, pytest.raises(Refused) as raised:
        settlement.upload_partner_file(damaged, DAY_3)

    assert raised.value.reason == "CONTROL_TOTAL"
    assert raised.value.receipt is not None
    assert verify_receipt(raised.value.receipt, KNOWN).key_id == SETTLEMENT_KEY.key_id


def test_a_file_of_a_certified_day_comes_too_late(desk: Desk) -> None:
    late = write_partner_file((), PartnerFileHeader("b", DAY_1, "CNY"))

    with desk.settlement(KEY_B) as settlement, pytest.raises(Refused) as raised:
        settlement.upload_partner_file(late, DAY_1)

    assert raised.value.reason == "WINDOW_CERTIFIED"
    assert raised.value.metadata == {"business_date": "2026-01-01"}


def test_a_mapped_file_without_an_agreed_mapping_is_refused(desk: Desk) -> None:
    with desk.settlement(KEY_B) as settlement, pytest.raises(InvalidRequest) as raised:
        settlement.upload_partner_file(b"a,b\n1,2\n", DAY_3, FileFormat.MAPPED, control=b"{}")

    assert [one.field for one in raised.value.fields] == ["header.format"]


@pytest.mark.parametrize("key", [REVOKED, STRANGER], ids=["revoked", "stranger"])
def test_a_key_that_may_not_sign_hands_nothing_in(desk: Desk, key: PrivateKey) -> None:
    before = desk.traces()

    _, info, _ = refusal(partial(desk.upload, key, header_of(CSV), [CSV]))

    assert info.reason == "SIGNATURE_INVALID"
    assert desk.traces() == before


def test_only_partners_hand_files_in(desk: Desk) -> None:
    _, info, _ = refusal(partial(desk.upload, AUDITOR, header_of(CSV), [CSV]))

    assert info.reason == "ROLE_REQUIRED"


@pytest.mark.parametrize(
    "sent",
    [[CSV[:-1]], [CSV, b"x"], [CSV[:-1] + b"x"], [], [CSV[1:], CSV[:1]]],
    ids=["cut", "longer", "changed", "none", "order"],
)
def test_other_bytes_than_those_that_were_signed_are_not_taken_in(desk: Desk, sent: list[bytes]) -> None:
    before = desk.traces()

    code, info, status = refusal(partial(desk.upload, PARTNER_B, header_of(CSV), sent))

    assert (code, info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "SIGNATURE_INVALID")
    assert status.message == "the request's signature, key or audience is not acceptable"
    assert desk.traces() == before


def test_a_signature_over_another_header_is_refused(desk: Desk) -> None:
    first = wire.UploadPartnerFileRequest(header=header_of(CSV)).SerializeToString()
    other = wire.UploadPartnerFileRequest(header=header_of(CSV, request_id="other")).SerializeToString()
    metadata: Metadata = desk.service.signed(PARTNER_B, "UploadPartnerFile", other)

    _, info, _ = refusal(lambda: desk.service.upload([first, *messages([CSV])], metadata).result())

    assert info.reason == "SIGNATURE_INVALID"


@pytest.mark.parametrize("sent", [[], [b"\xff\xff"]], ids=["nothing", "noise"])
def test_a_stream_that_nobody_signed_is_refused(desk: Desk, sent: list[bytes]) -> None:
    _, info, _ = refusal(lambda: desk.service.upload(sent, ()).result())

    assert info.reason == "SIGNATURE_INVALID"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"request_id": ""}, "header.request_id"),
        ({"request_id": "a b"}, "header.request_id"),
        ({"business_date": None}, "header.business_date"),
        ({"format": wire.FILE_FORMAT_UNSPECIFIED}, "header.format"),
        ({"byte_count": 0}, "header.byte_count"),
        ({"byte_count": 512 * 1024 * 1024 + 1}, "header.byte_count"),
        ({"sha256": b"short"}, "header.sha256"),
        ({"control": b"{}"}, "header.control"),
        ({"format": wire.FILE_FORMAT_MAPPED}, "header.control"),
        ({"format": wire.FILE_FORMAT_MAPPED, "control": bytes(5_000)}, "header.control"),
    ],
    ids=range(10),
)
def test_a_header_that_makes_no_sense_is_told_the_field(
    desk: Desk, changes: dict[str, Any], field: str
) -> None:
    _, info, _ = refusal(partial(desk.upload, PARTNER_B, header_of(CSV, **changes), [CSV]))

    assert (info.reason, info.metadata["field"]) == ("INVALID_FIELD", field)


@pytest.mark.parametrize(
    ("second", "field"),
    [
        (wire.UploadPartnerFileRequest(data=b"").SerializeToString(), "data"),
        (wire.UploadPartnerFileRequest(data=bytes(PART_BYTES + 1)).SerializeToString(), "data"),
        (wire.UploadPartnerFileRequest(header=header_of(CSV)).SerializeToString(), "data"),
        (b"\xff\xff", "request"),
    ],
    ids=["empty", "too large", "header", "noise"],
)
def test_a_message_without_data_ends_an_upload(desk: Desk, second: bytes, field: str) -> None:
    first = wire.UploadPartnerFileRequest(header=header_of(bytes(PART_BYTES * 2))).SerializeToString()
    metadata = desk.service.signed(PARTNER_B, "UploadPartnerFile", first)

    _, info, _ = refusal(lambda: desk.service.upload([first, second], metadata).result())

    assert (info.reason, info.metadata["field"]) == ("INVALID_FIELD", field)


@contextlib.contextmanager
def half_sent(desk: Desk, count: int) -> Iterator[tuple[list[Any], threading.Event]]:
    """Uploads of B whose second half waits for an event, where none is under way before and after."""
    eventually(lambda: desk.holds(0))
    goes_on = threading.Event()

    def parts() -> Iterator[bytes]:
        yield CSV[:50]
        goes_on.wait(WAIT_SECONDS)
        yield CSV[50:]

    uploads = [desk.begin(PARTNER_B, header_of(CSV, request_id=f"half-{n}"), parts()) for n in range(count)]
    try:
        yield uploads, goes_on
    finally:
        goes_on.set()
        for upload in uploads:
            upload.cancel()
        eventually(lambda: desk.holds(0))


def reason_of(desk: Desk) -> str:
    """What an upload with other bytes than signed is told: `HUB_BUSY` where there is no place for it."""
    _, info, _ = refusal(partial(desk.upload, PARTNER_B, header_of(CSV), [b"x"]))
    return str(info.reason)


def is_admitted(desk: Desk) -> bool:
    _, info, _ = refusal(partial(desk.upload, PARTNER_B, header_of(CSV, byte_count=0), []))
    return str(info.reason) == "INVALID_FIELD"


def test_a_partner_has_two_uploads_under_way_and_others_still_have_theirs(desk: Desk) -> None:
    with half_sent(desk, 2) as (uploads, goes_on):
        eventually(lambda: desk.holds(2))
        assert reason_of(desk) == "HUB_BUSY"
        desk.upload(PARTNER_A, header_of(CSV_OF_A), [CSV_OF_A])
        goes_on.set()

        for upload in uploads:
            assert wire.UploadPartnerFileResponse.FromString(upload.result()).file.partner_id == "b"


CSV_OF_A = write_partner_file((), PartnerFileHeader("a", DAY_3, "CNY"))


def test_an_upload_that_is_broken_off_leaves_no_trace_and_frees_its_place(desk: Desk) -> None:
    before = desk.traces()
    with half_sent(desk, 2) as (uploads, _):
        eventually(lambda: desk.holds(2))
        assert reason_of(desk) == "HUB_BUSY"

        for upload in uploads:
            upload.cancel()

        eventually(lambda: desk.holds(0))
        assert reason_of(desk) == "SIGNATURE_INVALID"
    assert desk.traces() == before


def test_a_key_that_is_revoked_while_the_bytes_come_hands_nothing_in(desk: Desk) -> None:
    before = desk.traces()
    change = "UPDATE exchange.keys_v1 SET state = %s WHERE key_id = %s"
    try:
        with half_sent(desk, 2) as (uploads, goes_on):
            eventually(lambda: desk.holds(2))
            desk.connection.execute(change, ("revoked", PARTNER_B.key_id))
            eventually(lambda: reason_of(desk) == "SIGNATURE_INVALID")  # no process believes the key any more
            goes_on.set()

            for upload in uploads:
                _, info, _ = refusal(upload.result)
                assert info.reason == "SIGNATURE_INVALID"
        assert desk.traces() == before
    finally:
        desk.connection.execute(change, ("active", PARTNER_B.key_id))
        eventually(lambda: is_admitted(desk))


def test_an_upload_that_stands_still_is_given_up(desk: Desk, url: str, tmp_path: Path) -> None:
    before = desk.traces()

    with served(url, tmp_path, UploadLimits(idle_seconds=0.2)) as hasty, half_sent(hasty, 1) as (uploads, _):
        code, info, _ = refusal(uploads[0].result)

    assert (code, info.reason) == (grpc.StatusCode.UNAVAILABLE, "HUB_UNAVAILABLE")
    assert desk.traces() == before


def test_a_source_that_breaks_is_raised_and_nothing_is_taken_in(desk: Desk, tmp_path: Path) -> None:
    before = desk.traces()

    with desk.settlement(KEY_B) as settlement, pytest.raises(FileNotFoundError):
        settlement.upload_partner_file(tmp_path / "missing.csv", date(2026, 1, 3))

    assert desk.traces() == before
