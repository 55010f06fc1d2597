-- When the stream last heard its own beat; a lease. One row, written every few seconds, so that those who ask can tell whether the
-- soft limits are kept at all.
CREATE TABLE stream_beat (
    only_one boolean     PRIMARY KEY DEFAULT true CHECK (only_one),
    at       timestamptz NOT NULL
);
