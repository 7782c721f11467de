package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Audio is the record of a sound file in the library, which keeps the bytes.
type Audio struct {
	ID        string // SHA-256 of the file, lower-case hex
	Name      string // as uploaded, cleaned for display; never a path
	Seconds   float64
	LUFS      float64 // integrated loudness (ITU-R BS.1770)
	Bytes     int64
	CreatedBy string // user or token id
	Created   time.Time
}

const audioColumns = `id, name, seconds, lufs, bytes, created_by, created_at`

func scanAudio(r row) (a Audio, err error) {
	var created int64
	err = r.Scan(&a.ID, &a.Name, &a.Seconds, &a.LUFS, &a.Bytes, &a.CreatedBy, &created)
	a.Created = moment(created)
	return a, err
}

// AddAudio stores a record and returns it; if the same content is known already, that first record.
func (s *Store) AddAudio(ctx context.Context, a Audio) (Audio, error) {
	var kept Audio
	err := s.write(ctx, fmt.Sprintf("add audio %s", a.ID), func(tx *sql.Tx) (err error) {
		kept, err = one(ctx, tx, scanAudio, `SELECT `+audioColumns+` FROM audio WHERE id = $1`, a.ID)
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		kept, err = one(ctx, tx, scanAudio, `INSERT INTO audio (`+audioColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7)
			RETURNING `+audioColumns, a.ID, a.Name, a.Seconds, a.LUFS, a.Bytes, a.CreatedBy, millis(a.Created))
		return err
	})
	if err != nil {
		return Audio{}, err
	}
	return kept, nil
}

// Audio returns a record, or ErrNotFound.
func (s *Store) Audio(ctx context.Context, id string) (Audio, error) {
	a, err := one(ctx, s.reader, scanAudio, `SELECT `+audioColumns+` FROM audio WHERE id = $1`, id)
	return a, wrap(fmt.Sprintf("get audio %q", id), err)
}

// AudioList returns at most limit records, newest first, skipping the first skip.
func (s *Store) AudioList(ctx context.Context, skip, limit int) ([]Audio, error) {
	list, err := all(ctx, s.reader, scanAudio,
		`SELECT `+audioColumns+` FROM audio ORDER BY created_at DESC, id LIMIT $2 OFFSET $1`, skip, limit)
	return list, wrap("list audio", err)
}
