"""Runs: attempts at a window, what each of them computed, who approved it, and the contracts it was netted by."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WINDOWS = """
ALTER TABLE settlement.windows
    DROP CONSTRAINT windows_state,
    ADD CONSTRAINT windows_state
        CHECK (state IN ('CLOSED', 'COMPUTED', 'CERTIFIED', 'APPROVED', 'EXPORTED', 'SETTLED')),
    ADD run_number integer NOT NULL DEFAULT 1 CONSTRAINT windows_run_number CHECK (run_number >= 1);

-- One attempt at a window, from net on. What an aborted one computed stays, under its number.
CREATE TABLE settlement.runs (
    window_date date NOT NULL CONSTRAINT runs_window_date_fkey REFERENCES settlement.windows,
    run_number integer NOT NULL,
    state text NOT NULL CONSTRAINT runs_state CHECK (state IN ('RUNNING', 'CERTIFIED', 'ABORTED')),
    certified_by text,
    aborted_by text,
    reason text NOT NULL DEFAULT '',
    begin_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    end_time timestamptz,
    CONSTRAINT runs_pkey PRIMARY KEY (window_date, run_number),
    CONSTRAINT runs_ended CHECK ((state = 'RUNNING') = (end_time IS NULL)),
    CONSTRAINT runs_aborted CHECK ((state = 'ABORTED') = (aborted_by IS NOT NULL AND reason <> '')),
    CONSTRAINT runs_certified CHECK (state <> 'CERTIFIED' OR certified_by IS NOT NULL)
);
INSERT INTO settlement.runs (window_date, run_number, state, certified_by, end_time)
    SELECT window_date, 1, CASE state WHEN 'CERTIFIED' THEN 'CERTIFIED' ELSE 'RUNNING' END,
        CASE state WHEN 'CERTIFIED' THEN 'settlement' END, CASE state WHEN 'CERTIFIED' THEN clock_timestamp() END
    FROM settlement.windows WHERE state <> 'CLOSED';
"""

KEYS = {
    "flows": "payer_id, payer_component, payee_id, payee_component",
    "leg_sums": "issuer_id, from_account, to_account, funding_micros, prefunded_micros",
    "entry_sums": "",
    "statement_lines": "party_id, component",
    "issuer_points": "issuer_id",
    "certificates": "",
}
"""The tables of what a run computed, and their keys within it."""

APPROVALS = """
CREATE TABLE settlement.approvals (
    window_date date NOT NULL,
    run_number integer NOT NULL,
    certified_by text NOT NULL,
    approved_by text NOT NULL,
    key_id text NOT NULL,
    certificate_sha256 text NOT NULL,
    approve_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT approvals_pkey PRIMARY KEY (window_date, run_number),
    CONSTRAINT approvals_window_date_fkey FOREIGN KEY (window_date, run_number)
        REFERENCES settlement.runs (window_date, run_number),
    CONSTRAINT approvals_two_people CHECK (settlement.folded(certified_by) <> settlement.folded(approved_by))
);

-- How a partner settles where it is not the multilateral net. Days are business days, both included.
CREATE TABLE settlement.contracts (
    contract_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT contracts_pkey PRIMARY KEY,
    partner_id text COLLATE "C" NOT NULL,
    counterparty_id text COLLATE "C",
    kind text NOT NULL CONSTRAINT contracts_kind CHECK (kind IN ('GROSS', 'BILATERAL')),
    valid_from date NOT NULL,
    valid_until date,
    set_by text NOT NULL,
    set_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT contracts_parties CHECK ((kind = 'BILATERAL') = (counterparty_id IS NOT NULL)),
    CONSTRAINT contracts_pair CHECK (partner_id < counterparty_id),
    CONSTRAINT contracts_days CHECK (valid_until >= valid_from - 1)
);
"""

GRANTS = """
GRANT SELECT, INSERT ON settlement.runs, settlement.approvals, settlement.contracts TO tongdui_settlement;
GRANT UPDATE (run_number) ON settlement.windows TO tongdui_settlement;
GRANT UPDATE (state, certified_by, aborted_by, reason, end_time) ON settlement.runs TO tongdui_settlement;
GRANT UPDATE (valid_until) ON settlement.contracts TO tongdui_settlement;
"""


def upgrade() -> None:
    """Puts what was computed under the number of its run."""
    op.execute(WINDOWS)
    for table, key in KEYS.items():
        op.execute(_by_run(table, f"window_date, run_number, {key}" if key else "window_date, run_number"))
    op.execute(APPROVALS)
    op.execute(GRANTS)


def _by_run(table: str, key: str) -> str:
    return f"""
    ALTER TABLE settlement.{table}
        ADD run_number integer NOT NULL DEFAULT 1,
        DROP CONSTRAINT {table}_window_date_fkey,
        DROP CONSTRAINT {table}_pkey,
        ADD CONSTRAINT {table}_pkey PRIMARY KEY ({key}),
        ADD CONSTRAINT {table}_window_date_fkey FOREIGN KEY (window_date, run_number)
            REFERENCES settlement.runs (window_date, run_number);
    ALTER TABLE settlement.{table} ALTER run_number DROP DEFAULT;
    """


def downgrade() -> None:
    """Takes runs away again, where no window has more than one and none is approved."""
    op.execute("DROP TABLE settlement.contracts, settlement.approvals")
    for table, key in KEYS.items():
        op.execute(
            f"ALTER TABLE settlement.{table} DROP CONSTRAINT {table}_window_date_fkey,"
            f" DROP CONSTRAINT {table}_pkey, DROP run_number,"
            f" ADD CONSTRAINT {table}_pkey PRIMARY KEY ({f'window_date, {key}' if key else 'window_date'}),"
            f" ADD CONSTRAINT {table}_window_date_fkey FOREIGN KEY (window_date) REFERENCES settlement.windows"
        )
    op.execute("DROP TABLE settlement.runs")
    op.execute(
        "ALTER TABLE settlement.windows DROP run_number, DROP CONSTRAINT windows_state, ADD CONSTRAINT"
        " windows_state CHECK (state IN ('CLOSED', 'COMPUTED', 'CERTIFIED'))"
    )
