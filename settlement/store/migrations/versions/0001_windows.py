"""Windows, their sums, statement lines, issuers' points and certificates."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE settlement.windows (
    window_date date CONSTRAINT windows_pkey PRIMARY KEY,
    state text NOT NULL CONSTRAINT windows_state CHECK (state IN ('CLOSED', 'COMPUTED', 'CERTIFIED')),
    first_sequence bigint NOT NULL,
    last_sequence bigint NOT NULL,
    last_hash bytea NOT NULL CONSTRAINT windows_hash CHECK (octet_length(last_hash) = 32),
    entry_count bigint NOT NULL CONSTRAINT windows_entries CHECK (entry_count >= 0),
    close_time timestamptz NOT NULL,
    CONSTRAINT windows_range CHECK (last_sequence >= first_sequence - 1)
);

-- The hub's signed answer to CloseWindow and the signed request it answers, byte for byte.
CREATE TABLE settlement.hub_receipts (
    window_date date CONSTRAINT hub_receipts_pkey PRIMARY KEY
        CONSTRAINT hub_receipts_window_date_fkey REFERENCES settlement.windows,
    path text NOT NULL,
    request bytea NOT NULL,
    request_metadata jsonb NOT NULL,
    response bytea NOT NULL,
    receipt_metadata jsonb NOT NULL
);

-- What each payer owes each payee by component: the bilateral matrix.
CREATE TABLE settlement.flows (
    window_date date NOT NULL CONSTRAINT flows_window_date_fkey REFERENCES settlement.windows,
    payer_id text COLLATE "C" NOT NULL,
    payer_component text COLLATE "C" NOT NULL,
    payee_id text COLLATE "C" NOT NULL,
    payee_component text COLLATE "C" NOT NULL,
    exact_micros numeric(38, 0) NOT NULL CONSTRAINT flows_positive CHECK (exact_micros > 0),
    line_count bigint NOT NULL CONSTRAINT flows_counted CHECK (line_count > 0),
    CONSTRAINT flows_pkey PRIMARY KEY (window_date, payer_id, payer_component, payee_id, payee_component),
    CONSTRAINT flows_two_parties CHECK (payer_id <> payee_id)
);

CREATE TABLE settlement.leg_sums (
    window_date date NOT NULL CONSTRAINT leg_sums_window_date_fkey REFERENCES settlement.windows,
    issuer_id text COLLATE "C" NOT NULL,
    from_account text COLLATE "C" NOT NULL,
    to_account text COLLATE "C" NOT NULL,
    funding_micros bigint NOT NULL,
    prefunded_micros bigint NOT NULL,
    points numeric(38, 0) NOT NULL CONSTRAINT leg_sums_positive CHECK (points > 0),
    leg_count bigint NOT NULL,
    CONSTRAINT leg_sums_pkey
        PRIMARY KEY (window_date, issuer_id, from_account, to_account, funding_micros, prefunded_micros)
);

CREATE TABLE settlement.entry_sums (
    window_date date NOT NULL CONSTRAINT entry_sums_window_date_fkey REFERENCES settlement.windows,
    entry_count bigint NOT NULL,
    first_sequence bigint NOT NULL,
    last_sequence bigint NOT NULL,
    CONSTRAINT entry_sums_pkey PRIMARY KEY (window_date)
);

-- Every line that ever moved has a row in every later window, so a window is computed from the one before
-- alone. A party's statement of a day is its rows of that day.
CREATE TABLE settlement.statement_lines (
    window_date date NOT NULL CONSTRAINT statement_lines_window_date_fkey REFERENCES settlement.windows,
    party_id text COLLATE "C" NOT NULL,
    component text COLLATE "C" NOT NULL,
    line_count bigint NOT NULL,
    exact_micros numeric(38, 0) NOT NULL,
    amount_minor numeric(38, 0) NOT NULL,
    exact_to_date_micros numeric(38, 0) NOT NULL,
    amount_to_date_minor numeric(38, 0) NOT NULL,
    CONSTRAINT statement_lines_pkey PRIMARY KEY (window_date, party_id, component)
);

-- To date, so that a window's proof starts from zero without reading the windows before it.
CREATE TABLE settlement.issuer_points (
    window_date date NOT NULL CONSTRAINT issuer_points_window_date_fkey REFERENCES settlement.windows,
    issuer_id text COLLATE "C" NOT NULL,
    issued numeric(38, 0) NOT NULL,
    moved_in numeric(38, 0) NOT NULL,
    open numeric(38, 0) NOT NULL,
    held numeric(38, 0) NOT NULL,
    burned numeric(38, 0) NOT NULL,
    expired numeric(38, 0) NOT NULL,
    clawed_back numeric(38, 0) NOT NULL,
    absorbed numeric(38, 0) NOT NULL,
    moved_out numeric(38, 0) NOT NULL,
    liability_micros numeric(38, 0) NOT NULL,
    escrow_micros numeric(38, 0) NOT NULL,
    CONSTRAINT issuer_points_pkey PRIMARY KEY (window_date, issuer_id)
);

CREATE TABLE settlement.certificates (
    window_date date CONSTRAINT certificates_pkey PRIMARY KEY
        CONSTRAINT certificates_window_date_fkey REFERENCES settlement.windows,
    document bytea NOT NULL,
    document_sha256 text NOT NULL
        CONSTRAINT certificates_sha256 CHECK (document_sha256 = encode(sha256(document), 'hex')),
    key_id text NOT NULL
);
"""

# What was settled is append-only by grant: settlement's role can't rewrite it, only move a window's state on.
GRANTS = """
DO $$ BEGIN
    CREATE ROLE tongdui_settlement NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- roles belong to the server, not the database
END $$;
GRANT tongdui_settlement TO CURRENT_USER;
GRANT USAGE ON SCHEMA settlement TO tongdui_settlement;
GRANT SELECT ON ALL TABLES IN SCHEMA settlement TO tongdui_settlement;
GRANT INSERT ON settlement.windows, settlement.hub_receipts, settlement.flows, settlement.leg_sums,
    settlement.entry_sums, settlement.statement_lines, settlement.issuer_points, settlement.certificates
    TO tongdui_settlement;
GRANT UPDATE (state) ON settlement.windows TO tongdui_settlement;
"""


def upgrade() -> None:
    """Creates everything."""
    op.execute(TABLES)
    op.execute(GRANTS)


def downgrade() -> None:
    """Removes everything but the schema that holds the version table, and the server-wide role."""
    op.execute(
        "DROP TABLE settlement.certificates, settlement.issuer_points, settlement.statement_lines,"
        " settlement.entry_sums, settlement.leg_sums, settlement.flows, settlement.hub_receipts,"
        " settlement.windows"
    )
