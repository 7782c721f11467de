package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Recording is the record of a session's sound on disk.
type Recording struct {
	Session  string
	Seconds  float64
	Missing  float64 // seconds of the session that were not recorded
	Bytes    int64
	SHA256   [32]byte // of the file
	Recorded time.Time
	Removed  time.Time // zero: the file is there
}

const recordingColumns = `session_id, seconds, missing, bytes, sha256, recorded_at, removed_at`

func scanRecording(r row) (x Recording, err error) {
	var sum []byte
	var recorded, removed int64
	if err = r.Scan(&x.Session, &x.Seconds, &x.Missing, &x.Bytes, &sum, &recorded, &removed); err != nil {
		return Recording{}, err
	}
	x.Recorded, x.Removed = moment(recorded), moment(removed)
	return x, fixed(x.SHA256[:], sum, "hash of a recording")
}

// AddRecording stores the record of a finished recording, in place of an earlier one. ErrConflict: there is no such
// session.
func (s *Store) AddRecording(ctx context.Context, x Recording) error {
	return s.write(ctx, fmt.Sprintf("add recording of session %q", x.Session), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO recordings (`+recordingColumns+`) VALUES ($1, $2, $3, $4, $5, $6, 0)
			ON CONFLICT (session_id) DO UPDATE SET seconds = excluded.seconds, missing = excluded.missing, bytes = excluded.bytes,
			sha256 = excluded.sha256, recorded_at = excluded.recorded_at, removed_at = 0`,
			x.Session, x.Seconds, x.Missing, x.Bytes, x.SHA256[:], millis(x.Recorded))
		return err
	})
}

// Recording returns the record of a session's recording, or ErrNotFound.
func (s *Store) Recording(ctx context.Context, session string) (Recording, error) {
	x, err := one(ctx, s.reader, scanRecording, `SELECT `+recordingColumns+` FROM recordings WHERE session_id = $1`, session)
	return x, wrap(fmt.Sprintf("get recording of session %q", session), err)
}

// Recordings returns those whose files are there, the oldest first.
func (s *Store) Recordings(ctx context.Context) ([]Recording, error) {
	list, err := all(ctx, s.reader, scanRecording,
		`SELECT `+recordingColumns+` FROM recordings WHERE removed_at = 0 ORDER BY recorded_at, session_id`)
	return list, wrap("list recordings", err)
}

// RemoveRecording notes that a recording's file is being removed; ErrNotFound.
func (s *Store) RemoveRecording(ctx context.Context, session string, at time.Time) error {
	return s.write(ctx, fmt.Sprintf("remove recording of session %q", session), func(tx *sql.Tx) error {
		return exec(ctx, tx, `UPDATE recordings SET removed_at = $2 WHERE session_id = $1`, session, millis(at))
	})
}
