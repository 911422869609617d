"""The command that hands a window's evidence to others: everything to compute it again, as files."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from sqlalchemy import Connection

from settlement.command_line import screen
from settlement.command_line.bundle import (
    RecordWriter,
    write_document,
    write_manifest,
)
from settlement.command_line.session import Misconfigured, NotThere, Session, open_snapshot
from settlement.core.certificate import (
    party_line_content,
)
from settlement.core.evidence import COLUMNS
from settlement.core.evidence_checks import (
    CERTIFICATE,
    LINES,
    PREVIOUS,
    PREVIOUS_LINES,
    STATEMENTS,
)
from settlement.core.statement import statement_content, statements
from settlement.core.window import ClosedWindow
from settlement.store import exports, load
from settlement.store.load import StoredCertificate

BATCHES: Final = "batches.jsonl"
PARTIES: Final = "parties.jsonl"
RATES: Final = "rates.jsonl"

Seen = Callable[[int], None]


def evidence(session: Session, arguments: argparse.Namespace) -> None:
    """Writes everything a third party needs to compute a certified window again."""
    target = Path(arguments.out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Misconfigured(f"--out {target}: is there already and not an empty directory")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: a directory under the name asked for is a finished bundle.
    scratch = Path(tempfile.mkdtemp(prefix=".evidence-", dir=target.parent))
    try:
        with open_snapshot(session.settings) as connection:
            facts = export_window(session, connection, arguments.date, scratch)
        scratch.chmod(0o755)
        scratch.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    content = {"directory": str(target), **facts}
    text = f"{target}: evidence of {arguments.date}, {facts['entry_count']:,} entries; check it with\n"
    text += f"tongdui-settle verify {target} --hub-keys FILE --settlement-key {facts['key_id']}=PUBLIC_KEY"
    session.show(content, lambda: text)


def export_window(
    session: Session, connection: Connection, window_date: Any, directory: Path
) -> dict[str, Any]:
    """Writes the bundle of a certified window into an empty directory. Raises NotThere."""
    stored = load.load_window(connection, window_date)
    certificate = load.load_certificate(connection, window_date)
    if stored is None or certificate is None:
        raise NotThere(f"{window_date}: not certified; run `run --date {window_date}` first")
    names = [*_write_certificates(connection, stored.window, certificate, directory)]
    names += _write_computed(connection, stored.window, directory)
    names += _write_journal(session, connection, stored.window, directory)
    facts = {
        "window_date": window_date.isoformat(),
        "entry_count": stored.window.entry_count,
        "certificate_sha256": certificate.document_sha256,
        "key_id": certificate.key_id,
    }
    write_manifest(directory, names, facts)
    return facts


def _write_certificates(
    connection: Connection, window: ClosedWindow, certificate: StoredCertificate, directory: Path
) -> Iterator[str]:
    write_document(directory, CERTIFICATE, certificate.document)
    yield CERTIFICATE
    before = load.load_window_before(connection, window.window_date)
    previous = load.load_certificate(connection, before.window.window_date) if before else None
    if before and previous:
        write_document(directory, PREVIOUS, previous.document)
        yield PREVIOUS
        computed = load.load_computed(connection, before.window.window_date)
        yield _write(directory, PREVIOUS_LINES, map(party_line_content, computed.lines))


def _write_computed(connection: Connection, window: ClosedWindow, directory: Path) -> Iterator[str]:
    computed = load.load_computed(connection, window.window_date)
    yield _write(directory, LINES, map(party_line_content, computed.lines))
    settled = statements(window.window_date, computed.lines)
    yield _write(directory, STATEMENTS, map(statement_content, settled))
    yield _write(directory, PARTIES, exports.read_parties(connection))
    yield _write(directory, RATES, exports.read_prices(connection, window))


def _write(directory: Path, name: str, records: Any) -> str:
    with RecordWriter(directory, name) as writer:
        writer.write(records)
    return name


def _write_journal(
    session: Session, connection: Connection, window: ClosedWindow, directory: Path
) -> list[str]:
    names = {table: f"{table}.jsonl" for table in COLUMNS}
    with (
        RecordWriter(directory, BATCHES) as batches,
        RecordWriter(directory, names["entries"]) as entries,
        RecordWriter(directory, names["legs"]) as legs,
        RecordWriter(directory, names["lines"]) as lines,
        progress(session, "exporting", window.entry_count) as seen,
    ):
        writers = {"entries": entries, "legs": legs, "lines": lines}
        for stretch in exports.stream_batches(connection, window):
            batches.write(stretch)
            first, last = stretch[0]["sequence"], stretch[-1]["sequence"]
            for table, writer in writers.items():
                writer.write(exports.stream_rows(connection, table, first, last))
            seen(sum(batch["entry_count"] for batch in stretch))
    return [BATCHES, *names.values()]


@contextmanager
def progress(session: Session, what: str, total: int) -> Iterator[Seen]:
    """A bar on standard error where a person looks at it; gives what is told of each step."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    errors = screen.make_console(stderr=True)
    with Progress(*columns, console=errors, disable=session.as_json or not errors.is_terminal) as bar:
        task = bar.add_task(what, total=total or 1)
        yield lambda count: bar.advance(task, count)
