-- How many SMS went to each number, range of numbers and country. None of them stands here: keys are MACs under a key of the
-- notifier's own (mission rows M10, B2, B3). A row is locked while an SMS is counted in it.
CREATE TABLE sending_count (
    key               bytea       PRIMARY KEY,
    -- Of its SendingLimitTripped: drawn for this row, and forgotten with it.
    stream_id         uuid        NOT NULL DEFAULT gen_random_uuid(),
    version           bigint      NOT NULL DEFAULT 0,
    -- Sixtieths of the limit's time, counted from 1970, and the SMS of each.
    slots             bigint[]    NOT NULL DEFAULT '{}',
    counts            integer[]   NOT NULL DEFAULT '{}' CHECK (cardinality(counts) = cardinality(slots)),
    -- When it was last said that the limit refuses who has no account, and that it refuses all.
    told_strangers_at timestamptz,
    told_all_at       timestamptz,
    touched_at        timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);

CREATE INDEX sending_count_age ON sending_count (touched_at);
