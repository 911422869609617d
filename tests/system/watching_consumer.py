"""A consumer of the event stream as a partner would write it: entries and cursor in one transaction of its database.

    python -m tests.system.watching_consumer DATABASE ADDRESS AUDIENCE KEY_FILE HUB_KEYS_FILE

It never ends by itself. An entry that comes twice violates the table's key, and one that comes too late its order is
found by whoever reads the table: rows are numbered as they came.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import aclosing

from merchant_adapter import Cursor, Hub

LOCK_SECONDS = 60.0
"""Who looks into the table while this process works may take a while."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY AUTOINCREMENT, entry_id TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS cursor (
    one INTEGER PRIMARY KEY CHECK (one = 1), batch_sequence INTEGER NOT NULL, entry_index INTEGER NOT NULL);
"""


async def consume(database: str, address: str, audience: str, key: str, hub_keys: str) -> None:
    """Keeps what comes."""
    connection = sqlite3.connect(database, LOCK_SECONDS, isolation_level=None)
    connection.executescript(SCHEMA)
    row = connection.execute("SELECT batch_sequence, entry_index FROM cursor").fetchone()
    after = None if row is None else Cursor(*row)
    async with (
        Hub.connect(address, audience, key=key, hub_keys=hub_keys) as hub,
        aclosing(hub.watch_entries(after=after)) as pages,
    ):
        async for page in pages:
            connection.execute("BEGIN IMMEDIATE")
            for entry in page.entries:
                connection.execute("INSERT INTO entries (entry_id) VALUES (?)", (entry.entry_id,))
            cursor = page.cursor
            connection.execute(
                "INSERT OR REPLACE INTO cursor VALUES (1, ?, ?)", (cursor.batch_sequence, cursor.entry_index)
            )
            connection.execute("COMMIT")


def main(arguments: Sequence[str]) -> None:
    """Runs until it is killed."""
    asyncio.run(consume(*arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
