-- What named calls came to, so that one whose answer was lost can be repeated. Not rebuilt: minutes old at most.
CREATE TABLE kept_answer (
    -- MACs of the method and the request's id, and of the whole request.
    key      bytea       PRIMARY KEY,
    body     bytea       NOT NULL,
    begun_at timestamptz NOT NULL,
    -- Sealed; null: the call has not ended.
    answer   bytea
);
CREATE INDEX kept_answer_age ON kept_answer (begun_at);
