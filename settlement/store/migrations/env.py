"""Runs migrations on the connection settlement hands over; there is no alembic.ini to keep in step."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="schema_version", version_table_schema="settlement")
with context.begin_transaction():
    context.run_migrations()
