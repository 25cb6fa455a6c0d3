-- The canary that is on its way through the outbox, if one is: in which queue it waits, who sent it and when.
CREATE TABLE canary (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    queue TEXT NOT NULL,
    sender TEXT NOT NULL,
    sent_at BIGINT NOT NULL
);
