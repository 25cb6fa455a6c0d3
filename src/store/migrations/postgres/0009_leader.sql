-- Who leads of the daemons on this store: in which term, and until when by this database's clock. The term is a key, so
-- that whoever begins another waits for the transactions of the one before, and a renewal waits for nobody.
CREATE TABLE leader (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    term BIGINT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    process TEXT NOT NULL,
    since BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
-- By which metrics tell one store from another.
INSERT INTO meta (name, value) VALUES ('store_id', substr(md5(random()::text || clock_timestamp()::text), 1, 8));
