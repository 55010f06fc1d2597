-- What the protocol's trace says of a subject, asked as the last thing in a transaction that holds the subject's lock; nobody
-- asks while tracing is off. VOLATILE, so that it sees what was committed while its statement waited for the lock.
--
-- place: orders what happened to one subject. Locking a row writes to the log, so whoever gets the lock later finds its end
-- further on. A transaction's id would not do: the sweep has one for many subjects, and a new subject's may be older than
-- that of the transaction it waited for.
CREATE FUNCTION subject_now(p_subject uuid) RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    s     subject;
    taken bigint;
BEGIN
    SELECT * INTO s FROM subject WHERE subject_id = p_subject;
    SELECT count(*) INTO taken FROM attempt WHERE subject_id = p_subject;
    RETURN ARRAY[(pg_current_wal_insert_lsn() - '0/0')::bigint, coalesce(s.version, 0), coalesce(s.epoch, 0),
                 coalesce(s.strikes, 0), taken];
END $$;
