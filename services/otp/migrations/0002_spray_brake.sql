-- The brake for the whole system (B4): what a spray at many subjects does is seen in no single subject's budget.
-- Not rebuilt: the counters of the last day, and `brake.until`, a lease.

-- In shards and stretches of time, so that counting does not put all checks in one line behind one row. Kind 1: checks made that
-- were not right; kind 2: codes issued, decoys included.
CREATE TABLE spray_count (
    kind   smallint    NOT NULL,
    bucket timestamptz NOT NULL,
    shard  smallint    NOT NULL,
    count  integer     NOT NULL,
    PRIMARY KEY (kind, bucket, shard)
) WITH (fillfactor = 50);

-- Codes shorter than this are neither issued nor checked until then. `version` is its stream's, so a row is never removed.
CREATE TABLE brake (
    digits  smallint    PRIMARY KEY,
    until   timestamptz NOT NULL,
    version bigint      NOT NULL
);

-- The last lock of a transaction, and the only one of its kind in it. A window is kept as 24 stretches.
CREATE FUNCTION count_spray(p_kind smallint, p_subject uuid, p_at timestamptz, p_window interval, p_by integer) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO spray_count AS s (kind, bucket, shard, count)
    VALUES (p_kind, date_bin(p_window / 24, p_at, 'epoch'), get_byte(uuid_send(p_subject), 15) % 8, p_by)
    ON CONFLICT (kind, bucket, shard) DO UPDATE SET count = s.count + excluded.count
$$;

-- The digits that a code must have: as counted now, and as an earlier trip still holds it; 0: any. Each array: the count from
-- which 6 and from which 8 are needed. What others have counted and not committed yet is not seen: the overshoot is at most one
-- a connection.
CREATE FUNCTION spray_digits(
    p_wrong_window interval, p_wrong_from integer[], p_issued_window interval, p_issued_from integer[],
    OUT counted smallint, OUT held smallint
) LANGUAGE plpgsql AS $$
DECLARE
    v_now    timestamptz := clock_timestamp();
    v_wrong  bigint;
    v_issued bigint;
BEGIN
    SELECT coalesce(sum(s.count), 0) INTO v_wrong FROM spray_count s
    WHERE s.kind = 1 AND s.bucket > v_now - p_wrong_window - p_wrong_window / 24;
    SELECT coalesce(sum(s.count), 0) INTO v_issued FROM spray_count s
    WHERE s.kind = 2 AND s.bucket > v_now - p_issued_window - p_issued_window / 24;
    counted := CASE
        WHEN v_wrong >= p_wrong_from[2] OR v_issued >= p_issued_from[2] THEN 8
        WHEN v_wrong >= p_wrong_from[1] OR v_issued >= p_issued_from[1] THEN 6
        ELSE 0
    END;
    held := coalesce((SELECT max(b.digits) FROM brake b WHERE b.until > v_now), 0);
END $$;

-- A right check was no wrong one: not the subject's, and not the system's.
CREATE FUNCTION give_back_check(p_subject uuid, p_counted_at timestamptz, p_window interval) RETURNS void LANGUAGE sql AS $$
    UPDATE subject_budget SET wrong_at = array_remove(wrong_at, p_counted_at) WHERE subject_id = p_subject;
    SELECT count_spray(1::smallint, p_subject, p_counted_at, p_window, -1);
$$;
