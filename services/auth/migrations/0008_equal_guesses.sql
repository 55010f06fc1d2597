-- A guess that did not succeed is written by the same work for an account and for a stranger's stream.
-- False: the stream has moved on, and nothing was written.
CREATE FUNCTION append_guess(
    p_known boolean, p_version bigint, p_open_failures uuid[],
    p_stream uuid, p_first bigint, p_ids uuid[], p_types text[], p_times timestamptz[], p_datas bytea[], p_secrets bytea[],
    p_publics boolean[], p_traceparent text
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_version bigint := p_first + cardinality(p_ids) - 1;
BEGIN
    IF p_known THEN
        UPDATE account SET version = v_version, open_failures = p_open_failures
        WHERE account_id = p_stream AND version = p_version;
    ELSIF p_version = 0 THEN
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

DROP FUNCTION append_stranger;
