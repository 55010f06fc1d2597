-- Time is the database's, so a test moves the database's clock: this schema's clock_timestamp() and now() hide PostgreSQL's own.

CREATE SCHEMA clock;
CREATE TABLE clock.ahead (by interval NOT NULL);
INSERT INTO clock.ahead VALUES ('0');

CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT pg_catalog.clock_timestamp() + (SELECT by FROM clock.ahead)
$$;

CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT pg_catalog.now() + (SELECT by FROM clock.ahead)
$$;

-- A default is bound to its function when the table is made.
ALTER TABLE IF EXISTS attempt ALTER COLUMN admitted_at SET DEFAULT clock.clock_timestamp();

-- For connections made from here on. Nothing crashes here that would be missed.
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = clock, pg_catalog, public', current_database());
    EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
END $$;
