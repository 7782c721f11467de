-- +goose Up
CREATE TABLE users (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    folded      TEXT    NOT NULL UNIQUE,                     -- name without case and compatibility forms
    password    TEXT    NOT NULL,                            -- PHC string
    role        TEXT    NOT NULL CHECK (role IN ('admin', 'officer', 'editor', 'approver', 'technician', 'auditor')),
    zone        TEXT    NOT NULL REFERENCES zones (code),
    created_at  INTEGER NOT NULL,
    disabled_at INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- A signed-in browser. "Session" is a broadcast in this project, so this is a login.
CREATE TABLE logins (
    token      BLOB    NOT NULL PRIMARY KEY CHECK (length(token) = 32),
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX logins_user ON logins (user_id);
CREATE INDEX logins_expiry ON logins (expires_at);

CREATE TABLE tokens (
    id         TEXT    NOT NULL PRIMARY KEY,
    secret     BLOB    NOT NULL UNIQUE CHECK (length(secret) = 32),
    kind       TEXT    NOT NULL CHECK (kind IN ('relay', 'client', 'api')),
    name       TEXT    NOT NULL,
    zone       TEXT    NOT NULL REFERENCES zones (code),
    role       TEXT    NOT NULL CHECK ((kind = 'api') = (role <> '')),
    created_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,                             -- 0 = never, for api only
    used_at    INTEGER NOT NULL DEFAULT 0,
    used_by    TEXT    NOT NULL DEFAULT '',
    revoked_at INTEGER NOT NULL DEFAULT 0,
    attempts   INTEGER NOT NULL DEFAULT 0,
    CHECK (kind = 'api' OR expires_at > 0)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE tokens;
DROP TABLE logins;
DROP TABLE users;
