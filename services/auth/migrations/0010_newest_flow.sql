-- One-time passwords that were asked for on the site have a flow each; whoever comes without a grant means the newest.
CREATE INDEX flow_by_subject ON flow (subject_id, purpose, expires_at);
