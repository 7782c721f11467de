-- +goose Up
ALTER TABLE nodes ADD COLUMN volume INTEGER NOT NULL DEFAULT 0 CHECK (volume BETWEEN -6000 AND 0); -- as wished, in hundredths of a decibel

-- Apart from nodes, whose rows hold certificates: this is written often, and is small.
CREATE TABLE nodes_seen (
    node TEXT    NOT NULL PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    at   INTEGER NOT NULL                                    -- when it was connected last
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE nodes_seen;
ALTER TABLE nodes DROP COLUMN volume;
