-- Subscribers' texts on their way to auth. Bodies and senders are sealed to auth's key: nothing here can open them. Senders and
-- repetitions are recognised by MACs under a key of the notifier's own (mission rows M6, B2, B3).

-- Whoever has sent a text lately. Its row is locked while a text of that sender is taken in.
CREATE TABLE inbound_sender (
    sender  bytea         PRIMARY KEY,
    -- When the texts of the last day came, the oldest first: what the limit counts.
    texts   timestamptz[] NOT NULL DEFAULT '{}',
    -- When it was last said that this sender is over the limit.
    told_at timestamptz
);

CREATE TABLE inbound (
    -- The stream of its SmsReceived.
    inbound_id     uuid        PRIMARY KEY,
    sender         bytea       NOT NULL,
    destination    text        NOT NULL,
    -- 0: a whole text. 1, 2: a header with an 8-bit or 16-bit reference. 3: SAR parameters.
    reference_kind smallint    NOT NULL CHECK (reference_kind BETWEEN 0 AND 3),
    reference      integer     NOT NULL,
    total          smallint    NOT NULL CHECK (total > 0),
    data_coding    smallint    NOT NULL,
    -- gathering: parts are missing. received: auth may claim it. done: kept while a repetition is to be recognised.
    state          text        NOT NULL CHECK (state IN ('gathering', 'received', 'done')),
    started_at     timestamptz NOT NULL,
    completed_at   timestamptz,
    expires_at     timestamptz NOT NULL,
    claimant       text,
    claimed_at     timestamptz,
    lease_until    timestamptz
);
CREATE INDEX inbound_of_sender ON inbound (sender);
-- Two texts of one sender under one reference can't both be waiting for parts.
CREATE UNIQUE INDEX inbound_gathering ON inbound (sender, destination, reference_kind, reference) WHERE state = 'gathering';

CREATE TABLE inbound_part (
    inbound_id  uuid        NOT NULL REFERENCES inbound ON DELETE CASCADE,
    number      smallint    NOT NULL CHECK (number > 0),
    received_at timestamptz NOT NULL,
    -- A MAC of all that the part says. Null once a repetition would be a new text: a MAC of a password can be guessed at.
    digest      bytea,
    -- Null once auth has acted on the text.
    sealed      bytea,
    PRIMARY KEY (inbound_id, number)
);
