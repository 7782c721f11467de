-- +goose Up
CREATE TABLE nodes (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('relay', 'client', 'streamer')),
    zone        TEXT    NOT NULL REFERENCES zones (code),
    certificate BLOB    NOT NULL,
    signing     BLOB    NOT NULL CHECK (length(signing) = 32),
    sealing     BLOB    NOT NULL CHECK (length(sealing) = 32),
    serial      TEXT    NOT NULL UNIQUE,                     -- lower-case hex
    not_after   INTEGER NOT NULL,
    enrolled_at INTEGER NOT NULL,
    revoked_at  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX nodes_zone ON nodes (zone);

CREATE TABLE zone_keys (
    zone         TEXT    NOT NULL REFERENCES zones (code),
    epoch        INTEGER NOT NULL CHECK (epoch BETWEEN 1 AND 16777215), -- 24 bits of the MKI; 0 is no epoch
    secret       BLOB    NOT NULL CHECK (length(secret) = 32),
    created_at   INTEGER NOT NULL,
    activated_at INTEGER NOT NULL DEFAULT 0,                 -- the current epoch is the highest activated one
    PRIMARY KEY (zone, epoch)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE zone_keys;
DROP TABLE nodes;
