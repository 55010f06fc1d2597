-- Subjects and their strikes are facts, rebuilt from events. Attempts and penalties are leases, and are not.

CREATE TABLE subject (
    subject_id uuid     PRIMARY KEY,
    version    bigint   NOT NULL DEFAULT 0,
    owner_id   uuid     NOT NULL,
    credential smallint NOT NULL,
    -- Guards an identifier that resolves to nothing: its events stay here.
    stranger   boolean  NOT NULL,
    epoch      bigint   NOT NULL DEFAULT 0,
    strikes    smallint NOT NULL DEFAULT 0 CHECK (strikes BETWEEN 0 AND 3),
    blocked_at timestamptz,
    CHECK ((strikes = 3) = (blocked_at IS NOT NULL))
);

CREATE TABLE attempt (
    subject_id  uuid        NOT NULL,
    attempt_id  uuid        NOT NULL,
    epoch       bigint      NOT NULL,
    admitted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (subject_id, attempt_id)
);
-- Failures of strangers are published under a pseudonym that leads nowhere: the attempt alone finds the subject.
CREATE INDEX attempt_by_id ON attempt (attempt_id);
CREATE INDEX attempt_by_age ON attempt (admitted_at);

-- What admission reads of one soft limit's key. `until` is a lease; `version` is its stream's, so a row is never removed.
CREATE TABLE penalty (
    pseudonym  text        NOT NULL,
    dimension  smallint    NOT NULL,
    key_id     text        NOT NULL,
    until      timestamptz NOT NULL,
    version    bigint      NOT NULL,
    PRIMARY KEY (pseudonym, dimension)
);

-- Rule 2 of the protocol. p_pseudonyms: of which a penalty of p_dimensions refuses, and one of p_asking asks for a captcha; before
-- anything is locked or made, so that a refusal is cheap. Several statements in one call: a single one would count the open attempts by a snapshot taken
-- before it waited for the lock.
CREATE FUNCTION admit_attempt(
    p_subject uuid, p_owner uuid, p_credential smallint, p_stranger boolean, p_attempt uuid,
    p_pseudonyms text[], p_dimensions smallint[], p_asking smallint[], p_captcha_settled boolean, p_limit integer
) RETURNS TABLE (outcome text, epoch bigint, attempts_left integer, blocked_at timestamptz, retry_after interval)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    s       subject;
    taken   integer;
    penalty interval;
    asks    boolean;
BEGIN
    SELECT max(p.until) FILTER (WHERE p.dimension = ANY (p_dimensions)) - clock_timestamp(), bool_or(p.dimension = ANY (p_asking))
    INTO penalty, asks FROM penalty p WHERE p.pseudonym = ANY (p_pseudonyms) AND p.until > clock_timestamp();
    IF penalty IS NOT NULL THEN
        RETURN QUERY SELECT 'limited', 0::bigint, 0, NULL::timestamptz, penalty;
        RETURN;
    END IF;
    IF asks AND NOT p_captcha_settled THEN
        RETURN QUERY SELECT 'captcha', 0::bigint, 0, NULL::timestamptz, NULL::interval;
        RETURN;
    END IF;
    -- Always, not only if the row is missing: else a subject met for the first time costs two statements more, and a number that
    -- nobody has is told by its time from one that somebody has.
    INSERT INTO subject (subject_id, owner_id, credential, stranger)
    VALUES (p_subject, p_owner, p_credential, p_stranger) ON CONFLICT DO NOTHING;
    SELECT * INTO s FROM subject WHERE subject_id = p_subject FOR UPDATE;
    IF s.blocked_at IS NOT NULL THEN
        RETURN QUERY SELECT 'blocked', s.epoch, 0, s.blocked_at, NULL::interval;
        RETURN;
    END IF;
    SELECT count(*) INTO taken FROM attempt a WHERE a.subject_id = p_subject;
    IF s.strikes + taken >= p_limit THEN
        RETURN QUERY SELECT 'full', s.epoch, 0, NULL::timestamptz, NULL::interval;
        RETURN;
    END IF;
    INSERT INTO attempt (subject_id, attempt_id, epoch) VALUES (p_subject, p_attempt, s.epoch);
    RETURN QUERY SELECT 'admitted', s.epoch, p_limit - s.strikes - taken - 1, NULL::timestamptz, NULL::interval;
END $$;

-- Rule 7, where there is nothing to record: no strikes to clear. 'strikes' leaves everything as it is for the caller to decide.
CREATE FUNCTION settle_right(p_subject uuid, p_attempt uuid, p_earlier uuid[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    s subject;
BEGIN
    SELECT * INTO s FROM subject WHERE subject_id = p_subject FOR UPDATE;
    IF NOT EXISTS (SELECT FROM attempt WHERE subject_id = p_subject AND attempt_id = p_attempt AND epoch = s.epoch) THEN
        RETURN 'refused';
    END IF;
    IF s.strikes > 0 THEN
        RETURN 'strikes';
    END IF;
    DELETE FROM attempt WHERE subject_id = p_subject AND attempt_id = ANY (p_attempt || p_earlier);
    RETURN 'settled';
END $$;

-- The caller holds the subject's lock and decided on the version before these events.
CREATE FUNCTION append_subject(
    p_epoch bigint, p_strikes smallint, p_blocked_at timestamptz,
    p_stream uuid, p_first bigint, p_ids uuid[], p_types text[], p_times timestamptz[], p_datas bytea[], p_secrets bytea[],
    p_publics boolean[], p_traceparent text
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE subject
    SET version = p_first + cardinality(p_ids) - 1, epoch = p_epoch, strikes = p_strikes, blocked_at = p_blocked_at
    WHERE subject_id = p_stream AND version = p_first - 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the subject has moved on';
    END IF;
    PERFORM insert_events(
        p_stream, p_first, p_ids, p_types, p_times, p_datas, p_secrets, p_publics, p_traceparent);
END $$;
