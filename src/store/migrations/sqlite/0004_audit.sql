-- What was decided and done, chained by hashes; see src/store/audit. Nothing is ever changed here but for a person who is
-- to be forgotten: then `personal`, `salt` and the columns behind `hash` become NULL, and `commitment` says nothing any more.
CREATE TABLE audit_entry (
    seq BIGINT NOT NULL PRIMARY KEY,
    recorded_at BIGINT NOT NULL,
    what TEXT NOT NULL,
    who TEXT NOT NULL,
    body TEXT NOT NULL,
    personal TEXT,
    salt BLOB,
    commitment BLOB,
    hash BLOB NOT NULL,
    user_id TEXT,
    family_id TEXT
);
CREATE INDEX audit_entry_user ON audit_entry (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX audit_entry_family ON audit_entry (family_id) WHERE family_id IS NOT NULL;

-- `base` is the last entry that was pruned, `head` the newest; its row lock makes writers append one after the other.
CREATE TABLE audit_end (
    name TEXT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash BLOB NOT NULL
);
INSERT INTO audit_end (name, seq, hash) VALUES ('base', 0, zeroblob(32)), ('head', 0, zeroblob(32));

-- Users whom the daemon's memory is still to forget: the row goes with the last saved state that knows them.
CREATE TABLE erasure (
    user_id TEXT NOT NULL PRIMARY KEY,
    asked_at BIGINT NOT NULL,
    forgotten_at BIGINT
);
