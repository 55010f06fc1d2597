-- The event store and its outbox, the same in every service's database.

CREATE TABLE event (
    stream_id   uuid        NOT NULL,
    version     bigint      NOT NULL CHECK (version > 0),
    event_id    uuid        NOT NULL,
    type        text        NOT NULL,
    occurred_at timestamptz NOT NULL,
    -- The protobuf message, the very bytes that are published.
    data        bytea       NOT NULL,
    -- What belongs to the fact and may never leave the store, sealed with the key of the one whom it concerns.
    secret      bytea,
    is_public   boolean     NOT NULL,
    PRIMARY KEY (stream_id, version)
);

-- Insert-only: history is not edited, by nobody's mistake either.
CREATE FUNCTION refuse_to_edit_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are insert-only';
END $$;
CREATE TRIGGER event_is_insert_only BEFORE UPDATE OR DELETE ON event
    FOR EACH ROW EXECUTE FUNCTION refuse_to_edit_history();

-- One row for each event still to be published. Read whole and in order of id, never by "id > cursor": ids commit out of order.
CREATE TABLE outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream_id   uuid   NOT NULL,
    version     bigint NOT NULL,
    traceparent text
);

-- Inserts events p_first, p_first + 1, … The caller holds the stream's lock and has compared its version.
CREATE FUNCTION insert_events(
    p_stream uuid, p_first bigint, p_ids uuid[], p_types text[], p_times timestamptz[], p_datas bytea[], p_secrets bytea[],
    p_publics boolean[], p_traceparent text
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO event (stream_id, version, event_id, type, occurred_at, data, secret, is_public)
    SELECT p_stream, p_first + e.n - 1, e.id, e.type, e.at, e.data, e.secret, e.is_public
    FROM unnest(p_ids, p_types, p_times, p_datas, p_secrets, p_publics)
         WITH ORDINALITY AS e (id, type, at, data, secret, is_public, n);

    INSERT INTO outbox (stream_id, version, traceparent)
    SELECT p_stream, p_first + e.n - 1, p_traceparent
    FROM unnest(p_publics) WITH ORDINALITY AS e (is_public, n)
    WHERE e.is_public
    ORDER BY e.n;
$$;

-- Per consumer and stream, the highest version whose effect is in this database (docs/architecture.md, rule 3).
CREATE TABLE consumer_mark (
    consumer  text   NOT NULL,
    stream_id uuid   NOT NULL,
    version   bigint NOT NULL,
    PRIMARY KEY (consumer, stream_id)
);
