"""Payments of exported windows, what became of each, and the hub's receipts for windows that are settled."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
-- One transfer of money that a window asks for: COLLECT from who owes, PAY to who is owed.
CREATE TABLE settlement.payments (
    payment_id text COLLATE "C" CONSTRAINT payments_pkey PRIMARY KEY,
    window_date date NOT NULL,
    run_number integer NOT NULL,
    party_id text COLLATE "C" NOT NULL,
    counterparty_id text COLLATE "C",
    direction text NOT NULL CONSTRAINT payments_direction CHECK (direction IN ('PAY', 'COLLECT')),
    amount_minor numeric(38, 0) NOT NULL CONSTRAINT payments_amount CHECK (amount_minor > 0),
    exported_by text NOT NULL,
    approved_by text NOT NULL,
    state text NOT NULL DEFAULT 'DUE'
        CONSTRAINT payments_state CHECK (state IN ('DUE', 'SENT', 'RECEIVED', 'REJECTED', 'DEFAULTED')),
    attempt integer NOT NULL DEFAULT 1 CONSTRAINT payments_attempt CHECK (attempt >= 1),
    moved_minor numeric(38, 0) NOT NULL DEFAULT 0 CONSTRAINT payments_moved CHECK (moved_minor >= 0),
    borne_by text COLLATE "C",
    default_proposed_by text,
    default_approved_by text,
    CONSTRAINT payments_window_date_fkey FOREIGN KEY (window_date, run_number)
        REFERENCES settlement.runs (window_date, run_number),
    CONSTRAINT payments_two_people CHECK (settlement.folded(exported_by) <> settlement.folded(approved_by)),
    CONSTRAINT payments_default CHECK ((state = 'DEFAULTED') = (borne_by IS NOT NULL)
        AND (state = 'DEFAULTED') = (default_proposed_by IS NOT NULL)
        AND (state = 'DEFAULTED') = (default_approved_by IS NOT NULL)),
    CONSTRAINT payments_default_two_people
        CHECK (settlement.folded(default_proposed_by) <> settlement.folded(default_approved_by)),
    CONSTRAINT payments_received CHECK (state <> 'RECEIVED' OR moved_minor >= amount_minor)
);
CREATE INDEX payments_window ON settlement.payments (window_date);

CREATE TABLE settlement.payment_events (
    event_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT payment_events_pkey PRIMARY KEY,
    payment_id text COLLATE "C" NOT NULL
        CONSTRAINT payment_events_payment_id_fkey REFERENCES settlement.payments,
    event_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempt integer NOT NULL,
    state_before text NOT NULL,
    state_after text NOT NULL,
    reported text NOT NULL,
    amount_minor numeric(38, 0) NOT NULL,
    reference text NOT NULL,
    person text NOT NULL,
    reason text NOT NULL DEFAULT ''
);
-- One report of the bank counts once, however often its file is imported.
CREATE UNIQUE INDEX payment_events_reference ON settlement.payment_events (payment_id, reported, reference);

-- The hub's signed answer to SettleWindow and the signed request it answers, byte for byte.
CREATE TABLE settlement.settle_receipts (
    window_date date CONSTRAINT settle_receipts_pkey PRIMARY KEY
        CONSTRAINT settle_receipts_window_date_fkey REFERENCES settlement.windows,
    path text NOT NULL,
    request bytea NOT NULL,
    request_metadata jsonb NOT NULL,
    response bytea NOT NULL,
    receipt_metadata jsonb NOT NULL
);
"""

GRANTS = """
GRANT SELECT, INSERT ON settlement.payments, settlement.payment_events, settlement.settle_receipts
    TO tongdui_settlement;
GRANT UPDATE (state, attempt, moved_minor, borne_by, default_proposed_by, default_approved_by)
    ON settlement.payments TO tongdui_settlement;
"""


def upgrade() -> None:
    """Creates everything."""
    op.execute(TABLES)
    op.execute(GRANTS)


def downgrade() -> None:
    """Removes everything."""
    op.execute("DROP TABLE settlement.settle_receipts, settlement.payment_events, settlement.payments")
