-- Whoever knows a number may guess at the newest one-time password that was asked for with it: that takes none of the tries of
-- whoever holds the grant of its flow. Like `tries` a count of checks begun, and not rebuilt.
ALTER TABLE challenge ADD COLUMN other_tries smallint NOT NULL DEFAULT 0 CHECK (other_tries <= max_tries);

-- begin_check of somebody who holds no grant of the flow. `tries`, as it is returned, counts the checks without one.
CREATE FUNCTION begin_check_without_grant(
    p_id uuid, p_subject uuid, p_flow uuid, p_purpose smallint, p_window interval, p_wrong_limits int[],
    p_spray_wrong_from int[], p_spray_issued_window interval, p_spray_issued_from int[]
) RETURNS TABLE (
    outcome text, counted smallint, held smallint,
    now timestamptz, id uuid, version bigint, subject_id uuid, flow_id uuid, purpose smallint, digits smallint,
    max_tries smallint, is_decoy boolean, code_mac bytea, issued_at timestamptz, expires_at timestamptz, state text,
    failures smallint, tries smallint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v record;
BEGIN
    -- begin_check's own first lock: from here on nobody else counts a check of this subject.
    PERFORM FROM subject_budget b WHERE b.subject_id = p_subject FOR UPDATE;
    PERFORM FROM challenge c WHERE c.id = p_id AND c.other_tries < c.max_tries;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT * INTO v FROM begin_check(
        p_id, p_subject, p_flow, p_purpose, p_window, p_wrong_limits, p_spray_wrong_from, p_spray_issued_window,
        p_spray_issued_from);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF v.outcome = 'made' THEN
        UPDATE challenge c SET tries = c.tries - 1, other_tries = c.other_tries + 1 WHERE c.id = p_id
        RETURNING c.other_tries INTO v.tries;
    END IF;
    RETURN QUERY
    SELECT v.outcome, v.counted, v.held, v.now, v.id, v.version, v.subject_id, v.flow_id, v.purpose, v.digits, v.max_tries,
           v.is_decoy, v.code_mac, v.issued_at, v.expires_at, v.state, v.failures, v.tries;
END $$;
