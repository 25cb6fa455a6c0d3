-- What people do. An incident's state is that of its column: people and what became of its actions change it, while its body
-- says how it began.
ALTER TABLE incident ADD COLUMN resolution TEXT;
ALTER TABLE incident ADD COLUMN closed_at BIGINT;

-- Whom nobody is told about for a while.
CREATE TABLE silence (
    id TEXT NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX silence_ends ON silence (ends_at);

-- Wall time of an action's first attempt: budgets are checked once more by it.
ALTER TABLE action ADD COLUMN begun_at BIGINT;
CREATE INDEX action_begun ON action (begun_at) WHERE begun_at IS NOT NULL;
