-- Captchas that were used, right or wrong: a lease, removed some time after the captcha itself has expired.
CREATE TABLE used_captcha (
    -- Of a picture its random id, of an outside service's token the SHA-256 of its own.
    captcha_id bytea       PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX used_captcha_by_expiry ON used_captcha (expires_at);
