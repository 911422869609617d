"""The breaks desk: what happened to each break, resolutions by two people, disputes between partners."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
-- What happened to a break, in order. Nothing here is ever changed.
CREATE TABLE settlement.break_events (
    event_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT break_events_pkey PRIMARY KEY,
    break_id bigint NOT NULL CONSTRAINT break_events_break_id_fkey REFERENCES settlement.breaks,
    event_time timestamptz NOT NULL,
    person text NOT NULL,
    key_id text NOT NULL,
    act text NOT NULL,
    state_from text NOT NULL,
    state_to text NOT NULL,
    text text NOT NULL,
    evidence jsonb
);
CREATE INDEX break_events_break ON settlement.break_events (break_id, event_id);

-- Proposed by one person and approved by another.
-- A proposal lapses when its break clears itself meanwhile. `posting` is what an adjustment asks the hub to post.
CREATE TABLE settlement.resolutions (
    break_id bigint NOT NULL CONSTRAINT resolutions_break_id_fkey REFERENCES settlement.breaks,
    number integer NOT NULL CONSTRAINT resolutions_number CHECK (number > 0),
    kind text NOT NULL CONSTRAINT resolutions_kind
        CHECK (kind IN ('ADJUSTED', 'WRITTEN_OFF', 'PARTNER_FIXED', 'NO_ACTION')),
    state text NOT NULL CONSTRAINT resolutions_state CHECK (state IN ('PROPOSED', 'APPROVED', 'REJECTED', 'LAPSED')),
    reason text NOT NULL CONSTRAINT resolutions_reason CHECK (reason <> ''),
    posting jsonb,
    adjustment_id bigint,
    entry_id text,
    proposed_by text NOT NULL,
    propose_time timestamptz NOT NULL,
    decided_by text,
    decide_time timestamptz,
    CONSTRAINT resolutions_pkey PRIMARY KEY (break_id, number),
    CONSTRAINT resolutions_two_people CHECK (settlement.folded(proposed_by) <> settlement.folded(decided_by)),
    CONSTRAINT resolutions_decided
        CHECK ((state IN ('APPROVED', 'REJECTED')) = (decided_by IS NOT NULL)
            AND (decided_by IS NULL) = (decide_time IS NULL)),
    CONSTRAINT resolutions_adjusted
        CHECK ((kind = 'ADJUSTED') = (posting IS NOT NULL) AND (kind = 'ADJUSTED') = (adjustment_id IS NOT NULL)),
    CONSTRAINT resolutions_posted
        CHECK ((entry_id IS NOT NULL) = (kind = 'ADJUSTED' AND state = 'APPROVED'))
);
CREATE UNIQUE INDEX resolutions_proposed ON settlement.resolutions (break_id) WHERE state = 'PROPOSED';

CREATE TABLE settlement.disputes (
    dispute_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT disputes_pkey PRIMARY KEY,
    break_id bigint NOT NULL CONSTRAINT disputes_break_id_fkey REFERENCES settlement.breaks,
    opened_by text COLLATE "C" NOT NULL,
    against text COLLATE "C" NOT NULL,
    claim text NOT NULL CONSTRAINT disputes_claim CHECK (claim <> ''),
    opened_person text NOT NULL,
    open_time timestamptz NOT NULL,
    deadline timestamptz NOT NULL,
    state text NOT NULL CONSTRAINT disputes_state CHECK (state IN ('OPEN', 'ANSWERED', 'DECIDED', 'EXPIRED')),
    answer text,
    answered_person text,
    answer_time timestamptz,
    in_favour_of text,
    decision text,
    decided_by text,
    decide_time timestamptz,
    CONSTRAINT disputes_two_partners CHECK (opened_by <> against),
    CONSTRAINT disputes_two_people CHECK (settlement.folded(opened_person) <> settlement.folded(decided_by)
        AND settlement.folded(answered_person) <> settlement.folded(decided_by)),
    CONSTRAINT disputes_favour CHECK (in_favour_of IN (opened_by, against)),
    CONSTRAINT disputes_decided CHECK (
        (state = 'DECIDED') = (decided_by IS NOT NULL)
        -- Where the break cleared itself the program closes its dispute, for neither side.
        AND (in_favour_of IS NULL) = (decided_by IS NULL OR decided_by = 'settlement'))
);
CREATE UNIQUE INDEX disputes_undecided ON settlement.disputes (break_id) WHERE state <> 'DECIDED';

-- Files that belong to a break, byte for byte, once each.
CREATE TABLE settlement.break_evidence (
    break_id bigint NOT NULL CONSTRAINT break_evidence_break_id_fkey REFERENCES settlement.breaks,
    sha256 text NOT NULL CONSTRAINT break_evidence_sha256 CHECK (sha256 = encode(sha256(content), 'hex')),
    file_name text NOT NULL,
    content bytea NOT NULL CONSTRAINT break_evidence_size CHECK (octet_length(content) <= 10485760),
    added_by text NOT NULL,
    add_time timestamptz NOT NULL,
    CONSTRAINT break_evidence_pkey PRIMARY KEY (break_id, sha256)
);
"""

GRANTS = """
GRANT SELECT, INSERT ON settlement.break_events, settlement.resolutions, settlement.disputes,
    settlement.break_evidence TO tongdui_settlement;
GRANT UPDATE (state, entry_id, decided_by, decide_time) ON settlement.resolutions TO tongdui_settlement;
GRANT UPDATE (state, answer, answered_person, answer_time, in_favour_of, decision, decided_by, decide_time)
    ON settlement.disputes TO tongdui_settlement;
"""


def upgrade() -> None:
    """Creates everything."""
    op.execute(TABLES)
    op.execute(GRANTS)


def downgrade() -> None:
    """Removes everything."""
    op.execute(
        "DROP TABLE settlement.break_evidence, settlement.disputes, settlement.resolutions,"
        " settlement.break_events"
    )
