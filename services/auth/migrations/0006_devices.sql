-- The devices that signed in last (M20), as marks under the account's own key: without the key they are random bytes.
-- The last one first; how many is the decider's to say.
ALTER TABLE account ADD COLUMN devices bytea[] NOT NULL DEFAULT '{}';

-- When a subscriber was last told of something that is told of once in a while: a limit, and not rebuilt.
CREATE TABLE told (
    account_id uuid        NOT NULL,
    kind       text        NOT NULL,
    told_at    timestamptz NOT NULL,
    PRIMARY KEY (account_id, kind)
);

-- After append_account, in its transaction and under its lock: what few appends need, so that the others don't pay for it.
CREATE FUNCTION keep_devices(p_account uuid, p_devices bytea[]) RETURNS boolean LANGUAGE sql AS $$
    UPDATE account SET devices = p_devices WHERE account_id = p_account AND devices <> p_devices;
    SELECT true;
$$;

-- A notice for each event. p_quiets: of that kind none is told within this of the one before; null: none at all.
-- What is not told is closed from the start, so that a claim of it is void at once.
CREATE FUNCTION open_notices(p_account uuid, p_events uuid[], p_kinds text[], p_quiets interval[], p_lifetime interval)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_tell boolean;
BEGIN
    FOR i IN 1 .. cardinality(p_events) LOOP
        v_tell := p_quiets[i] IS NOT NULL;
        IF p_quiets[i] > interval '0' THEN
            INSERT INTO told AS t (account_id, kind, told_at) VALUES (p_account, p_kinds[i], v_now)
            ON CONFLICT (account_id, kind) DO UPDATE SET told_at = excluded.told_at
            WHERE t.told_at <= excluded.told_at - p_quiets[i];
            v_tell := FOUND;
        END IF;
        INSERT INTO notice (account_id, event_id, expires_at, closed_at)
        VALUES (p_account, p_events[i], v_now + p_lifetime, CASE WHEN NOT v_tell THEN v_now END);
    END LOOP;
    RETURN true;
END $$;
