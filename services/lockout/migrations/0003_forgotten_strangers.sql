-- Blocks of identifiers that resolve to nothing come to an end (rule 12): the longest are found without a look at the others.
CREATE INDEX subject_strangers_block ON subject (blocked_at) WHERE stranger AND blocked_at IS NOT NULL;
