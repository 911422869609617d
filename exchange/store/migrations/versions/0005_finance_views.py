"""A view for finance: what members owe issuers."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

VIEWS = """
CREATE VIEW exchange.deficits_v1 AS
    SELECT partners.code AS issuer_id, exchange.member_text(deficits.member_id) AS member_id,
        deficits.raised_time, deficits.funding_micros,
        deficits.raised_points + deficits.moved_in_points - deficits.absorbed_points - deficits.forgiven_points
            - deficits.moved_out_points AS outstanding_points
    FROM exchange.deficits
    JOIN exchange.partners ON partners.partner_id = deficits.issuer_id
    WHERE deficits.raised_points + deficits.moved_in_points
        > deficits.absorbed_points + deficits.forgiven_points + deficits.moved_out_points;
GRANT SELECT ON exchange.deficits_v1 TO tongdui_settlement;
"""


def upgrade() -> None:
    """Adds the view."""
    op.execute(VIEWS)


def downgrade() -> None:
    """Takes it away again."""
    op.execute("DROP VIEW exchange.deficits_v1")
