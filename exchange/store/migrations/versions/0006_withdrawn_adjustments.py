"""Corrections can be withdrawn, and finance sees by which request each was proposed and what became of it."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# The request id is the first field of a proposal, and shorter than 128 bytes: tag 10, a byte of length, the text.
TABLES = """
ALTER TABLE exchange.adjustments
    ADD request_id text COLLATE "C" NOT NULL DEFAULT '',
    ADD withdrawn_by text,
    ADD withdraw_reason text,
    ADD withdraw_time timestamptz,
    ADD CONSTRAINT adjustments_withdrawn CHECK (num_nulls(withdrawn_by, withdraw_reason, withdraw_time) IN (0, 3));
UPDATE exchange.adjustments SET request_id = convert_from(substr(proposal, 3, get_byte(proposal, 1)), 'UTF8')
    WHERE get_byte(proposal, 0) = 10;
ALTER TABLE exchange.adjustments ALTER request_id DROP DEFAULT;
CREATE INDEX adjustments_request ON exchange.adjustments (request_id);
GRANT UPDATE (withdrawn_by, withdraw_reason, withdraw_time) ON exchange.adjustments TO tongdui_hub;
"""

VIEW = """
CREATE VIEW exchange.adjustments_v1 AS
    SELECT adjustments.adjustment_id, adjustments.request_id,
        CASE WHEN adjustments.withdraw_time IS NOT NULL THEN 'withdrawn'
            WHEN EXISTS (
                SELECT FROM exchange.requests
                WHERE requests.partner_id = -2  -- the operator
                    AND requests.kind = 'adjust' AND requests.part = 0 AND requests.accepted
                    AND requests.reference = 'adjustment-' || adjustments.adjustment_id AND requests.reference <> ''
            ) THEN 'posted' ELSE 'proposed' END AS state
    FROM exchange.adjustments;
GRANT SELECT ON exchange.adjustments_v1 TO tongdui_settlement;
"""


def upgrade() -> None:
    """Adds the withdrawal and the view."""
    op.execute(TABLES)
    op.execute(VIEW)


def downgrade() -> None:
    """Takes them away again; what was withdrawn could be approved then."""
    op.execute("DROP VIEW exchange.adjustments_v1")
    op.execute(
        "ALTER TABLE exchange.adjustments DROP request_id, DROP withdrawn_by, DROP withdraw_reason, DROP withdraw_time"
    )
