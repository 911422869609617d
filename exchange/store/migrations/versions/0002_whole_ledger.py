"""The whole ledger: holds, pending earns, deficits, moves between lots, pay codes, and what commands follow.

What a batch's digest covers grows by four columns of `entries`, so a journal written before can't be hashed again
after it (docs/protocol.md, The journal chain); nothing was released before.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TERMS = """
ALTER TABLE exchange.ledger
    ADD claw_back text NOT NULL DEFAULT 'deficit' CONSTRAINT ledger_claw_back CHECK (claw_back IN ('deficit', 'clamp')),
    ADD refund text NOT NULL DEFAULT 'lot_exact' CONSTRAINT ledger_refund CHECK (refund IN ('lot_exact', 'pro_rata')),
    ADD grace_days integer NOT NULL DEFAULT 0 CONSTRAINT ledger_grace CHECK (grace_days BETWEEN 0 AND 3650),
    ADD pending_days integer NOT NULL DEFAULT 180 CONSTRAINT ledger_pending CHECK (pending_days BETWEEN 1 AND 3650),
    ADD member_daily_burns bigint NOT NULL DEFAULT 0,
    ADD member_daily_points bigint NOT NULL DEFAULT 0,
    ADD terminal_daily_burns bigint NOT NULL DEFAULT 0,
    ADD terminal_daily_points bigint NOT NULL DEFAULT 0,
    ADD transfer_limit_points bigint NOT NULL DEFAULT 0,
    ADD transfer_daily_points bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT ledger_limits CHECK (least(member_daily_burns, member_daily_points, terminal_daily_burns,
        terminal_daily_points, transfer_limit_points, transfer_daily_points) >= 0);
"""

ACCOUNTS = """
-- 9999-12-31 23:59:59.999999 is no deadline. `survivor_id` 0 is none; the entry named is that of the merge.
ALTER TABLE exchange.wallets
    DROP CONSTRAINT wallets_state,
    ADD CONSTRAINT wallets_state CHECK (state IN ('active', 'frozen', 'closed', 'merged')),
    ADD survivor_id bigint NOT NULL DEFAULT 0,
    ADD merged_batch_id bigint NOT NULL DEFAULT 0,
    ADD merged_entry_index integer NOT NULL DEFAULT 0,
    ADD deficit_sequence integer NOT NULL DEFAULT 0,
    ADD next_cancel_date date NOT NULL DEFAULT '9999-12-31',
    ADD next_deadline timestamptz NOT NULL DEFAULT '9999-12-31 23:59:59.999999+00',
    ADD spent_date date NOT NULL DEFAULT '0001-01-01',
    ADD spent_count bigint NOT NULL DEFAULT 0,
    ADD spent_points bigint NOT NULL DEFAULT 0,
    ADD transferred_points bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT wallets_survivor CHECK ((state = 'merged') = (survivor_id <> 0)),
    ADD CONSTRAINT wallets_deficit_or_points CHECK (deficit_points = 0 OR open_points = 0);
-- Partial, so that the wallets of nearly all members are in neither.
CREATE INDEX wallets_next_cancel ON exchange.wallets (next_cancel_date) WHERE next_cancel_date < '9999-12-31';
CREATE INDEX wallets_next_deadline ON exchange.wallets (next_deadline)
    WHERE next_deadline < '9999-12-31 23:59:59.999999+00';
CREATE INDEX wallets_survivor ON exchange.wallets (survivor_id) WHERE survivor_id <> 0;

-- Two counters that are no accounts: what of moved out left by transfer, and the deficits that were raised.
ALTER TABLE exchange.lots
    ADD transferred_points bigint NOT NULL DEFAULT 0,
    ADD deficit_raised_points bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT lots_counters CHECK (
        transferred_points BETWEEN 0 AND moved_out_points AND deficit_raised_points >= 0);

-- Open authorisations only: a row goes when the hold is captured, voided or lapsed. The journal remembers it.
CREATE TABLE exchange.holds (
    partner_id integer NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    member_id bigint NOT NULL,
    batch_id bigint NOT NULL,
    entry_index integer NOT NULL,
    kind text NOT NULL CONSTRAINT holds_kind CHECK (kind IN ('burn', 'exchange_out')),
    points bigint NOT NULL CONSTRAINT holds_points CHECK (points > 0),
    rate_version integer NOT NULL,
    authorised_time timestamptz NOT NULL,
    deadline timestamptz NOT NULL,
    CONSTRAINT holds_pkey PRIMARY KEY (partner_id, request_id)
);
CREATE INDEX holds_member ON exchange.holds (member_id);

-- Earns that are not owed yet: a row goes when the earn is confirmed, cancelled, or clawed back to nothing.
CREATE TABLE exchange.pending_earns (
    partner_id integer NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    member_id bigint NOT NULL,
    batch_id bigint NOT NULL,
    entry_index integer NOT NULL,
    points bigint NOT NULL CONSTRAINT pending_earns_points CHECK (points > 0),
    due_date date NOT NULL,
    expiry_date date,
    CONSTRAINT pending_earns_pkey PRIMARY KEY (partner_id, request_id)
);
CREATE INDEX pending_earns_member ON exchange.pending_earns (member_id);

-- What a member owes an issuer. `moved_from_*` name the deficit that a merge moved here; 0 for none.
CREATE TABLE exchange.deficits (
    member_id bigint NOT NULL,
    deficit_sequence integer NOT NULL,
    issuer_id integer NOT NULL,
    funding_micros bigint NOT NULL CONSTRAINT deficits_funding CHECK (funding_micros >= 0),
    raised_time timestamptz NOT NULL,
    raised_points bigint NOT NULL,
    moved_in_points bigint NOT NULL,
    absorbed_points bigint NOT NULL,
    forgiven_points bigint NOT NULL,
    moved_out_points bigint NOT NULL,
    moved_from_member_id bigint NOT NULL DEFAULT 0,
    moved_from_sequence integer NOT NULL DEFAULT 0,
    CONSTRAINT deficits_pkey PRIMARY KEY (member_id, deficit_sequence),
    CONSTRAINT deficits_conserved CHECK (
        raised_points + moved_in_points >= absorbed_points + forgiven_points + moved_out_points),
    CONSTRAINT deficits_not_negative CHECK (
        least(raised_points, moved_in_points, absorbed_points, forgiven_points, moved_out_points) >= 0)
);

-- Points that went from one row to another, by merge, unmerge or grace: what a claw back follows.
CREATE TABLE exchange.lot_moves (
    move_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT lot_moves_pkey PRIMARY KEY,
    from_member_id bigint NOT NULL,
    from_lot_sequence integer NOT NULL,
    to_member_id bigint NOT NULL,
    to_lot_sequence integer NOT NULL,
    batch_id bigint NOT NULL,
    entry_index integer NOT NULL,
    why text NOT NULL CONSTRAINT lot_moves_why CHECK (why IN ('grace', 'merge', 'unmerge')),
    points bigint NOT NULL CONSTRAINT lot_moves_points CHECK (points > 0)
);
CREATE INDEX lot_moves_source ON exchange.lot_moves (from_member_id, from_lot_sequence);
CREATE INDEX lot_moves_merge ON exchange.lot_moves (batch_id, entry_index);

-- What a member may earn once, and did. Only added to.
CREATE TABLE exchange.marks (
    member_id bigint NOT NULL,
    partner_id integer NOT NULL,
    once_rule text COLLATE "C" NOT NULL,
    CONSTRAINT marks_pkey PRIMARY KEY (member_id, partner_id, once_rule)
);

-- Quotes that were used up.
CREATE TABLE exchange.quotes (
    quote_id text COLLATE "C" CONSTRAINT quotes_pkey PRIMARY KEY,
    batch_id bigint NOT NULL,
    entry_index integer NOT NULL
);

-- SHA-256 of the 20 digits. `partner_id` 0 is any partner.
CREATE TABLE exchange.pay_codes (
    digest bytea CONSTRAINT pay_codes_pkey PRIMARY KEY,
    member_id bigint NOT NULL,
    partner_id integer NOT NULL,
    max_points bigint NOT NULL CONSTRAINT pay_codes_points CHECK (max_points > 0),
    issue_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    used boolean NOT NULL DEFAULT false
);
CREATE INDEX pay_codes_expire ON exchange.pay_codes (expire_time);

-- Corrections as they were proposed; one is posted when the operator has an accepted `adjust` of its reference.
CREATE TABLE exchange.adjustments (
    adjustment_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT adjustments_pkey PRIMARY KEY,
    proposal bytea NOT NULL,
    proposed_by text NOT NULL,
    propose_time timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE exchange.terminals (
    partner_id integer NOT NULL,
    store_id text COLLATE "C" NOT NULL,
    terminal_id text COLLATE "C" NOT NULL,
    wrong_tries integer NOT NULL,
    locked boolean NOT NULL,
    spent_date date NOT NULL,
    spent_count bigint NOT NULL,
    spent_points bigint NOT NULL,
    CONSTRAINT terminals_pkey PRIMARY KEY (partner_id, store_id, terminal_id)
) WITH (fillfactor = 70);
"""

JOURNAL = """
-- `original_*` name the entry that this one follows; batch 0 is none.
ALTER TABLE exchange.entries
    DROP CONSTRAINT entries_points,
    ADD CONSTRAINT entries_points CHECK (points >= 0),
    DROP CONSTRAINT entries_kind,
    ADD CONSTRAINT entries_kind CHECK (kind IN ('earn', 'pending_earn', 'confirm_earn', 'cancel_earn', 'claw_back_earn',
        'authorize_burn', 'extend_hold', 'capture_burn', 'void_burn', 'burn', 'refund_burn', 'exchange_in',
        'exchange_out', 'confirm_exchange_out', 'refuse_exchange_out', 'transfer', 'adjust_earn',
        'adjust_claw_back_earn', 'adjust_burn', 'adjust_refund_burn', 'adjust_money', 'freeze', 'unfreeze', 'close',
        'merge', 'unmerge', 'expire', 'lapse')),
    ADD spend_minor bigint NOT NULL DEFAULT 0,
    ADD native_points bigint NOT NULL DEFAULT 0,
    ADD original_batch_id bigint NOT NULL DEFAULT 0,
    ADD original_entry_index integer NOT NULL DEFAULT 0;
CREATE INDEX entries_original ON exchange.entries (original_batch_id, original_entry_index)
    WHERE original_batch_id <> 0;

-- A leg's member is its lot's, which in an entry of two members is not always the entry's.
ALTER TABLE exchange.legs
    DROP CONSTRAINT legs_from,
    ADD CONSTRAINT legs_from CHECK (from_account IN ('issued', 'moved_in', 'open', 'held', 'burned'));

-- Members that an entry of another touched: the receiver of a transfer, the survivor of a merge.
CREATE TABLE exchange.other_members (
    member_id bigint NOT NULL,
    batch_id bigint NOT NULL,
    entry_index integer NOT NULL,
    CONSTRAINT other_members_pkey PRIMARY KEY (member_id, batch_id, entry_index)
);

ALTER TABLE exchange.lines
    DROP CONSTRAINT lines_components,
    ADD CONSTRAINT lines_components CHECK (ARRAY[payer_component, payee_component] <@ ARRAY[
        'ISSUE_FUNDING', 'ISSUE_FEE', 'EXCHANGE_FEE', 'BURN_FUNDING', 'BURN_REIMBURSE', 'SPREAD', 'REIMBURSE_REVERSAL',
        'SPREAD_REVERSAL', 'FUNDING_REVERSAL', 'CLAWBACK_FUNDING', 'DEFICIT_FUNDING', 'DEFICIT_RECOVERY',
        'RATE_VARIANCE', 'BREAKAGE_SHARE', 'ADJUSTMENT']);
"""

RATE_CARDS = """
-- Times are of the ledger clock.
ALTER TABLE exchange.rate_cards
    DROP CONSTRAINT rate_cards_state,
    ADD CONSTRAINT rate_cards_state CHECK (state IN ('proposed', 'approved', 'withdrawn')),
    ADD CONSTRAINT rate_cards_spread CHECK (
        exchange_spread_numerator >= 0 AND exchange_spread_numerator < exchange_spread_denominator),
    ADD propose_time timestamptz,
    ADD approve_time timestamptz,
    ADD withdraw_time timestamptz,
    ADD withdrawn_by text;
"""

VIEWS = """
DROP VIEW exchange.posted_legs_v1, exchange.posted_lines_v1, exchange.chained_entries_v1;

CREATE VIEW exchange.posted_legs_v1 AS
    SELECT batches.window_date, batches.sequence AS batch_sequence, legs.entry_index, legs.leg_number,
        issuers.code AS issuer_id, legs.from_account, legs.to_account, legs.points,
        rate_cards.funding_micros, rate_cards.prefunded_micros
    FROM exchange.legs
    JOIN exchange.batches USING (batch_id)
    LEFT JOIN exchange.partners AS issuers ON issuers.partner_id = legs.issuer_id
    LEFT JOIN exchange.rate_cards
        ON rate_cards.partner_id = legs.issuer_id AND rate_cards.version = legs.rate_version;

CREATE VIEW exchange.posted_lines_v1 AS
    SELECT batches.window_date, batches.sequence AS batch_sequence, lines.entry_index, lines.line_number,
        payers.code AS payer_id, lines.payer_component, payees.code AS payee_id, lines.payee_component, lines.micros
    FROM exchange.lines
    JOIN exchange.batches USING (batch_id)
    LEFT JOIN exchange.partners AS payers ON payers.partner_id = lines.payer_id
    LEFT JOIN exchange.partners AS payees ON payees.partner_id = lines.payee_id;

-- Outer joins on a unique key: a reader that asks for rows by `batch_id` alone does not pay for batches.
CREATE VIEW exchange.chained_entries_v1 AS
    SELECT batches.sequence AS batch_sequence, batches.window_date, entries.batch_id, entries.entry_index,
        entries.member_id, entries.partner_id, entries.points, entries.rate_version, entries.event_time,
        entries.spend_minor, entries.native_points, entries.original_batch_id, entries.original_entry_index,
        entries.kind, entries.request_id, entries.store_id, entries.terminal_id, entries.reference,
        entries.reason, entries.campaign_id, entries.channel
    FROM exchange.entries
    LEFT JOIN exchange.batches USING (batch_id);

CREATE OR REPLACE VIEW exchange.chained_legs_v1 AS
    SELECT batches.sequence AS batch_sequence, batches.window_date, legs.batch_id, legs.entry_index,
        legs.leg_number, legs.member_id, legs.lot_sequence, legs.issuer_id, legs.rate_version, legs.points,
        legs.from_account, legs.to_account
    FROM exchange.legs
    LEFT JOIN exchange.batches USING (batch_id);

CREATE OR REPLACE VIEW exchange.chained_lines_v1 AS
    SELECT batches.sequence AS batch_sequence, batches.window_date, lines.batch_id, lines.entry_index,
        lines.line_number, lines.member_id, lines.payer_id, lines.payee_id, lines.micros,
        lines.payer_component, lines.payee_component
    FROM exchange.lines
    LEFT JOIN exchange.batches USING (batch_id);

-- F and P of every card a leg may name.
CREATE VIEW exchange.card_prices_v1 AS
    SELECT partner_id AS party_number, version AS rate_version, funding_micros, prefunded_micros
    FROM exchange.rate_cards;

-- What was accepted, by the names its partner gave it. `kind` is the command's: a pending earn is an earn here.
CREATE VIEW exchange.posted_requests_v1 AS
    SELECT partners.code AS partner_id, requests.request_id, requests.kind, requests.reference, requests.part,
        batches.window_date, batches.sequence AS batch_sequence, requests.entry_index
    FROM exchange.requests
    JOIN exchange.batches USING (batch_id)
    JOIN exchange.partners USING (partner_id)
    WHERE requests.accepted;
"""

GRANTS = """
GRANT SELECT ON exchange.holds, exchange.pending_earns, exchange.deficits, exchange.lot_moves, exchange.marks,
    exchange.quotes, exchange.pay_codes, exchange.terminals, exchange.adjustments,
    exchange.other_members TO tongdui_hub;
GRANT INSERT ON exchange.holds, exchange.pending_earns, exchange.deficits, exchange.lot_moves, exchange.marks,
    exchange.quotes, exchange.pay_codes, exchange.terminals, exchange.adjustments,
    exchange.other_members TO tongdui_hub;
GRANT UPDATE ON exchange.holds, exchange.pending_earns, exchange.deficits, exchange.terminals TO tongdui_hub;
GRANT UPDATE (used) ON exchange.pay_codes TO tongdui_hub;
GRANT DELETE ON exchange.holds, exchange.pending_earns, exchange.pay_codes TO tongdui_hub;
GRANT UPDATE (approve_time, withdraw_time, withdrawn_by) ON exchange.rate_cards TO tongdui_hub;
GRANT SELECT ON exchange.posted_legs_v1, exchange.posted_lines_v1, exchange.chained_entries_v1,
    exchange.posted_requests_v1, exchange.card_prices_v1 TO tongdui_settlement;
"""


def upgrade() -> None:
    """Adds what the other commands need."""
    for part in (TERMS, ACCOUNTS, JOURNAL, RATE_CARDS, VIEWS, GRANTS):
        op.execute(part)


def downgrade() -> None:
    """Takes it away again, where no entry needs it."""
    op.execute(
        "DROP VIEW exchange.card_prices_v1, exchange.posted_requests_v1, exchange.posted_legs_v1,"
        " exchange.posted_lines_v1, exchange.chained_entries_v1"
    )
    op.execute(
        "DROP TABLE exchange.other_members, exchange.adjustments, exchange.terminals, exchange.pay_codes,"
        " exchange.quotes, exchange.marks,"
        " exchange.lot_moves, exchange.deficits, exchange.pending_earns, exchange.holds"
    )
    op.execute(DOWN)


DOWN = """
DELETE FROM exchange.rate_cards WHERE state = 'withdrawn';
ALTER TABLE exchange.rate_cards DROP CONSTRAINT rate_cards_state, DROP CONSTRAINT rate_cards_spread,
    DROP propose_time, DROP approve_time, DROP withdraw_time, DROP withdrawn_by,
    ADD CONSTRAINT rate_cards_state CHECK (state IN ('proposed', 'approved'));
ALTER TABLE exchange.lines DROP CONSTRAINT lines_components, ADD CONSTRAINT lines_components CHECK (
    ARRAY[payer_component, payee_component] <@ ARRAY[
        'ISSUE_FUNDING', 'ISSUE_FEE', 'BURN_FUNDING', 'BURN_REIMBURSE', 'SPREAD', 'BREAKAGE_SHARE']);
ALTER TABLE exchange.legs DROP CONSTRAINT legs_from,
    ADD CONSTRAINT legs_from CHECK (from_account IN ('issued', 'moved_in', 'open', 'held'));
ALTER TABLE exchange.entries DROP CONSTRAINT entries_points, DROP CONSTRAINT entries_kind,
    ADD CONSTRAINT entries_points CHECK (points > 0),
    ADD CONSTRAINT entries_kind CHECK (kind IN ('earn', 'burn', 'expire')),
    DROP spend_minor, DROP native_points, DROP original_batch_id, DROP original_entry_index;
ALTER TABLE exchange.lots DROP transferred_points, DROP deficit_raised_points;
ALTER TABLE exchange.wallets DROP CONSTRAINT wallets_survivor, DROP CONSTRAINT wallets_deficit_or_points,
    DROP CONSTRAINT wallets_state, ADD CONSTRAINT wallets_state CHECK (state IN ('active')),
    DROP survivor_id, DROP merged_batch_id, DROP merged_entry_index, DROP deficit_sequence, DROP next_cancel_date,
    DROP next_deadline, DROP spent_date, DROP spent_count, DROP spent_points, DROP transferred_points;
ALTER TABLE exchange.ledger DROP claw_back, DROP refund, DROP grace_days, DROP pending_days, DROP member_daily_burns,
    DROP member_daily_points, DROP terminal_daily_burns, DROP terminal_daily_points, DROP transfer_limit_points,
    DROP transfer_daily_points;
CREATE VIEW exchange.posted_legs_v1 AS
    SELECT batches.window_date, batches.sequence AS batch_sequence, legs.entry_index, legs.leg_number,
        entries.kind, issuers.code AS issuer_id, legs.from_account, legs.to_account, legs.points,
        rate_cards.funding_micros, rate_cards.prefunded_micros
    FROM exchange.legs
    JOIN exchange.batches USING (batch_id)
    LEFT JOIN exchange.entries USING (batch_id, entry_index, member_id)
    LEFT JOIN exchange.partners AS issuers ON issuers.partner_id = legs.issuer_id
    LEFT JOIN exchange.rate_cards
        ON rate_cards.partner_id = legs.issuer_id AND rate_cards.version = legs.rate_version;
CREATE VIEW exchange.posted_lines_v1 AS
    SELECT batches.window_date, batches.sequence AS batch_sequence, lines.entry_index, lines.line_number,
        entries.kind, payers.code AS payer_id, lines.payer_component, payees.code AS payee_id,
        lines.payee_component, lines.micros
    FROM exchange.lines
    JOIN exchange.batches USING (batch_id)
    LEFT JOIN exchange.entries USING (batch_id, entry_index, member_id)
    LEFT JOIN exchange.partners AS payers ON payers.partner_id = lines.payer_id
    LEFT JOIN exchange.partners AS payees ON payees.partner_id = lines.payee_id;
CREATE VIEW exchange.chained_entries_v1 AS
    SELECT batches.sequence AS batch_sequence, batches.window_date, entries.batch_id, entries.entry_index,
        entries.member_id, entries.partner_id, entries.points, entries.rate_version, entries.event_time,
        entries.kind, entries.request_id, entries.store_id, entries.terminal_id, entries.reference,
        entries.reason, entries.campaign_id, entries.channel
    FROM exchange.entries
    JOIN exchange.batches USING (batch_id);
"""
