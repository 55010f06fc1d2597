-- Recovery at an office (M18). contact_change is a fact, rebuilt from events; the others are leases and limits, and are not.

-- A phone number that waits to be put on file: for a second approver, then for its time.
CREATE TABLE contact_change (
    account_id         uuid        PRIMARY KEY,
    change_id          uuid        NOT NULL,
    -- Sealed with the account's own key.
    phone              bytea       NOT NULL,
    -- A keyed hash of the member of staff who asked.
    requested_by       bytea       NOT NULL,
    -- Of the account when it was asked for: any new password makes it void.
    credential_version bigint      NOT NULL,
    approve_by         timestamptz NOT NULL,
    -- Null: not approved yet.
    due_at             timestamptz
);
CREATE UNIQUE INDEX contact_change_by_id ON contact_change (change_id);

-- What still has to follow a ContactChanged: the new identifier is to be confirmed, the old one (if any) to be removed.
CREATE TABLE identifier_move (
    account_id uuid  PRIMARY KEY,
    new_lookup bytea NOT NULL,
    old_lookup bytea
);

-- Assertions of staff that were used, until they expire.
CREATE TABLE used_assertion (
    assertion_id bytea       PRIMARY KEY,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX used_assertion_by_expiry ON used_assertion (expires_at);

-- Calls of a member of staff (by a keyed hash) on one day, UTC.
CREATE TABLE staff_day (
    staff bytea NOT NULL,
    day   date  NOT NULL,
    calls int   NOT NULL,
    PRIMARY KEY (staff, day)
);

-- Numbers (by the hash of identifiers) that an office named for an account lately: not to be named for another one.
CREATE TABLE office_phone (
    lookup     bytea       PRIMARY KEY,
    account_id uuid        NOT NULL,
    until      timestamptz NOT NULL
);

-- The next three follow append_account, in its transaction and under its lock.
CREATE FUNCTION keep_contact_change(
    p_account uuid, p_change uuid, p_phone bytea, p_requested_by bytea, p_credential_version bigint, p_approve_by timestamptz,
    p_due_at timestamptz
) RETURNS boolean LANGUAGE sql AS $$
    INSERT INTO contact_change (account_id, change_id, phone, requested_by, credential_version, approve_by, due_at)
    VALUES (p_account, p_change, p_phone, p_requested_by, p_credential_version, p_approve_by, p_due_at)
    ON CONFLICT (account_id) DO UPDATE SET change_id = excluded.change_id, phone = excluded.phone,
        requested_by = excluded.requested_by, credential_version = excluded.credential_version,
        approve_by = excluded.approve_by, due_at = excluded.due_at;
    SELECT true;
$$;

CREATE FUNCTION end_contact_change(p_account uuid) RETURNS boolean LANGUAGE sql AS $$
    DELETE FROM contact_change c WHERE c.account_id = p_account;
    SELECT true;
$$;

CREATE FUNCTION carry_contact_change_out(p_account uuid, p_new bytea, p_old bytea) RETURNS boolean LANGUAGE sql AS $$
    INSERT INTO identifier_move (account_id, new_lookup, old_lookup) VALUES (p_account, p_new, p_old);
    DELETE FROM contact_change WHERE account_id = p_account;
    SELECT true;
$$;
