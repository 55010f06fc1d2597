-- When a subscriber's SMS that proposed a password against the policy was answered, of the last day: a limit, and not rebuilt.
CREATE TABLE sms_refusal (
    account_id uuid          PRIMARY KEY,
    refused_at timestamptz[] NOT NULL
);
