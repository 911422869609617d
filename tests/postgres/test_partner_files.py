"""Partner files on a real database: taken in whole, or refused with line and field and no trace anywhere."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from itertools import repeat

import pytest
from sqlalchemy import Engine, text

from settlement.core.mapping import ProfileInvalid
from settlement.core.partner_file import FileFormat, FileRefused
from settlement.partner_files import Declared, LoadedFile, load_file
from settlement.people import Actor
from settlement.profiles import Profile
from settlement.reconciliation import dry_run, reconcile
from settlement.store.engine import open_engine
from settlement.store.feed import read_ledger
from tests.conftest import Databases
from tests.postgres.journal_rows import Journal, partner_file, prepare_hub, sealed

DAY_1, DAY_2 = date(2026, 1, 1), date(2026, 1, 2)
SETTLEMENT = Actor(None, unattended=True)
TABLES = (
    "partner_files",
    "partner_file_parts",
    "partner_file_lines",
    "reconciliations",
    "breaks",
    "audit_log",
)


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as made:
        prepare_hub(made)
        yield made


@pytest.fixture(scope="module")
def journal(url: str) -> Iterator[Journal]:
    """What the hub posted on day 1. Nothing here changes it."""
    opened = Journal.open(url)
    opened.earn(DAY_1, "a", 100, request_id="E1", reference="order-1")
    opened.burn(DAY_1, "a", 30, request_id="E2", reference="order-2")
    opened.refund(DAY_1, "a", 10, request_id="E3", reference="order-2", part=1)
    opened.close(DAY_1)
    with opened.connection:
        yield opened


@pytest.fixture(scope="module")
def shared_engine(url: str, journal: Journal) -> Iterator[Engine]:
    opened = open_engine(url)
    yield opened
    opened.dispose()


@pytest.fixture
def engine(shared_engine: Engine, journal: Journal) -> Iterator[Engine]:
    """Settlement's side is empty again after a test that left something there."""
    yield shared_engine
    if traces(shared_engine):
        journal.clear_settlement()


def lines_of(journal: Journal) -> list[str]:
    return [deal.line() for _, deal in journal.posted]


def load(engine: Engine, content: bytes | Iterable[bytes], **declared: object) -> LoadedFile:
    given = {"partner_id": "a", "business_date": DAY_1} | declared
    pieces = [content] if isinstance(content, bytes) else content
    with engine.begin() as connection:
        return load_file(connection, read_ledger(connection), SETTLEMENT, Declared(**given), pieces)  # type: ignore[arg-type] # the caller's


def traces(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        counts = {
            table: connection.execute(text(f"SELECT count(*) FROM settlement.{table}")).scalar_one()
            for table in TABLES
        }
    return {table: count for table, count in counts.items() if count}


def test_a_file_is_kept_byte_for_byte_and_line_by_line(engine: Engine, journal: Journal) -> None:
    content = partner_file("a", DAY_1, lines_of(journal))

    loaded = load(engine, (content[start : start + 7] for start in range(0, len(content), 7)))

    assert loaded.file.sha256 == hashlib.sha256(content).hexdigest()
    assert (loaded.file.line_count, loaded.file.controls.burned_points) == (3, 20)
    with engine.connect() as connection:
        parts = connection.execute(
            text("SELECT content FROM settlement.partner_file_parts ORDER BY part_number")
        ).scalars()
        assert b"".join(map(bytes, parts)) == content
        rows = connection.execute(
            text(
                "SELECT line_number, part, member_number, claimed_micros, owed_micros"
                " FROM settlement.partner_file_lines ORDER BY 1"
            )
        ).all()
    assert [tuple(map(_plain, row)) for row in rows] == [
        (2, None, 7, 0, 1_020_000),
        (3, None, 7, 285_000, 0),
        (4, 1, 7, 0, 95_000),
    ]


def _plain(value: object) -> int | None:
    return None if value is None else int(str(value))


def test_the_same_file_again_is_answered_the_same_and_kept_once(engine: Engine, journal: Journal) -> None:
    content = partner_file("a", DAY_1, lines_of(journal))
    first = load(engine, content)
    before = traces(engine)

    again = load(engine, content)

    assert again.is_repeat
    assert again.file == first.file
    assert traces(engine) == before


def test_a_file_whose_place_another_took_counts_again_when_it_comes_again(
    engine: Engine, journal: Journal
) -> None:
    first, second = (partner_file("a", DAY_1, lines_of(journal)[:count]) for count in (3, 2))
    digest = hashlib.sha256(first).hexdigest()
    loaded = [load(engine, content) for content in (first, second)]

    kept = load(engine, first, sha256=digest, once=True)
    again = load(engine, first, sha256=digest)

    assert (kept.is_repeat, kept.file.file_id) == (True, loaded[0].file.file_id)
    assert (again.is_repeat, again.superseded) == (False, loaded[1].file)
    assert again.file.file_id not in {it.file.file_id for it in loaded}
    with engine.connect() as connection:
        states = connection.execute(text("SELECT state FROM settlement.partner_files ORDER BY file_id"))
        assert list(states.scalars()) == ["SUPERSEDED", "SUPERSEDED", "ACCEPTED"]


def test_a_file_for_a_certified_day_is_refused_but_the_one_it_has_is_answered(
    engine: Engine, journal: Journal
) -> None:
    content = partner_file("a", DAY_1, lines_of(journal))
    load(engine, content)
    journal.connection.execute(
        "INSERT INTO settlement.windows (window_date, state, first_sequence, last_sequence, last_hash, entry_count,"
        " close_time) VALUES (%s, 'CERTIFIED', 1, 3, %s, 3, now())",
        (DAY_1, bytes(32)),
    )

    again = load(engine, content)
    with pytest.raises(FileRefused) as refused:
        load(engine, partner_file("a", DAY_1, lines_of(journal)[:2]))

    assert again.is_repeat
    assert refused.value.reason == "WINDOW_CERTIFIED"


def changed(index: int, **fields: object) -> Callable[[Journal], bytes]:
    def make(journal: Journal) -> bytes:
        deals = [deal for _, deal in journal.posted]
        return partner_file(
            "a", DAY_1, [deal.line(**(fields if n == index else {})) for n, deal in enumerate(deals)]
        )

    return make


def stating(**totals: object) -> Callable[[Journal], bytes]:
    return lambda journal: partner_file("a", DAY_1, lines_of(journal), **totals)


def edited(change: Callable[[list[str]], list[str]]) -> Callable[[Journal], bytes]:
    """The whole file's records changed, with a trailer that fits."""

    def make(journal: Journal) -> bytes:
        records = partner_file("a", DAY_1, lines_of(journal)).decode().splitlines()[:-1]
        return sealed("\n".join(change(records)) + "\n")

    return make


def spoilt(change: Callable[[bytes], bytes]) -> Callable[[Journal], bytes]:
    return lambda journal: change(partner_file("a", DAY_1, lines_of(journal)))


def header(**fields: str) -> Callable[[Journal], bytes]:
    names = ["record", "format", "version", "partner_id", "business_date", "currency", "unit"]

    def change(records: list[str]) -> list[str]:
        parts = records[0].split(",")
        for name, value in fields.items():
            parts[names.index(name)] = value
        return [",".join(parts), *records[1:]]

    return edited(change)


DAMAGED: list[tuple[str, Callable[[Journal], bytes], tuple[str, int, str]]] = [
    ("cut in a line", spoilt(lambda it: it[:-100]), ("FILE_MALFORMED", 4, "")),
    ("cut at a line's end", spoilt(lambda it: it[: it.rindex(b"T,")]), ("CONTROL_TOTAL", 4, "trailer")),
    ("a line twice", edited(lambda it: [*it, it[-1]]), ("CONTROL_TOTAL", 1, "count")),
    ("a line lost", edited(lambda it: it[:-1]), ("CONTROL_TOTAL", 1, "count")),
    ("points total", stating(earned_points=101), ("CONTROL_TOTAL", 1, "earned_points")),
    ("burned total", stating(burned_points=30), ("CONTROL_TOTAL", 1, "burned_points")),
    ("money total", stating(claimed="0.29"), ("CONTROL_TOTAL", 1, "claimed")),
    ("owed total", stating(owed="1.02"), ("CONTROL_TOTAL", 1, "owed")),
    ("one byte", spoilt(lambda it: it.replace(b"order-1", b"order-7")), ("CONTROL_TOTAL", 5, "sha256")),
    ("unit fen, amounts yuan", header(unit="minor"), ("FILE_MALFORMED", 1, "claimed")),
    ("unit", header(unit="cents"), ("FILE_MALFORMED", 1, "unit")),
    ("day", header(business_date="2026-01-02"), ("FILE_MALFORMED", 1, "business_date")),
    ("currency", header(currency="USD"), ("FILE_MALFORMED", 1, "currency")),
    ("partner", header(partner_id="b"), ("FILE_MALFORMED", 1, "partner_id")),
    ("version", header(version="2"), ("FILE_MALFORMED", 1, "version")),
    ("format", header(format="other"), ("FILE_MALFORMED", 1, "format")),
    ("a second header", edited(lambda it: [it[0], *it]), ("FILE_MALFORMED", 2, "record")),
    ("no header", edited(lambda it: it[1:]), ("FILE_MALFORMED", 1, "record")),
    ("a second trailer", spoilt(lambda it: it + it[it.rindex(b"T,") :]), ("FILE_MALFORMED", 6, "")),
    ("data after the trailer", spoilt(lambda it: it + b"x"), ("FILE_MALFORMED", 6, "")),
    ("an empty line", edited(lambda it: [*it[:2], "", *it[2:]]), ("FILE_MALFORMED", 3, "record")),
    ("not UTF-8", spoilt(lambda it: it.replace(b"order-1", b"ord\xe9r1")), ("FILE_MALFORMED", 2, "")),
    ("UTF-16", spoilt(lambda it: it.decode().encode("utf-16")), ("FILE_MALFORMED", 1, "")),
    ("a zero byte", spoilt(lambda it: it.replace(b"order-2", b"order\x00-")), ("FILE_MALFORMED", 3, "")),
    ("empty", lambda _: b"", ("FILE_MALFORMED", 0, "")),
    ("one field more", edited(lambda it: [*it[:2], it[2] + ",x", it[3]]), ("FILE_MALFORMED", 3, "")),
    ("formula =", changed(1, reference="=1+1"), ("FILE_MALFORMED", 3, "reference")),
    ("formula +", changed(1, store_id="+1"), ("FILE_MALFORMED", 3, "store_id")),
    ("formula -", changed(1, terminal_id="-1"), ("FILE_MALFORMED", 3, "terminal_id")),
    ("formula @", changed(1, request_id="@SUM"), ("FILE_MALFORMED", 3, "request_id")),
    ("formula tab", changed(1, reference="\tcmd"), ("FILE_MALFORMED", 3, "reference")),
    ("quoted formula", changed(1, reference='"=1"'), ("FILE_MALFORMED", 3, "reference")),
    ("kind", changed(2, kind="gift"), ("FILE_MALFORMED", 4, "kind")),
    ("state", changed(2, state="gone"), ("FILE_MALFORMED", 4, "state")),
    ("time", changed(0, event_time="2026-02-30T12:00:00+08:00"), ("FILE_MALFORMED", 2, "event_time")),
    ("time without zone", changed(0, event_time="2026-01-01T12:00:00"), ("FILE_MALFORMED", 2, "event_time")),
    ("member", changed(0, member_id="m-1"), ("FILE_MALFORMED", 2, "member_id")),
    ("no name", changed(0, request_id="", reference=""), ("FILE_MALFORMED", 2, "request_id")),
    ("version number", changed(0, rate_version="1.5"), ("FILE_MALFORMED", 2, "rate_version")),
    ("part", changed(0, part="1000001"), ("FILE_MALFORMED", 2, "part")),
    ("control character", changed(0, store_id="s\x7f1"), ("FILE_MALFORMED", 2, "store_id")),
    ("text too long", changed(0, reference="x" * 65), ("FILE_MALFORMED", 2, "reference")),
]


@pytest.mark.parametrize(("make", "place"), [it[1:] for it in DAMAGED], ids=[it[0] for it in DAMAGED])
def test_a_damaged_file_is_refused_whole_with_its_place_and_leaves_no_trace(
    engine: Engine, journal: Journal, make: Callable[[Journal], bytes], place: tuple[str, int, str]
) -> None:
    with pytest.raises(FileRefused) as refused:
        load(engine, make(journal))

    assert (refused.value.reason, refused.value.line, refused.value.field) == place
    assert traces(engine) == {}


AMOUNTS = ["-1", "1e3", "1.0000001", "1,5", "", "٣", "0x1", " 1", "NaN"]


@pytest.mark.parametrize("field", ["points", "claimed", "owed"])
@pytest.mark.parametrize("amount", AMOUNTS)
def test_an_amount_that_is_none_is_refused_by_its_field(
    engine: Engine, journal: Journal, field: str, amount: str
) -> None:
    record = journal.posted[0][1].line(**{field: "AMOUNT"}).replace("AMOUNT", f'"{amount}"')
    head = "H,tongdui-partner-file,1,a,2026-01-01,CNY,major,1,100,0,0,1.02"

    with pytest.raises(FileRefused) as refused:
        load(engine, sealed(f"{head}\n{record}\n"))

    assert (refused.value.line, refused.value.field) == (2, field)
    assert traces(engine) == {}


def test_a_gigabyte_of_zeros_is_refused_after_its_first_piece(engine: Engine) -> None:
    taken = []

    def zeros() -> Iterator[bytes]:
        for piece in repeat(bytes(1 << 20), 1024):
            taken.append(len(piece))
            yield piece

    with pytest.raises(FileRefused) as refused:
        load(engine, zeros())

    assert refused.value.line == 1
    assert len(taken) == 1
    assert traces(engine) == {}


@pytest.mark.parametrize("start", ["", "H,tongdui-partner-file,1,a,2026-01-01,CNY,major,1,0,0,0,0\n"])
def test_a_line_without_an_end_is_refused_before_more_is_read(engine: Engine, start: str) -> None:
    taken = []

    def digits() -> Iterator[bytes]:
        yield start.encode()
        for piece in repeat(b"D," + b"7" * (1 << 20), 512):
            taken.append(len(piece))
            yield piece

    with pytest.raises(FileRefused) as refused:
        load(engine, digits())

    assert refused.value.line == (2 if start else 1)
    assert len(taken) == 1


def test_a_file_over_the_limit_is_refused(engine: Engine, journal: Journal) -> None:
    with pytest.raises(FileRefused, match="more than 100 bytes"):
        load(engine, partner_file("a", DAY_1, lines_of(journal)), byte_limit=100)

    assert traces(engine) == {}


def test_a_file_of_an_unknown_partner_or_other_digest_is_refused(engine: Engine, journal: Journal) -> None:
    content = partner_file("a", DAY_1, lines_of(journal))

    with pytest.raises(FileRefused, match="no partner 'zz'"):
        load(engine, content, partner_id="zz")
    with pytest.raises(FileRefused, match="CONTROL_TOTAL: sha256"):
        load(engine, content, sha256="0" * 64)

    assert traces(engine) == {}


def test_quotes_crlf_chinese_and_any_cut_into_pieces_read_the_same(engine: Engine, journal: Journal) -> None:
    deals = [deal for _, deal in journal.posted]
    records = [
        deals[0].line(store_id='"上海, 1号"'),
        deals[1].line(store_id="上海"),
        deals[2].line(store_id='"a ""b"""'),
    ]
    plain = partner_file("a", DAY_1, lines_of(journal)).decode().splitlines()[0]
    content = sealed("\r\n".join([plain, *records]) + "\r\n")

    load(engine, (content[start : start + 11] for start in range(0, len(content), 11)))

    with engine.connect() as connection:
        stores = connection.execute(
            text("SELECT store_id FROM settlement.partner_file_lines ORDER BY line_number")
        ).scalars()
        assert list(stores) == ["上海, 1号", "上海", 'a "b"']


def test_jsonl_says_the_same_as_csv(engine: Engine, journal: Journal) -> None:
    head = {
        "record": "header",
        "format": "tongdui-partner-file",
        "version": 1,
        "partner_id": "a",
        "business_date": "2026-01-01",
        "currency": "CNY",
        "unit": "minor",
        "count": 1,
        "earned_points": 100,
        "burned_points": 0,
        "claimed": "0",
        "owed": "102",
    }
    deal = {
        "record": "deal",
        "request_id": "E1",
        "kind": "earn",
        "event_time": "2026-01-01T12:00:00+08:00",
        "points": 100,
        "claimed": "0",
        "owed": "102.0",
        "part": None,
    }
    body = f"{json.dumps(head)}\n{json.dumps(deal)}\n".encode()
    trailer = json.dumps({"record": "trailer", "sha256": hashlib.sha256(body).hexdigest()})

    loaded = load(engine, body + trailer.encode(), format=FileFormat.JSONL)

    assert loaded.file.unit == "minor"
    assert loaded.file.controls.owed_micros == 1_020_000


JSON_FAULTS = {
    "not json": ("{", 2, ""),
    "a list": ("[]", 2, ""),
    "a float": ('{"record":"deal","request_id":"E1","points":1.5}', 2, "points"),
    "a field twice": ('{"record":"deal","kind":"earn","kind":"burn"}', 2, ""),
    "an unknown field": ('{"record":"deal","colour":"red"}', 2, "colour"),
    "no record": ("{}", 2, "record"),
}


@pytest.mark.parametrize(("record", "line", "field"), JSON_FAULTS.values(), ids=JSON_FAULTS)
def test_a_wrong_json_line_is_refused_by_line_and_field(
    engine: Engine, record: str, line: int, field: str
) -> None:
    head = (
        '{"record":"header","format":"tongdui-partner-file","version":"1","partner_id":"a","business_date":'
        '"2026-01-01","currency":"CNY","unit":"major","count":1,"earned_points":0,"burned_points":0,"claimed":"0",'
        '"owed":"0"}'
    )

    with pytest.raises(FileRefused) as refused:
        load(engine, f"{head}\n{record}\n".encode(), format=FileFormat.JSONL)

    assert (refused.value.line, refused.value.field) == (line, field)
    assert traces(engine) == {}


MAPPING = {
    "columns": {
        "reference": "单号",
        "kind": "类型",
        "event_time": "时间",
        "points": "积分",
        "claimed": "应收",
        "owed": "应付",
        "part": "次",
    },
    "constants": {"store_id": "s-1"},
    "kinds": {"发放": "earn", "消费": "burn", "退款": "refund_burn"},
    "delimiter": ";",
    "encoding": "gb18030",
    "decimal": ",",
    "time_format": "%d.%m.%Y %H:%M",
    "utc_offset": "+08:00",
}
EXPORT = (
    "单号;类型;时间;积分;应收;应付;次;备注\r\n"
    "order-1;发放;01.01.2026 12:00;100;;1,02;;x\r\n"
    'order-2;消费;01.01.2026 12:00;30;0,285;;;"a;b"\r\n'
    "order-2;退款;01.01.2026 12:00;10;;0,095;1;\r\n"
)
CONTROL = {
    "format": "tongdui-partner-file",
    "version": "1",
    "partner_id": "a",
    "business_date": "2026-01-01",
    "currency": "CNY",
    "unit": "major",
    "count": 3,
    "earned_points": 100,
    "burned_points": 20,
    "claimed": "0.285",
    "owed": "1.115",
}


def mapped(**control: object) -> Declared:
    return Declared(
        "a",
        DAY_1,
        FileFormat.MAPPED,
        control=json.dumps(CONTROL | control).encode(),
        profile=Profile(MAPPING, {}, file_expected=True),
    )


def test_a_partners_own_export_is_read_by_its_mapping_and_a_dry_run_keeps_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        row, outcome = dry_run(
            connection, read_ledger(connection), SETTLEMENT, mapped(), [EXPORT.encode("gb18030")]
        )

    assert row.line_count == 3
    assert outcome is not None
    assert outcome.matched_count == 3
    assert outcome.found == ()
    assert traces(engine) == {}


@pytest.mark.parametrize(
    ("export", "control", "place"),
    [
        (EXPORT.replace("单号", "号"), {}, (1, "reference")),
        (EXPORT.replace("1,02", "1.0.2x"), {}, (2, "owed")),
        (EXPORT.replace("01.01.2026", "2026-01-01", 1), {}, (2, "event_time")),
        (EXPORT.replace("发放", "赠送"), {}, (2, "kind")),
        (EXPORT.replace(";x", ";x;y"), {}, (2, "")),
        (EXPORT, {"count": 4}, (1, "count")),
        (EXPORT, {"owed": "1.12"}, (1, "owed")),
        (EXPORT, {"sha256": "00"}, (1, "sha256")),
    ],
)
def test_an_export_that_is_wrong_is_refused_by_line_and_field(
    engine: Engine, export: str, control: dict[str, object], place: tuple[int, str]
) -> None:
    with pytest.raises(FileRefused) as refused, engine.begin() as connection:
        load_file(
            connection,
            read_ledger(connection),
            SETTLEMENT,
            mapped(**control),
            [export.encode("gb18030")],
        )

    assert (refused.value.line, refused.value.field) == place
    assert traces(engine) == {}


def test_an_export_is_read_again_once_its_mapping_is_corrected(engine: Engine, journal: Journal) -> None:
    export = EXPORT.encode("gb18030")
    declared: dict[str, object] = {
        "format": FileFormat.MAPPED,
        "control": json.dumps(CONTROL).encode(),
        "sha256": hashlib.sha256(export).hexdigest(),
        "once": True,
    }
    stores = []

    for store in ("s-1", "s-2"):
        mapping = json.dumps(MAPPING | {"constants": {"store_id": store}})
        journal.connection.execute(
            "INSERT INTO settlement.profiles SELECT 'a', count(*) + 1, %s, '{}', true, %s, 'mia', now()"
            " FROM settlement.profiles",
            (mapping, DAY_1),
        )
        loaded = [load(engine, export, **declared) for _ in range(2)]
        stores.append([it.is_repeat for it in loaded])

    assert stores == [[False, True], [False, True]]
    with engine.connect() as connection:
        read = connection.execute(
            text(
                "SELECT DISTINCT store_id FROM settlement.partner_file_lines"
                " JOIN settlement.partner_files USING (file_id) WHERE partner_files.state = 'ACCEPTED'"
            )
        ).scalars()
        assert list(read) == ["s-2"]


def test_an_export_without_a_mapping_is_refused(engine: Engine) -> None:
    with pytest.raises(ProfileInvalid, match="no column mapping"):
        load(engine, EXPORT.encode("gb18030"), format=FileFormat.MAPPED)


@pytest.mark.parametrize("without", [("request_id",), ()], ids=["by key", "by request id"])
def test_lines_match_by_request_id_or_else_by_kind_reference_and_part(
    engine: Engine, journal: Journal, without: tuple[str, ...]
) -> None:
    lines = [deal.line(**dict.fromkeys(without, "")) for _, deal in journal.posted]

    loaded = load(engine, partner_file("a", DAY_1, lines))
    with engine.begin() as connection:
        outcome = reconcile(connection, read_ledger(connection), SETTLEMENT, loaded.file)

    assert (outcome.matched_count, outcome.found) == (3, ())


def test_lines_with_and_without_request_ids_match_in_one_file(engine: Engine, journal: Journal) -> None:
    deals = [deal for _, deal in journal.posted]

    loaded = load(
        engine,
        partner_file(
            "a", DAY_1, [deals[0].line(), deals[1].line(request_id=""), deals[2].line(request_id="")]
        ),
    )
    with engine.begin() as connection:
        outcome = reconcile(connection, read_ledger(connection), SETTLEMENT, loaded.file)

    assert (outcome.matched_count, outcome.found) == (3, ())
