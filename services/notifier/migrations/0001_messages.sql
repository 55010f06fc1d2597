-- Messages on their way. No text, code or destination stands here or anywhere else in this database (mission row B2):
-- they are claimed from the service that owns them each time, and forgotten.

CREATE TABLE message (
    notification_id uuid        PRIMARY KEY,
    cause_event_id  uuid        NOT NULL,
    cause_stream_id uuid        NOT NULL,
    kind            text        NOT NULL,
    channel         text        NOT NULL,
    state           text        NOT NULL
        CHECK (state IN ('pending', 'submitting', 'submitted', 'delivered', 'failed', 'ambiguous', 'void')),
    -- Of the message's event stream.
    version         bigint      NOT NULL DEFAULT 0,
    attempt         integer     NOT NULL DEFAULT 0,
    resends         integer     NOT NULL DEFAULT 0,
    tries           integer     NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT now(),
    deadline        timestamptz NOT NULL,
    -- What its issuer is to be told, and whether it has been.
    report          text        CHECK (report IN ('sent', 'failed')),
    reported        boolean     NOT NULL DEFAULT false,
    -- When there is something to do; null: never again. A lease moves it on, so that a dead worker's message comes up by itself.
    due_at          timestamptz,
    lease           uuid,
    traceparent     text,
    UNIQUE (cause_event_id, channel)
) WITH (fillfactor = 70);

CREATE INDEX message_is_due ON message (due_at) WHERE due_at IS NOT NULL;

-- One part of a submitted message, under the id that the provider gave it.
CREATE TABLE part (
    smsc_id         text    NOT NULL,
    smsc_message_id text    NOT NULL,
    notification_id uuid    NOT NULL REFERENCES message,
    attempt         integer NOT NULL,
    number          integer NOT NULL,
    state           text    NOT NULL CHECK (state IN ('underway', 'delivered', 'expired', 'undeliverable')),
    PRIMARY KEY (smsc_id, smsc_message_id)
);
CREATE INDEX part_of_message ON part (notification_id);

-- Receipts that came before the answer to their submit was stored. The newest word on an id counts.
CREATE TABLE early_receipt (
    smsc_id         text        NOT NULL,
    smsc_message_id text        NOT NULL,
    state           text        NOT NULL CHECK (state IN ('delivered', 'expired', 'undeliverable')),
    received_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (smsc_id, smsc_message_id)
);
CREATE INDEX early_receipt_age ON early_receipt (received_at);
