-- STRICT tables: a value of the wrong type is refused instead of stored. Times are Unix milliseconds (UTC), 0 = not
-- yet; ids are UUID text; booleans are derived from times. For PostgreSQL: INTEGER → BIGINT, REAL → DOUBLE PRECISION,
-- BLOB → BYTEA, without STRICT and WITHOUT ROWID.

-- +goose Up
CREATE TABLE zones (
    code       TEXT    NOT NULL PRIMARY KEY,                 -- whole path: 31/11296/02; '' is the root
    name       TEXT    NOT NULL,
    folded     TEXT    NOT NULL,                             -- name without marks and case, for search
    parent     TEXT             REFERENCES zones (code),     -- NULL for the root only
    updated_at INTEGER NOT NULL,
    CHECK ((code = '') = (parent IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX zones_parent ON zones (parent);

INSERT INTO zones (code, name, folded, parent, updated_at) VALUES ('', 'Cả nước', 'ca nuoc', NULL, 0);

CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE settings;
DROP TABLE zones;
