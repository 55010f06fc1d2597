-- Numbers that are linked to another subscriber's account (M16): facts of the account whose number it is, rebuilt from its events.
CREATE TABLE number_link (
    account_id         uuid        NOT NULL,
    -- The account that it is linked to.
    owner_id           uuid        NOT NULL,
    link_id            uuid        NOT NULL,
    -- Of account_id, when it was linked: any new password ends the link, and then the row means nothing.
    credential_version bigint      NOT NULL,
    linked_at          timestamptz NOT NULL,
    PRIMARY KEY (account_id, owner_id)
);
CREATE INDEX number_link_by_owner ON number_link (owner_id);

-- Both follow append_account, in its transaction and under its lock.
CREATE FUNCTION keep_link(
    p_account uuid, p_owner uuid, p_link uuid, p_credential_version bigint, p_linked_at timestamptz
) RETURNS boolean LANGUAGE sql AS $$
    INSERT INTO number_link (account_id, owner_id, link_id, credential_version, linked_at)
    VALUES (p_account, p_owner, p_link, p_credential_version, p_linked_at)
    ON CONFLICT (account_id, owner_id) DO UPDATE SET link_id = excluded.link_id,
        credential_version = excluded.credential_version, linked_at = excluded.linked_at;
    SELECT true;
$$;

CREATE FUNCTION end_link(p_account uuid, p_link uuid) RETURNS boolean LANGUAGE sql AS $$
    DELETE FROM number_link l WHERE l.account_id = p_account AND l.link_id = p_link;
    SELECT true;
$$;
