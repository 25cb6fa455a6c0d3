-- Times are milliseconds since 1970 UTC. `body` is the whole record as JSON; the columns beside it are those that are searched.

CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- Ids of the tables that are tailed are handed out here, so that they become visible in order.
CREATE TABLE sequence (
    name TEXT NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL
);
INSERT INTO sequence (name, last) VALUES ('own_event', 0), ('inbox', 0);

CREATE TABLE source_partition (
    source TEXT NOT NULL,
    part TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    owner TEXT NOT NULL,
    position TEXT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (source, part)
);

CREATE TABLE detection (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    rule TEXT NOT NULL,
    kind TEXT NOT NULL,
    severity BIGINT NOT NULL,
    event_time BIGINT NOT NULL,
    issuer TEXT NOT NULL,
    tenant TEXT,
    user_id TEXT,
    client_id TEXT,
    family_id TEXT,
    recorded_at BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX detection_user ON detection (user_id, seq);
CREATE INDEX detection_family ON detection (family_id, seq);
CREATE INDEX detection_recorded ON detection (recorded_at);

CREATE TABLE incident (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    issuer TEXT NOT NULL,
    tenant TEXT,
    user_id TEXT,
    client_id TEXT,
    state TEXT NOT NULL,
    severity BIGINT NOT NULL,
    opened_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX incident_state ON incident (state, seq);
CREATE INDEX incident_user ON incident (user_id, seq);

-- No foreign keys here: an absorbed incident keeps its members, and retention removes both ends by itself.
CREATE TABLE incident_member (
    incident_id TEXT NOT NULL,
    detection_id TEXT NOT NULL,
    PRIMARY KEY (incident_id, detection_id)
);
CREATE INDEX incident_member_detection ON incident_member (detection_id);

CREATE TABLE action (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    incident_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    rule TEXT NOT NULL,
    decision TEXT NOT NULL,
    issuer TEXT NOT NULL,
    tenant TEXT,
    user_id TEXT,
    client_id TEXT,
    family_id TEXT,
    event_time BIGINT NOT NULL,
    lane TEXT NOT NULL,
    state TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    approved BIGINT NOT NULL,
    ready_since BIGINT NOT NULL,
    lease_owner TEXT,
    lease_until BIGINT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    outcome TEXT,
    body TEXT NOT NULL
);
CREATE INDEX action_due ON action (state, due_at);
CREATE INDEX action_lane ON action (lane, state);
CREATE INDEX action_incident ON action (incident_id);
CREATE INDEX action_created ON action (created_at);

CREATE TABLE action_attempt (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action_id TEXT NOT NULL REFERENCES action (id) ON DELETE CASCADE,
    performer TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    result TEXT,
    detail TEXT,
    evidence TEXT
);
CREATE INDEX action_attempt_action ON action_attempt (action_id);

CREATE TABLE own_event (
    id BIGINT NOT NULL PRIMARY KEY,
    recorded_at BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE inbox (
    id BIGINT NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    body BYTEA NOT NULL
);
CREATE INDEX inbox_source ON inbox (source, id);

CREATE TABLE reject (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source TEXT NOT NULL,
    part TEXT NOT NULL,
    place TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    body TEXT NOT NULL,
    recorded_at BIGINT NOT NULL
);
CREATE INDEX reject_recorded ON reject (recorded_at);

CREATE TABLE snapshot (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at BIGINT NOT NULL,
    format BIGINT NOT NULL,
    positions TEXT NOT NULL,
    sha256 TEXT,
    complete BIGINT NOT NULL
);

CREATE TABLE snapshot_chunk (
    snapshot_id BIGINT NOT NULL REFERENCES snapshot (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (snapshot_id, number)
);
-- The chunks are compressed already.
ALTER TABLE snapshot_chunk ALTER COLUMN body SET STORAGE EXTERNAL;
