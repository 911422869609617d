"""What hashing a window's journal again gave: `tongdui-settle audit-journal`."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Every attempt has its row, also one that found a fault; the newest counts. It speaks for one watermark and, as
# sums belong to a run, for one run.
TABLES = """
CREATE TABLE settlement.journal_audits (
    audit_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT journal_audits_pkey PRIMARY KEY,
    window_date date NOT NULL CONSTRAINT journal_audits_window_date_fkey REFERENCES settlement.windows,
    run_number integer NOT NULL,
    audit_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_hash bytea NOT NULL CONSTRAINT journal_audits_hash CHECK (octet_length(last_hash) = 32),
    holds boolean NOT NULL,
    fault text NOT NULL,
    bad_batch bigint NOT NULL,
    batch_count bigint NOT NULL,
    entry_count bigint NOT NULL,
    leg_count bigint NOT NULL,
    line_count bigint NOT NULL,
    CONSTRAINT journal_audits_fault CHECK (holds = (fault = ''))
);
CREATE INDEX journal_audits_window ON settlement.journal_audits (window_date, audit_id);
"""

GRANTS = "GRANT SELECT, INSERT ON settlement.journal_audits TO tongdui_settlement"


def upgrade() -> None:
    """Creates the table."""
    op.execute(TABLES)
    op.execute(GRANTS)


def downgrade() -> None:
    """Removes it."""
    op.execute("DROP TABLE settlement.journal_audits")
