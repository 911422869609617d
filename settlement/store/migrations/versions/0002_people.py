"""The audit log: what people and programs did, signed and hash-chained."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# `text` is what was signed, byte for byte; the columns before it say the same for whoever reads with SQL.
TABLES = """
-- One spelling for all spellings of a person's name, which are the hub's: printable ASCII.
CREATE FUNCTION settlement.folded(name text) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$ SELECT lower(btrim(regexp_replace(name, '\\s+', ' ', 'g'))) $$;

CREATE TABLE settlement.audit_log (
    audit_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_log_pkey PRIMARY KEY,
    act_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    person text NOT NULL CONSTRAINT audit_log_person CHECK (person <> ''),
    key_id text NOT NULL,
    role text NOT NULL CONSTRAINT audit_log_role CHECK (
        role IN ('operator', 'finance_maker', 'finance_checker', 'auditor', 'partner', 'settlement')),
    act text NOT NULL,
    item_kind text NOT NULL,
    item_id text NOT NULL,
    reason text NOT NULL,
    before jsonb,
    after jsonb,
    act_text bytea NOT NULL,
    signature bytea NOT NULL CONSTRAINT audit_log_signature CHECK (octet_length(signature) IN (0, 64)),
    previous_hash bytea NOT NULL CONSTRAINT audit_log_previous CHECK (octet_length(previous_hash) = 32),
    hash bytea NOT NULL CONSTRAINT audit_log_hash CHECK (octet_length(hash) = 32),
    -- Two rows can't follow the same one, so the chain can't fork whoever writes at the same time.
    CONSTRAINT audit_log_chain UNIQUE (previous_hash),
    -- Only the program acts without a person, and nobody else may act without signing.
    CONSTRAINT audit_log_program CHECK ((person = 'settlement') = (role = 'settlement')),
    CONSTRAINT audit_log_signed CHECK (role = 'settlement' OR octet_length(signature) = 64)
);
CREATE INDEX audit_log_item ON settlement.audit_log (item_kind, item_id);
CREATE INDEX audit_log_act_person ON settlement.audit_log (person, audit_id);
CREATE INDEX audit_log_act_time ON settlement.audit_log (act_time);
"""

GRANTS = """
GRANT SELECT, INSERT ON settlement.audit_log TO tongdui_settlement;
"""


def upgrade() -> None:
    """Creates everything."""
    op.execute(TABLES)
    op.execute(GRANTS)


def downgrade() -> None:
    """Removes everything."""
    op.execute("DROP TABLE settlement.audit_log")
    op.execute("DROP FUNCTION settlement.folded")
