-- When a subscriber's SMS that was no command was last answered: a limit, and not rebuilt.
CREATE TABLE sms_help (
    account_id uuid        PRIMARY KEY,
    helped_at  timestamptz NOT NULL
);
