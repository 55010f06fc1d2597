-- A decoy must not be told from a code by the number of round trips, nor a subject never seen from one that was.

-- The first statement of issuing: locks the subject's budget, and makes it first if need be.
CREATE FUNCTION lock_budget(p_subject uuid) RETURNS subject_budget LANGUAGE plpgsql AS $$
DECLARE
    v_budget subject_budget;
BEGIN
    SELECT * INTO v_budget FROM subject_budget WHERE subject_id = p_subject FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO subject_budget (subject_id) VALUES (p_subject) ON CONFLICT DO NOTHING;
        SELECT * INTO v_budget FROM subject_budget WHERE subject_id = p_subject FOR UPDATE;
    END IF;
    RETURN v_budget;
END $$;
