-- What became of the messages that a challenge or an account asked for, the newest first (mission row M11).
CREATE INDEX message_of_a_cause ON message (cause_stream_id, notification_id);

-- The least UUIDv7 of a moment (RFC 9562, 5.7): all that are made later are greater.
CREATE FUNCTION id_at(p_time timestamptz) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT rpad(lpad(to_hex((extract(epoch FROM p_time) * 1000)::bigint), 12, '0'), 32, '0')::uuid;
$$;
