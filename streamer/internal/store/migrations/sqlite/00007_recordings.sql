-- +goose Up
CREATE TABLE recordings (
    session_id  TEXT    NOT NULL PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    seconds     REAL    NOT NULL CHECK (seconds > 0),
    missing     REAL    NOT NULL CHECK (missing >= 0),       -- seconds of the session that were not recorded
    bytes       INTEGER NOT NULL CHECK (bytes > 0),
    sha256      BLOB    NOT NULL CHECK (length(sha256) = 32),
    recorded_at INTEGER NOT NULL,                            -- when it was finished
    removed_at  INTEGER NOT NULL DEFAULT 0                   -- its file was removed; the row stays
) STRICT, WITHOUT ROWID;

CREATE INDEX recordings_kept ON recordings (recorded_at) WHERE removed_at = 0;

-- A loudspeaker that a session was meant for, and what became of it there.
CREATE TABLE listeners (
    session_id TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    node       TEXT    NOT NULL,
    name       TEXT    NOT NULL,                             -- as it was called then
    zone       TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('offline', 'online', 'playing')), -- at the session's end
    seen_at    INTEGER NOT NULL DEFAULT 0,                   -- its last report of any kind; 0: none was known
    from_at    INTEGER NOT NULL DEFAULT 0,                   -- 0: it did not hear
    to_at      INTEGER NOT NULL DEFAULT 0,
    played     INTEGER NOT NULL DEFAULT 0,                   -- frames of 20 ms
    repaired   INTEGER NOT NULL DEFAULT 0,
    concealed  INTEGER NOT NULL DEFAULT 0,
    late       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (session_id, node)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE listeners;
DROP TABLE recordings;
