-- +goose Up
CREATE TABLE fences (
    class TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL CHECK (value > 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE audio (
    id         TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 64), -- SHA-256 of the file, lower-case hex
    name       TEXT    NOT NULL,
    seconds    REAL    NOT NULL CHECK (seconds > 0),
    lufs       REAL    NOT NULL,
    bytes      INTEGER NOT NULL CHECK (bytes > 0),
    created_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id           TEXT    NOT NULL PRIMARY KEY,               -- UUID v7: sorts by time
    title        TEXT    NOT NULL,
    class        TEXT    NOT NULL CHECK (class IN ('normal', 'priority', 'emergency')),
    kind         TEXT    NOT NULL CHECK (kind IN ('live', 'scheduled', 'drill', 'test')),
    source_kind  TEXT    NOT NULL,
    source       TEXT    NOT NULL,
    delay        TEXT    NOT NULL CHECK (delay IN ('auto', 'instant', 'live', 'robust', 'storm')),
    state        TEXT    NOT NULL CHECK (state IN ('starting', 'live', 'ended', 'failed')),
    fence        INTEGER NOT NULL DEFAULT 0,
    transmission BLOB             CHECK (length(transmission) = 16),
    created_by   TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    started_at   INTEGER NOT NULL DEFAULT 0,
    ended_at     INTEGER NOT NULL DEFAULT 0,
    ended_by     TEXT    NOT NULL DEFAULT '',
    end_reason   TEXT    NOT NULL DEFAULT '',
    expected     INTEGER NOT NULL DEFAULT 0,
    heard        INTEGER NOT NULL DEFAULT 0                  -- the most loudspeakers that heard it at once
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_open ON sessions (state) WHERE state IN ('starting', 'live');

CREATE TABLE session_zones (
    session_id TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,                             -- as the official chose them
    zone       TEXT    NOT NULL REFERENCES zones (code),
    PRIMARY KEY (session_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    principal  TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    request    BLOB    NOT NULL CHECK (length(request) = 32), -- SHA-256 of the request
    session_id TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (principal, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_age ON idempotency_keys (created_at);

-- +goose Down
DROP TABLE idempotency_keys;
DROP TABLE session_zones;
DROP TABLE sessions;
DROP TABLE audio;
DROP TABLE fences;
