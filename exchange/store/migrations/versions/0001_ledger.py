"""The ledger: registry, wallets and lots, decisions, journal, chain, windows, and settlement's views."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

REGISTRY = """
-- One row: what the coalition agreed once for all, and the manual clock. Changed only by the registrar.
CREATE TABLE exchange.ledger (
    singleton boolean CONSTRAINT ledger_pkey PRIMARY KEY DEFAULT true CONSTRAINT ledger_one_row CHECK (singleton),
    audience text NOT NULL,
    currency_code text NOT NULL,
    minor_unit_digits integer NOT NULL CONSTRAINT ledger_minor_unit CHECK (minor_unit_digits BETWEEN 0 AND 4),
    time_zone text NOT NULL,
    cut_off_seconds integer NOT NULL CONSTRAINT ledger_cut_off CHECK (cut_off_seconds BETWEEN 0 AND 86399),
    late_limit_seconds bigint NOT NULL,
    card_notice_seconds bigint NOT NULL,
    clock text NOT NULL CONSTRAINT ledger_clock CHECK (clock IN ('system', 'manual')),
    manual_time timestamptz,
    first_window_date date NOT NULL,
    CONSTRAINT ledger_manual_time CHECK ((clock = 'manual') = (manual_time IS NOT NULL))
);

-- One row: goes up whenever partners, keys or cards change, so that caches know that they are old.
CREATE TABLE exchange.registry (
    singleton boolean CONSTRAINT registry_pkey PRIMARY KEY DEFAULT true
        CONSTRAINT registry_one_row CHECK (singleton),
    version bigint NOT NULL DEFAULT 1
);

CREATE TABLE exchange.partners (
    partner_id integer CONSTRAINT partners_pkey PRIMARY KEY,
    code text COLLATE "C" NOT NULL CONSTRAINT partners_code_key UNIQUE,
    display_name text NOT NULL,
    attestation_allowed boolean NOT NULL DEFAULT false,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE SEQUENCE exchange.partner_ids AS integer;

CREATE TABLE exchange.keys (
    key_id text COLLATE "C" CONSTRAINT keys_pkey PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    holder text NOT NULL DEFAULT '',
    public_key bytea NOT NULL,
    roles text[] NOT NULL CONSTRAINT keys_roles
        CHECK (roles <@ ARRAY['partner', 'operator', 'finance_maker', 'finance_checker', 'auditor']),
    state text NOT NULL CONSTRAINT keys_state CHECK (state IN ('registered', 'active', 'revoked')),
    valid_from timestamptz NOT NULL,
    valid_until timestamptz NOT NULL,
    registered_by text NOT NULL,
    approved_by text,
    revoked_by text,
    revoke_reason text,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT keys_two_people CHECK (approved_by <> registered_by)
);
CREATE INDEX keys_owner ON exchange.keys (owner, holder);

CREATE TABLE exchange.key_challenges (
    challenge bytea CONSTRAINT key_challenges_pkey PRIMARY KEY,
    owner text NOT NULL,
    holder text NOT NULL,
    expire_time timestamptz NOT NULL,
    used boolean NOT NULL DEFAULT false
);

CREATE TABLE exchange.rate_cards (
    partner_id integer NOT NULL CONSTRAINT rate_cards_partner REFERENCES exchange.partners,
    version integer NOT NULL,
    valid_from timestamptz NOT NULL,
    earn_rate_numerator bigint NOT NULL,
    earn_rate_denominator bigint NOT NULL,
    native_rate_in_numerator bigint,
    native_rate_in_denominator bigint,
    native_rate_out_numerator bigint,
    native_rate_out_denominator bigint,
    exchange_spread_numerator bigint NOT NULL DEFAULT 0,
    exchange_spread_denominator bigint NOT NULL DEFAULT 1,
    face_value_micros bigint NOT NULL,
    funding_micros bigint NOT NULL CONSTRAINT rate_cards_funding CHECK (funding_micros >= 1),
    reimbursement_micros bigint NOT NULL CONSTRAINT rate_cards_reimbursement CHECK (reimbursement_micros >= 0),
    issue_fee_micros bigint NOT NULL CONSTRAINT rate_cards_fee CHECK (issue_fee_micros >= 0),
    prefunded_micros bigint NOT NULL,
    expiry_kind text NOT NULL CONSTRAINT rate_cards_expiry_kind
        CHECK (expiry_kind IN ('never', 'days', 'months_to_month_end', 'fixed_date')),
    expiry_amount integer NOT NULL DEFAULT 0,
    expiry_fixed_date date,
    breakage_issuer_share_numerator bigint NOT NULL DEFAULT 0,
    breakage_issuer_share_denominator bigint NOT NULL DEFAULT 1,
    state text NOT NULL CONSTRAINT rate_cards_state CHECK (state IN ('proposed', 'approved')),
    proposed_by text NOT NULL,
    approved_by text,
    CONSTRAINT rate_cards_pkey PRIMARY KEY (partner_id, version),
    CONSTRAINT rate_cards_prefunded CHECK (prefunded_micros BETWEEN 0 AND funding_micros),
    CONSTRAINT rate_cards_two_people CHECK (approved_by <> proposed_by)
);
"""

ACCOUNTS = """
-- A member. fillfactor and unindexed counters keep every update on its page (HOT).
CREATE TABLE exchange.wallets (
    member_id bigint CONSTRAINT wallets_pkey PRIMARY KEY,
    state text NOT NULL DEFAULT 'active' CONSTRAINT wallets_state CHECK (state IN ('active')),
    open_points bigint NOT NULL DEFAULT 0 CONSTRAINT wallets_open CHECK (open_points >= 0),
    pending_points bigint NOT NULL DEFAULT 0 CONSTRAINT wallets_pending CHECK (pending_points >= 0),
    held_points bigint NOT NULL DEFAULT 0 CONSTRAINT wallets_held CHECK (held_points >= 0),
    deficit_points bigint NOT NULL DEFAULT 0 CONSTRAINT wallets_deficit CHECK (deficit_points >= 0),
    lot_sequence integer NOT NULL DEFAULT 0,
    next_expiry_date date NOT NULL DEFAULT '9999-12-31',
    last_decided_time timestamptz NOT NULL DEFAULT '2000-01-01 00:00:00+00'
) WITH (fillfactor = 70);
CREATE INDEX wallets_next_expiry ON exchange.wallets (next_expiry_date);

-- 9999-12-31 is never. `spent` says that no point is open; a flag, because a predicate on open_points
-- would make every update touch the index.
CREATE TABLE exchange.lots (
    member_id bigint NOT NULL,
    lot_sequence integer NOT NULL,
    issuer_id integer NOT NULL,
    rate_version integer NOT NULL,
    expiry_date date NOT NULL,
    spent boolean NOT NULL,
    funding_micros bigint NOT NULL,
    prefunded_micros bigint NOT NULL,
    issued_points bigint NOT NULL DEFAULT 0,
    moved_in_points bigint NOT NULL DEFAULT 0,
    open_points bigint NOT NULL DEFAULT 0,
    held_points bigint NOT NULL DEFAULT 0,
    burned_points bigint NOT NULL DEFAULT 0,
    expired_points bigint NOT NULL DEFAULT 0,
    clawed_back_points bigint NOT NULL DEFAULT 0,
    absorbed_points bigint NOT NULL DEFAULT 0,
    moved_out_points bigint NOT NULL DEFAULT 0,
    CONSTRAINT lots_pkey PRIMARY KEY (member_id, lot_sequence),
    CONSTRAINT lots_once UNIQUE (member_id, issuer_id, rate_version, expiry_date),
    CONSTRAINT lots_conserved CHECK (
        issued_points + moved_in_points = open_points + held_points + burned_points + expired_points
            + clawed_back_points + absorbed_points + moved_out_points),
    CONSTRAINT lots_not_negative CHECK (
        least(issued_points, moved_in_points, open_points, held_points, burned_points, expired_points,
            clawed_back_points, absorbed_points, moved_out_points) >= 0),
    CONSTRAINT lots_spent CHECK (spent = (open_points = 0))
) WITH (fillfactor = 80);
CREATE INDEX lots_consumption ON exchange.lots (member_id, expiry_date, lot_sequence) WHERE NOT spent;

-- Both limits above 0 are a consent. The counters are of the day `burned_date`.
CREATE TABLE exchange.links (
    member_id bigint NOT NULL,
    partner_id integer NOT NULL,
    per_burn_limit_points bigint NOT NULL DEFAULT 0,
    per_day_limit_points bigint NOT NULL DEFAULT 0,
    burned_date date NOT NULL DEFAULT '0001-01-01',
    burned_points bigint NOT NULL DEFAULT 0,
    CONSTRAINT links_pkey PRIMARY KEY (member_id, partner_id)
) WITH (fillfactor = 80);

CREATE TABLE exchange.aliases (
    partner_id integer NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    member_id bigint NOT NULL,
    CONSTRAINT aliases_pkey PRIMARY KEY (partner_id, customer_id),
    CONSTRAINT aliases_member_key UNIQUE (partner_id, member_id)
);
"""

JOURNAL = """
-- One decision a row, for ever. The registrar's writes have a call but no batch, entry or reference.
CREATE TABLE exchange.requests (
    partner_id integer NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    accepted boolean NOT NULL,
    batch_id bigint NOT NULL,
    entry_index integer NOT NULL,
    call_id bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    reference text COLLATE "C" NOT NULL,
    part integer NOT NULL,
    answer bytea NOT NULL,
    CONSTRAINT requests_pkey PRIMARY KEY (partner_id, request_id)
);
CREATE UNIQUE INDEX requests_reference_key ON exchange.requests (partner_id, reference, kind, part)
    WHERE accepted AND reference <> '';

CREATE SEQUENCE exchange.batch_ids;

CREATE TABLE exchange.entries (
    batch_id bigint NOT NULL,
    entry_index integer NOT NULL,
    member_id bigint NOT NULL,
    partner_id integer NOT NULL,
    points bigint NOT NULL CONSTRAINT entries_points CHECK (points > 0),
    rate_version integer NOT NULL,
    event_time timestamptz NOT NULL,
    kind text NOT NULL CONSTRAINT entries_kind CHECK (kind IN ('earn', 'burn', 'expire')),
    request_id text COLLATE "C" NOT NULL,
    store_id text NOT NULL,
    terminal_id text NOT NULL,
    reference text NOT NULL,
    reason text NOT NULL,
    campaign_id text NOT NULL,
    channel text NOT NULL,
    CONSTRAINT entries_pkey PRIMARY KEY (batch_id, entry_index, member_id)
);
CREATE INDEX entries_member ON exchange.entries (member_id, batch_id, entry_index);
CREATE INDEX entries_partner ON exchange.entries (partner_id, batch_id, entry_index);

CREATE TABLE exchange.legs (
    batch_id bigint NOT NULL,
    entry_index integer NOT NULL,
    leg_number integer NOT NULL,
    member_id bigint NOT NULL,
    lot_sequence integer NOT NULL,
    issuer_id integer NOT NULL,
    rate_version integer NOT NULL,
    points bigint NOT NULL CONSTRAINT legs_points CHECK (points > 0),
    from_account text NOT NULL CONSTRAINT legs_from CHECK (from_account IN ('issued', 'moved_in', 'open', 'held')),
    to_account text NOT NULL CONSTRAINT legs_to CHECK (
        to_account IN ('open', 'held', 'burned', 'expired', 'clawed_back', 'absorbed', 'moved_out')),
    CONSTRAINT legs_pkey PRIMARY KEY (batch_id, entry_index, leg_number, member_id)
);

CREATE TABLE exchange.lines (
    batch_id bigint NOT NULL,
    entry_index integer NOT NULL,
    line_number integer NOT NULL,
    member_id bigint NOT NULL,
    payer_id integer NOT NULL,
    payee_id integer NOT NULL,
    micros bigint NOT NULL CONSTRAINT lines_micros CHECK (micros > 0),
    payer_component text NOT NULL,
    payee_component text NOT NULL,
    CONSTRAINT lines_pkey PRIMARY KEY (batch_id, entry_index, line_number, member_id),
    CONSTRAINT lines_two_parties CHECK (payer_id <> payee_id),
    CONSTRAINT lines_components CHECK (ARRAY[payer_component, payee_component] <@ ARRAY[
        'ISSUE_FUNDING', 'ISSUE_FEE', 'BURN_FUNDING', 'BURN_REIMBURSE', 'SPREAD', 'BREAKAGE_SHARE'])
);

CREATE TABLE exchange.batches (
    batch_id bigint CONSTRAINT batches_pkey PRIMARY KEY,
    sequence bigint NOT NULL CONSTRAINT batches_sequence_key UNIQUE,
    decided_time timestamptz NOT NULL,
    window_date date NOT NULL,
    entry_count integer NOT NULL,
    digest bytea NOT NULL,
    hash bytea NOT NULL
);
CREATE INDEX batches_window ON exchange.batches (window_date, sequence);

-- The raw signed bytes of each call: evidence that outlives connections. A call may be decided by more
-- than one batch; it is kept by the first.
CREATE TABLE exchange.calls (
    call_id bigint CONSTRAINT calls_pkey PRIMARY KEY,
    partner_id integer NOT NULL,
    key_id text NOT NULL,
    path text NOT NULL,
    signature_input text NOT NULL,
    signature bytea NOT NULL,
    body bytea STORAGE EXTERNAL NOT NULL
);

-- One row: the end of the chain. Its lock orders the ledger; `window_date` is the day new batches fall in.
CREATE TABLE exchange.chain (
    singleton boolean CONSTRAINT chain_pkey PRIMARY KEY DEFAULT true CONSTRAINT chain_one_row CHECK (singleton),
    sequence bigint NOT NULL,
    hash bytea NOT NULL,
    window_date date NOT NULL
);

CREATE TABLE exchange.windows (
    window_date date CONSTRAINT windows_pkey PRIMARY KEY,
    first_sequence bigint NOT NULL,
    last_sequence bigint NOT NULL,
    last_hash bytea NOT NULL,
    entry_count bigint NOT NULL,
    close_time timestamptz NOT NULL
);
"""

VIEWS = """
CREATE VIEW exchange.ledger_v1 AS
    SELECT audience, currency_code, minor_unit_digits, time_zone, cut_off_seconds, clock FROM exchange.ledger;

CREATE VIEW exchange.partners_v1 AS
    SELECT code AS partner_id, display_name FROM exchange.partners WHERE partner_id > 0;

CREATE VIEW exchange.keys_v1 AS
    SELECT key_id, owner, holder, public_key, roles, state, valid_from, valid_until FROM exchange.keys;

CREATE VIEW exchange.windows_v1 AS
    SELECT window_date, first_sequence, last_sequence, last_hash, entry_count, close_time FROM exchange.windows;

-- 12 base32hex digits of 5 bits, as exchange.core.ids.member_text writes them.
CREATE FUNCTION exchange.member_text(member_id bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT 'm-' || string_agg(substr('0123456789abcdefghijklmnopqrstuv', ((member_id >> (5 * digit)) & 31)::int + 1, 1),
        '' ORDER BY digit DESC) FROM generate_series(0, 11) AS digit
$$;

CREATE VIEW exchange.posted_entries_v1 AS
    SELECT batches.window_date, batches.sequence AS batch_sequence, entries.entry_index,
        entries.batch_id || '-' || entries.entry_index AS entry_id, entries.kind, partners.code AS partner_id,
        entries.request_id, exchange.member_text(entries.member_id) AS member_id, entries.reference,
        entries.store_id, entries.terminal_id, entries.event_time, batches.decided_time, entries.points,
        entries.rate_version
    FROM exchange.entries
    JOIN exchange.batches USING (batch_id)
    JOIN exchange.partners USING (partner_id);

-- LEFT JOINs on unique keys, so that a reader that does not ask for `kind` does not pay for entries.
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

-- The journal as its chain hashes it: each row's hashed columns in the hashed order (docs/protocol.md), after two
-- that are not hashed.
CREATE VIEW exchange.chained_batches_v1 AS
    SELECT sequence, batch_id, window_date, entry_count, digest, hash, decided_time FROM exchange.batches;

CREATE VIEW exchange.chained_entries_v1 AS
    SELECT batches.sequence AS batch_sequence, batches.window_date, entries.batch_id, entries.entry_index,
        entries.member_id, entries.partner_id, entries.points, entries.rate_version, entries.event_time,
        entries.kind, entries.request_id, entries.store_id, entries.terminal_id, entries.reference,
        entries.reason, entries.campaign_id, entries.channel
    FROM exchange.entries
    JOIN exchange.batches USING (batch_id);

CREATE VIEW exchange.chained_legs_v1 AS
    SELECT batches.sequence AS batch_sequence, batches.window_date, legs.batch_id, legs.entry_index,
        legs.leg_number, legs.member_id, legs.lot_sequence, legs.issuer_id, legs.rate_version, legs.points,
        legs.from_account, legs.to_account
    FROM exchange.legs
    JOIN exchange.batches USING (batch_id);

CREATE VIEW exchange.chained_lines_v1 AS
    SELECT batches.sequence AS batch_sequence, batches.window_date, lines.batch_id, lines.entry_index,
        lines.line_number, lines.member_id, lines.payer_id, lines.payee_id, lines.micros,
        lines.payer_component, lines.payee_component
    FROM exchange.lines
    JOIN exchange.batches USING (batch_id);

-- Hashed rows number their parties; here are their names.
CREATE VIEW exchange.chained_parties_v1 AS
    SELECT partner_id AS party_number, code AS party_id FROM exchange.partners;
"""

# The journal and the decisions are append-only by grant: the hub's role can't rewrite what it decided.
GRANTS = """
DO $$ BEGIN
    CREATE ROLE tongdui_hub NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- roles belong to the server, not the database
END $$;
DO $$ BEGIN
    CREATE ROLE tongdui_settlement NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
GRANT tongdui_hub, tongdui_settlement TO CURRENT_USER;
GRANT USAGE ON SCHEMA exchange TO tongdui_hub, tongdui_settlement;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA exchange TO tongdui_hub;
GRANT SELECT ON ALL TABLES IN SCHEMA exchange TO tongdui_hub;
GRANT INSERT ON exchange.requests, exchange.entries, exchange.legs, exchange.lines, exchange.batches,
    exchange.calls, exchange.windows, exchange.wallets, exchange.lots, exchange.links, exchange.aliases,
    exchange.partners, exchange.keys, exchange.key_challenges, exchange.rate_cards TO tongdui_hub;
GRANT UPDATE ON exchange.wallets, exchange.lots, exchange.links, exchange.chain, exchange.registry
    TO tongdui_hub;
GRANT UPDATE (state, approved_by, revoked_by, revoke_reason, valid_from, valid_until) ON exchange.keys
    TO tongdui_hub;
GRANT UPDATE (used) ON exchange.key_challenges TO tongdui_hub;
GRANT UPDATE (state, approved_by) ON exchange.rate_cards TO tongdui_hub;
GRANT UPDATE (manual_time) ON exchange.ledger TO tongdui_hub;
GRANT SELECT ON exchange.ledger_v1, exchange.partners_v1, exchange.keys_v1, exchange.windows_v1,
    exchange.posted_entries_v1, exchange.posted_legs_v1, exchange.posted_lines_v1,
    exchange.chained_batches_v1, exchange.chained_entries_v1, exchange.chained_legs_v1,
    exchange.chained_lines_v1, exchange.chained_parties_v1 TO tongdui_settlement;
"""

SEEDS = """
INSERT INTO exchange.registry DEFAULT VALUES;
INSERT INTO exchange.partners (partner_id, code, display_name)
    VALUES (0, 'hub', 'Hub'), (-1, 'POOL', 'Escrow pool'), (-2, 'OPERATOR', 'Operator');
"""


def upgrade() -> None:
    """Creates everything."""
    for part in (REGISTRY, ACCOUNTS, JOURNAL, VIEWS, GRANTS, SEEDS):
        op.execute(part)


def downgrade() -> None:
    """Removes everything but the schema that holds the version table, and the server-wide roles."""
    op.execute(
        "DROP VIEW exchange.chained_parties_v1, exchange.chained_lines_v1, exchange.chained_legs_v1,"
        " exchange.chained_entries_v1, exchange.chained_batches_v1,"
        " exchange.posted_lines_v1, exchange.posted_legs_v1, exchange.posted_entries_v1,"
        " exchange.windows_v1, exchange.keys_v1, exchange.partners_v1, exchange.ledger_v1"
    )
    op.execute("DROP FUNCTION exchange.member_text(bigint)")
    op.execute(
        "DROP TABLE exchange.windows, exchange.chain, exchange.calls, exchange.batches, exchange.lines,"
        " exchange.legs, exchange.entries, exchange.requests, exchange.aliases, exchange.links,"
        " exchange.lots, exchange.wallets, exchange.rate_cards, exchange.key_challenges, exchange.keys,"
        " exchange.partners, exchange.registry, exchange.ledger"
    )
    op.execute("DROP SEQUENCE exchange.batch_ids, exchange.partner_ids")
