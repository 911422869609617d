"""Settled windows: when all payments of a window were final, and by which certificate."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WINDOWS = """
ALTER TABLE exchange.windows
    ADD settled_time timestamptz,
    ADD certificate_sha256 bytea CONSTRAINT windows_certificate CHECK (octet_length(certificate_sha256) = 32),
    ADD CONSTRAINT windows_settled CHECK ((settled_time IS NULL) = (certificate_sha256 IS NULL));
GRANT UPDATE (settled_time, certificate_sha256) ON exchange.windows TO tongdui_hub;

CREATE OR REPLACE VIEW exchange.windows_v1 AS
    SELECT window_date, first_sequence, last_sequence, last_hash, entry_count, close_time, settled_time
    FROM exchange.windows;
"""

DOWN = """
DROP VIEW exchange.windows_v1;
CREATE VIEW exchange.windows_v1 AS
    SELECT window_date, first_sequence, last_sequence, last_hash, entry_count, close_time FROM exchange.windows;
GRANT SELECT ON exchange.windows_v1 TO tongdui_settlement;
ALTER TABLE exchange.windows DROP settled_time, DROP certificate_sha256;
"""


def upgrade() -> None:
    """Adds what settlement tells of a window."""
    op.execute(WINDOWS)


def downgrade() -> None:
    """Takes it away again."""
    op.execute(DOWN)
