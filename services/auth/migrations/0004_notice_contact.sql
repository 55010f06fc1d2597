-- Whom a notice tells who is not on file any more: sealed with the account's own key, as the contact on file is. Null: whoever is
-- on file when the notice is claimed.
ALTER TABLE notice ADD COLUMN contact bytea;

-- After append_account, in its transaction and under its lock.
CREATE FUNCTION tell_replaced(p_account uuid, p_events uuid[], p_contacts bytea[]) RETURNS boolean LANGUAGE sql AS $$
    UPDATE notice n SET contact = replaced.contact
    FROM unnest(p_events, p_contacts) AS replaced (event_id, contact)
    WHERE n.account_id = p_account AND n.event_id = replaced.event_id;
    SELECT true;
$$;
