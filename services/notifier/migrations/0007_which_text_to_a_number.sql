-- Counts the texts that were begun to a number. A handset joins the parts that come from one sender and bear one reference
-- (3GPP TS 23.040 9.2.3.24.1): two texts that are on their way to it at once must not have the same (docs/adr/0039).
-- Never given back. Rows of ranges and countries have it too; nobody reads it there.
ALTER TABLE sending_count ADD COLUMN reference bigint NOT NULL DEFAULT 0;
