-- What is told of many incidents at once: daily digests, and summaries of what came too late to act on. One that is sent
-- is an action too, whose `incident_id` is the bulletin's id; a digest with nothing to tell is kept as a mark of its day.
CREATE TABLE bulletin (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    receiver TEXT,
    until_at BIGINT NOT NULL,
    sent BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX bulletin_receiver ON bulletin (kind, receiver, until_at);

-- When an action was held for its age, and the summary that told of it.
ALTER TABLE action ADD COLUMN too_old_at BIGINT;
ALTER TABLE action ADD COLUMN bulletin_id TEXT;
CREATE INDEX action_too_old ON action (too_old_at) WHERE too_old_at IS NOT NULL AND bulletin_id IS NULL;
CREATE INDEX action_bulletin ON action (bulletin_id) WHERE bulletin_id IS NOT NULL;
