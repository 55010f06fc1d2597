-- The trace of an event's request goes with the event, so that its record is the same whenever it is published.
ALTER TABLE event ADD COLUMN traceparent text;
ALTER TABLE outbox DROP COLUMN traceparent;

CREATE OR REPLACE FUNCTION insert_events(
    p_stream uuid, p_first bigint, p_ids uuid[], p_types text[], p_times timestamptz[], p_datas bytea[], p_secrets bytea[],
    p_publics boolean[], p_traceparent text
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO event (stream_id, version, event_id, type, occurred_at, data, secret, is_public, traceparent)
    SELECT p_stream, p_first + e.n - 1, e.id, e.type, e.at, e.data, e.secret, e.is_public, p_traceparent
    FROM unnest(p_ids, p_types, p_times, p_datas, p_secrets, p_publics)
         WITH ORDINALITY AS e (id, type, at, data, secret, is_public, n);

    INSERT INTO outbox (stream_id, version)
    SELECT p_stream, p_first + e.n - 1
    FROM unnest(p_publics) WITH ORDINALITY AS e (is_public, n)
    WHERE e.is_public
    ORDER BY e.n;
$$;

-- An operator's wish that the relay publish history again, and how far it has come: in order of (stream_id, version).
CREATE TABLE republication (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Only events since then; null: all.
    since        timestamptz,
    -- What has been published already: this event and all before it.
    stream_id    uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    version      bigint      NOT NULL DEFAULT 0,
    published    bigint      NOT NULL DEFAULT 0,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz
);
