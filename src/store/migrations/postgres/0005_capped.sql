-- Messages of a receiver are counted by the hour; what it was not told one by one, a bulletin tells.
ALTER TABLE action_attempt ADD COLUMN bulletin_id TEXT;
CREATE INDEX action_attempt_performer ON action_attempt (performer, started_at);
CREATE INDEX action_attempt_capped ON action_attempt (performer) WHERE result = 'capped' AND bulletin_id IS NULL;
