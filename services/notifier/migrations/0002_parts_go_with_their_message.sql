-- A rebuild removes messages that no event explains, and with them the ids under which receipts for them would come.
ALTER TABLE part DROP CONSTRAINT part_notification_id_fkey,
    ADD FOREIGN KEY (notification_id) REFERENCES message ON DELETE CASCADE;
