-- Which text to a number it is. A handset joins the parts that come from one sender and bear one reference (3GPP TS 23.040
-- 9.2.3.24.1): two texts that are on their way to it at once must not have the same. Never given back, so that it is given once.
ALTER TABLE sending_count ADD COLUMN reference bigint NOT NULL DEFAULT 0;
