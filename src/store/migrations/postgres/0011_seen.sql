-- Of a notice: up to which of its incident's actions it told, by their `seq`.
ALTER TABLE action_attempt ADD COLUMN seen_seq BIGINT;
