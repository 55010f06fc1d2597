-- How a message travels is said by its issuer at the claim, and may be said otherwise at the next try: so it can't be what keeps
-- an event from asking twice. An event asks for one message.
ALTER TABLE message ALTER COLUMN channel DROP NOT NULL,
    DROP CONSTRAINT message_cause_event_id_channel_key,
    ADD CONSTRAINT message_of_an_event UNIQUE (cause_event_id);
