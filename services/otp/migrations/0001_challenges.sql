-- Rebuilt from the events, bit for bit: `challenge`, all columns but `tries`.
-- Not rebuilt, for they are counters, leases and marks, not facts:
--   challenge.tries    checks begun. It is raised and committed before a check is made, so it may be ahead of the events
--                      (a crash in between); a rebuild that replaces the table keeps the greater of the two.
--   subject_budget     the last 24 hours of a subject; after a loss it is empty, and codes are short again for a while.
--   delivery           waits to be delivered, plain code and destination sealed; after a loss the subscriber asks anew.
--   delivery_report    whether a message was sent.
--   claim_audit        who has claimed what, when.

CREATE TABLE challenge (
    id          uuid        PRIMARY KEY,
    version     bigint      NOT NULL,
    subject_id  uuid        NOT NULL,
    flow_id     uuid        NOT NULL,
    purpose     smallint    NOT NULL,
    digits      smallint    NOT NULL,
    max_tries   smallint    NOT NULL,
    is_decoy    boolean     NOT NULL,
    code_mac    bytea       NOT NULL,
    issued_at   timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    state       text        NOT NULL CHECK (state IN ('open', 'verified', 'superseded', 'expired', 'exhausted')),
    failures    smallint    NOT NULL,
    tries       smallint    NOT NULL DEFAULT 0 CHECK (tries <= max_tries)
) WITH (fillfactor = 80);

-- Only the newest code of a flow works (M10).
CREATE UNIQUE INDEX challenge_open_of_flow ON challenge (subject_id, flow_id) WHERE state = 'open';
CREATE INDEX challenge_open_by_expiry ON challenge (expires_at) WHERE state = 'open';

-- The lock under which a subject's codes are issued and checks are counted. The arrays are the exact sliding window, oldest
-- first; bounded, because at most issues_per_day codes of at most 10 tries exist within it.
CREATE TABLE subject_budget (
    subject_id uuid          PRIMARY KEY,
    wrong_at   timestamptz[] NOT NULL DEFAULT '{}',
    issued_at  timestamptz[] NOT NULL DEFAULT '{}',
    issued_for smallint[]    NOT NULL DEFAULT '{}'
) WITH (fillfactor = 70);

-- A row stands here only while its challenge is open: append_to_challenge deletes it with the state.
CREATE TABLE delivery (
    challenge_id  uuid        PRIMARY KEY,
    event_id      uuid        NOT NULL,
    sealed        bytea       NOT NULL,
    claimant      text,
    claimed_until timestamptz
) WITH (fillfactor = 70);

CREATE TABLE delivery_report (
    challenge_id uuid        PRIMARY KEY,
    sent         boolean     NOT NULL,
    reported_at  timestamptz NOT NULL
);

CREATE TABLE claim_audit (
    challenge_id uuid        NOT NULL,
    id           bigint      GENERATED ALWAYS AS IDENTITY,
    claimant     text        NOT NULL,
    claimed_at   timestamptz NOT NULL,
    PRIMARY KEY (challenge_id, id)
);

-- Locks are taken in the order subject_budget, challenge, delivery, everywhere.

-- The caller holds the subject's lock.
CREATE FUNCTION open_challenge(
    p_subject uuid, p_flow uuid, p_purpose smallint, p_digits smallint, p_max_tries smallint, p_is_decoy boolean,
    p_code_mac bytea, p_issued_at timestamptz, p_expires_at timestamptz, p_sealed bytea,
    p_wrong_at timestamptz[], p_all_issued_at timestamptz[], p_all_issued_for smallint[],
    p_stream uuid, p_first bigint, p_ids uuid[], p_types text[], p_times timestamptz[], p_datas bytea[], p_secrets bytea[],
    p_publics boolean[], p_traceparent text
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE subject_budget SET wrong_at = p_wrong_at, issued_at = p_all_issued_at, issued_for = p_all_issued_for
    WHERE subject_id = p_subject;

    INSERT INTO challenge (id, version, subject_id, flow_id, purpose, digits, max_tries, is_decoy, code_mac, issued_at,
                           expires_at, state, failures)
    VALUES (p_stream, p_first, p_subject, p_flow, p_purpose, p_digits, p_max_tries, p_is_decoy, p_code_mac, p_issued_at,
            p_expires_at, 'open', 0);

    PERFORM insert_events(p_stream, p_first, p_ids, p_types, p_times, p_datas, p_secrets, p_publics, p_traceparent);

    -- A decoy has one too, so that it costs the same; it is never given out (claim_delivery).
    INSERT INTO delivery (challenge_id, event_id, sealed) VALUES (p_stream, p_ids[1], p_sealed);
END $$;

-- False: the stream has moved on, and nothing was written.
CREATE FUNCTION append_to_challenge(
    p_state text, p_failures smallint,
    p_stream uuid, p_first bigint, p_ids uuid[], p_types text[], p_times timestamptz[], p_datas bytea[], p_secrets bytea[],
    p_publics boolean[], p_traceparent text
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE challenge SET version = p_first + cardinality(p_ids) - 1, state = p_state, failures = p_failures
    WHERE id = p_stream AND version = p_first - 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM insert_events(p_stream, p_first, p_ids, p_types, p_times, p_datas, p_secrets, p_publics, p_traceparent);
    IF p_state <> 'open' THEN
        DELETE FROM delivery WHERE challenge_id = p_stream;
    END IF;
    RETURN true;
END $$;

-- Counts a check, against the challenge, its subject and the whole system, before it is made. Only 'made' may be made; 'voided':
-- it is open, and shorter than codes must be by now; no row: used, expired, out of tries, or bound to something else.
-- Called outside a transaction, so that the count is committed when it returns, whatever becomes of the caller.
-- p_wrong_limits: for 4, 6 and 8 digits, the subject's wrong checks from which such a code is no longer checked; null: none.
-- The last three: as spray_digits takes them. counted, held: what it gave.
CREATE FUNCTION begin_check(
    p_id uuid, p_subject uuid, p_flow uuid, p_purpose smallint, p_window interval, p_wrong_limits int[],
    p_spray_wrong_from int[], p_spray_issued_window interval, p_spray_issued_from int[]
) RETURNS TABLE (
    outcome text, counted smallint, held smallint,
    now timestamptz, id uuid, version bigint, subject_id uuid, flow_id uuid, purpose smallint, digits smallint,
    max_tries smallint, is_decoy boolean, code_mac bytea, issued_at timestamptz, expires_at timestamptz, state text,
    failures smallint, tries smallint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_wrong timestamptz[];
    v_now   timestamptz;
    v_spray record;
    v_least smallint;
    v_outcome text;
    v challenge%ROWTYPE;
BEGIN
    SELECT b.wrong_at INTO v_wrong FROM subject_budget b WHERE b.subject_id = p_subject FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- Each entry differs from all others, though clocks be set back: a right check is given back by its time.
    v_now := greatest(clock_timestamp(), v_wrong[cardinality(v_wrong)] + interval '1 microsecond');
    v_wrong := ARRAY(SELECT t FROM unnest(v_wrong) AS t WHERE t > v_now - p_window ORDER BY t);

    SELECT * INTO v_spray FROM spray_digits(p_window, p_spray_wrong_from, p_spray_issued_window, p_spray_issued_from);
    v_least := greatest(v_spray.counted, v_spray.held, CASE
        WHEN cardinality(v_wrong) >= p_wrong_limits[2] THEN 8
        WHEN cardinality(v_wrong) >= p_wrong_limits[1] THEN 6
        ELSE 0
    END);

    SELECT c.* INTO v FROM challenge c
    WHERE c.id = p_id AND c.tries < c.max_tries AND c.state = 'open' AND c.expires_at > clock_timestamp()
      AND c.subject_id = p_subject AND c.flow_id = p_flow AND c.purpose = p_purpose
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF v.digits < v_least THEN
        v_outcome := 'voided';
    ELSE
        v_outcome := 'made';
        UPDATE challenge c SET tries = c.tries + 1 WHERE c.id = p_id RETURNING c.* INTO v;
        UPDATE subject_budget SET wrong_at = v_wrong || v_now WHERE subject_id = p_subject;
        PERFORM count_spray(1::smallint, p_subject, v_now, p_window, 1);
    END IF;
    RETURN QUERY
    SELECT v_outcome, v_spray.counted, v_spray.held, v_now, v.id, v.version, v.subject_id, v.flow_id, v.purpose, v.digits,
           v.max_tries, v.is_decoy, v.code_mac, v.issued_at, v.expires_at, v.state, v.failures, v.tries;
END $$;

-- outcome: void, claimed (by another; retry_in), given.
CREATE FUNCTION claim_delivery(p_challenge uuid, p_event uuid, p_claimant text, p_lease interval)
RETURNS TABLE (outcome text, sealed bytea, expires_at timestamptz, remaining interval, retry_in interval)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_row delivery%ROWTYPE;
    v_expires_at timestamptz;
    v_now timestamptz;
BEGIN
    SELECT d.* INTO v_row FROM delivery d WHERE d.challenge_id = p_challenge AND d.event_id = p_event FOR UPDATE;
    IF FOUND THEN
        v_now := clock_timestamp();
        SELECT c.expires_at INTO v_expires_at FROM challenge c
        WHERE c.id = p_challenge AND NOT c.is_decoy AND c.expires_at > v_now;
    END IF;
    IF v_expires_at IS NULL THEN
        RETURN QUERY SELECT 'void', NULL::bytea, NULL::timestamptz, NULL::interval, NULL::interval;
    ELSIF v_row.claimant <> p_claimant AND v_row.claimed_until > v_now THEN
        RETURN QUERY SELECT 'claimed', NULL::bytea, NULL::timestamptz, NULL::interval, v_row.claimed_until - v_now;
    ELSE
        UPDATE delivery SET claimant = p_claimant, claimed_until = v_now + p_lease WHERE challenge_id = p_challenge;
        INSERT INTO claim_audit (challenge_id, claimant, claimed_at) VALUES (p_challenge, p_claimant, v_now);
        RETURN QUERY SELECT 'given', v_row.sealed, v_expires_at, v_expires_at - v_now, NULL::interval;
    END IF;
END $$;
