-- What happens to somebody unknown is not published, and must cost the same: every event waits in the outbox, and the relay
-- publishes the public ones.
CREATE OR REPLACE FUNCTION insert_events(
    p_stream uuid, p_first bigint, p_ids uuid[], p_types text[], p_times timestamptz[], p_datas bytea[], p_secrets bytea[],
    p_publics boolean[], p_traceparent text
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO event (stream_id, version, event_id, type, occurred_at, data, secret, is_public, traceparent)
    SELECT p_stream, p_first + e.n - 1, e.id, e.type, e.at, e.data, e.secret, e.is_public, p_traceparent
    FROM unnest(p_ids, p_types, p_times, p_datas, p_secrets, p_publics)
         WITH ORDINALITY AS e (id, type, at, data, secret, is_public, n);

    INSERT INTO outbox (stream_id, version)
    SELECT p_stream, p_first + e.n - 1 FROM generate_series(1, cardinality(p_ids)) AS e (n) ORDER BY e.n;
$$;
