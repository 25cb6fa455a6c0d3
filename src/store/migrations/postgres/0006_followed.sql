-- Incidents at receivers that know them as states: what each was told last, and when it is looked at again. `memo` is what
-- the receiver answered, `before_memo` that of the telling which this one has replaced.
CREATE TABLE followed (
    receiver TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    phase TEXT NOT NULL,
    since BIGINT NOT NULL,
    told_at BIGINT NOT NULL,
    sent_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    memo TEXT NOT NULL,
    before_memo TEXT,
    PRIMARY KEY (receiver, incident_id)
);
CREATE INDEX followed_due ON followed (receiver, due_at);
