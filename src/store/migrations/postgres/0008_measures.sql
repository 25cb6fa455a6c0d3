-- When what was done for a while is to be taken back; absent where it holds for good, or was taken back.
ALTER TABLE action ADD COLUMN undo_at BIGINT;
CREATE INDEX action_undo ON action (undo_at) WHERE undo_at IS NOT NULL;
