-- account and session are facts, rebuilt from events; flow, notice and identifier reservations are leases, and are not.

CREATE TABLE account (
    account_id         uuid   PRIMARY KEY,
    version            bigint NOT NULL,
    -- Of the permanent password; only grows. Lockout knows it as the epoch.
    credential_version bigint NOT NULL,
    -- Sealed with the account's own key: the Argon2 hash; the phone and the language.
    password           bytea  NOT NULL,
    contact            bytea  NOT NULL,
    -- Attempts whose LoginFailed is stored since the last success or new password: what a success forgives.
    open_failures      uuid[] NOT NULL
);

-- Deleting it erases everything that is sealed with it, in the state and in the history.
CREATE TABLE account_key (
    account_id uuid  PRIMARY KEY,
    wrapped    bytea NOT NULL
);

CREATE TABLE session (
    account_id uuid        NOT NULL,
    session_id uuid        NOT NULL,
    token_hash bytea       NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz,
    PRIMARY KEY (account_id, session_id)
);

-- From what a subscriber types to the account, by a keyed hash. reserved_until: not confirmed yet.
CREATE TABLE identifier (
    lookup         bytea PRIMARY KEY,
    account_id     uuid  NOT NULL,
    reserved_until timestamptz
);

-- The stream of an identifier that resolves to nothing, by its monthly pseudonym.
CREATE TABLE stranger (
    stranger_id uuid   PRIMARY KEY,
    version     bigint NOT NULL
);

-- A registration or recovery under way. The grant of the step reached is kept as a hash.
CREATE TABLE flow (
    flow_id      uuid        PRIMARY KEY,
    purpose      smallint    NOT NULL,
    step         smallint    NOT NULL,
    grant_hash   bytea       NOT NULL,
    challenge_id uuid        NOT NULL,
    -- Whose code it is: the account, or the guard of an identifier that resolves to nothing.
    subject_id   uuid        NOT NULL,
    account_id   uuid,
    -- Sealed with the key of the flows.
    details      bytea       NOT NULL,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX flow_by_expiry ON flow (expires_at);

-- What the notifier may claim a recipient for, once, by the id of the event that asked for it.
CREATE TABLE notice (
    account_id  uuid        NOT NULL,
    event_id    uuid        NOT NULL,
    expires_at  timestamptz NOT NULL,
    claimant    text,
    claimed_at  timestamptz,
    lease_until timestamptz,
    closed_at   timestamptz,
    PRIMARY KEY (account_id, event_id)
);

-- Locks the account, compares the version, writes the events and the state that they make. False: it has moved on.
-- p_version is the version that the decision was made on; 0 makes the account.
CREATE FUNCTION append_account(
    p_version bigint, p_credential_version bigint, p_password bytea, p_contact bytea, p_open_failures uuid[],
    p_session uuid, p_token_hash bytea, p_expires_at timestamptz, p_end_all_but uuid, p_notices uuid[],
    p_notice_lifetime interval,
    p_stream uuid, p_first bigint, p_ids uuid[], p_types text[], p_times timestamptz[], p_datas bytea[], p_secrets bytea[],
    p_publics boolean[], p_traceparent text
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_version bigint := p_first + cardinality(p_ids) - 1;
BEGIN
    IF p_version = 0 THEN
        INSERT INTO account (account_id, version, credential_version, password, contact, open_failures)
        VALUES (p_stream, v_version, p_credential_version, p_password, p_contact, p_open_failures)
        ON CONFLICT DO NOTHING;
    ELSE
        UPDATE account
        SET version = v_version, credential_version = p_credential_version, password = p_password, contact = p_contact,
            open_failures = p_open_failures
        WHERE account_id = p_stream AND version = p_version;
    END IF;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM insert_events(
        p_stream, p_first, p_ids, p_types, p_times, p_datas, p_secrets, p_publics, p_traceparent);
    IF p_end_all_but IS NOT NULL THEN
        UPDATE session SET ended_at = p_times[1]
        WHERE account_id = p_stream AND session_id <> p_end_all_but AND ended_at IS NULL;
    END IF;
    IF p_session IS NOT NULL THEN
        INSERT INTO session (account_id, session_id, token_hash, expires_at)
        VALUES (p_stream, p_session, p_token_hash, p_expires_at);
    END IF;
    IF cardinality(p_notices) > 0 THEN
        INSERT INTO notice (account_id, event_id, expires_at)
        SELECT p_stream, id, clock_timestamp() + p_notice_lifetime FROM unnest(p_notices) AS id;
    END IF;
    RETURN true;
END $$;

CREATE FUNCTION append_stranger(
    p_version bigint,
    p_stream uuid, p_first bigint, p_ids uuid[], p_types text[], p_times timestamptz[], p_datas bytea[], p_secrets bytea[],
    p_publics boolean[], p_traceparent text
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_version bigint := p_first + cardinality(p_ids) - 1;
BEGIN
    IF p_version = 0 THEN
        INSERT INTO stranger (stranger_id, version) VALUES (p_stream, v_version) ON CONFLICT DO NOTHING;
    ELSE
        UPDATE stranger SET version = v_version WHERE stranger_id = p_stream AND version = p_version;
    END IF;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM insert_events(
        p_stream, p_first, p_ids, p_types, p_times, p_datas, p_secrets, p_publics, p_traceparent);
    RETURN true;
END $$;
