"""What partners decided over the wire: each request once, with the answer it got."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# The request's bytes and signature are the evidence that the partner asked for it; the answer's bytes are given again
# to a repeat.
TABLES = """
CREATE TABLE settlement.partner_requests (
    owner text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    path text NOT NULL,
    fingerprint bytea NOT NULL CONSTRAINT partner_requests_fingerprint CHECK (octet_length(fingerprint) = 32),
    request bytea NOT NULL,
    request_metadata jsonb NOT NULL,
    answer bytea NOT NULL,
    decided_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT partner_requests_pkey PRIMARY KEY (owner, request_id)
);
"""

GRANTS = "GRANT SELECT, INSERT ON settlement.partner_requests TO tongdui_settlement"


def upgrade() -> None:
    """Creates the table."""
    op.execute(TABLES)
    op.execute(GRANTS)


def downgrade() -> None:
    """Removes it."""
    op.execute("DROP TABLE settlement.partner_requests")
