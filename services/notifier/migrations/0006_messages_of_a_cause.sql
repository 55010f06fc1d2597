-- What became of the messages that a challenge or an account asked for, the newest first (mission row M11).
CREATE INDEX message_of_a_cause ON message (cause_stream_id, notification_id);
