-- A decoy must not be told from a code by the number of round trips, nor a subject never seen from one that was.

-- The first statement of issuing: makes the subject's budget if need be, and locks it.
CREATE FUNCTION lock_budget(p_subject uuid) RETURNS subject_budget LANGUAGE plpgsql AS $$
DECLARE
    v_budget subject_budget;
BEGIN
    -- Always, not only if the row is missing: else a subject met for the first time costs two statements more.
    INSERT INTO subject_budget (subject_id) VALUES (p_subject) ON CONFLICT DO NOTHING;
    SELECT * INTO v_budget FROM subject_budget WHERE subject_id = p_subject FOR UPDATE;
    RETURN v_budget;
END $$;
