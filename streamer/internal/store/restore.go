package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"dongthanh/internal/zone"
)

// Database is the name of the database in the store's folder: what a copy by Snapshot is restored as.
const Database = fileName

// Volatile reports whether a file of the store's folder belongs to the running database alone: its logs and locks, and
// the room held back.
func Volatile(name string) bool {
	switch name {
	case fileName, fileName + "-wal", fileName + "-shm", fileName + "-journal", lockName, reserveName:
		return true
	}
	return false
}

// Snapshot writes the whole database, as it is at one moment, to a new file that only its owner can read, while others
// read and write. What a failure leaves of it is removed.
func (s *Store) Snapshot(ctx context.Context, path string) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // SQLite would make it readable by all
	if err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	if err = f.Close(); err == nil {
		_, err = s.writer.ExecContext(ctx, `VACUUM INTO $1`, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("copy the database: %w", classify(err)), os.Remove(path))
	}
	return nil
}

// Verify reads the whole database and reports what is damaged.
func (s *Store) Verify(ctx context.Context) error {
	found, err := all(ctx, s.reader, func(r row) (x string, err error) { return x, r.Scan(&x) }, `PRAGMA integrity_check(10)`)
	if err == nil && (len(found) != 1 || found[0] != "ok") {
		err = fmt.Errorf("%w: %q", ErrInvalid, found)
	}
	return wrap("check the database", err)
}

// Kept says which files came back with a database; the records of the others are taken out.
type Kept struct {
	Audio, Recordings bool
}

const (
	// Between a backup and its restore fences, epochs and tokens were used of which the backup knows nothing. Fences and
	// epochs go on from the clock, which no two restores share, and if it is wrong (a new machine) at least so far on.
	fenceJump = 1_000_000
	epochJump = 1024 // some months of a key a day and several revocations
)

// epochStart is where the epochs of restored zones are counted from, in hours: 24 bits of them last until 3933.
var epochStart = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // never written

// Recover makes a database that was brought back from a backup safe to go on with, however old it is: fences of classes
// lie above all that were ever drawn, each zone that has a key gets a new one in an epoch above all that were ever handed
// out, enrolment tokens that were not used at the time are revoked, and people sign in anew. It is done in one step.
func (s *Store) Recover(ctx context.Context, at time.Time, classes []string, kept Kept) error {
	return s.write(ctx, "recover the restored database", func(tx *sql.Tx) error {
		for _, class := range classes {
			if _, err := tx.ExecContext(ctx, `INSERT INTO fences (class, value) VALUES ($1, max($2, $3))
				ON CONFLICT (class) DO UPDATE SET value = max(fences.value + $2, $3)`, class, fenceJump, millis(at)); err != nil {
				return err
			}
		}
		if err := renewZones(ctx, tx, at); err != nil {
			return err
		}
		for _, query := range []string{
			`UPDATE tokens SET revoked_at = $1 WHERE kind <> 'api' AND used_at = 0 AND revoked_at = 0`,
			`DELETE FROM logins WHERE $1 <> 0`,
			`DELETE FROM idempotency_keys WHERE $1 <> 0`,
		} {
			if _, err := tx.ExecContext(ctx, query, millis(at)); err != nil {
				return err
			}
		}
		if !kept.Audio {
			if _, err := tx.ExecContext(ctx, `DELETE FROM audio`); err != nil {
				return err
			}
		}
		if !kept.Recordings {
			if _, err := tx.ExecContext(ctx, `UPDATE recordings SET removed_at = $1 WHERE removed_at = 0`, millis(at)); err != nil {
				return err
			}
		}
		return exec(ctx, tx, `INSERT INTO settings (name, value) VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, restoredSetting, strconv.FormatInt(millis(at), 10))
	})
}

// renewZones gives each zone that has a key another one, far above.
func renewZones(ctx context.Context, tx *sql.Tx, at time.Time) error {
	type last struct {
		zone  zone.Zone
		epoch int64
	}
	zones, err := all(ctx, tx, func(r row) (x last, err error) { return x, r.Scan(&x.zone, &x.epoch) },
		`SELECT zone, max(epoch) FROM zone_keys GROUP BY zone`)
	if err != nil {
		return err
	}
	for _, z := range zones {
		epoch := max(z.epoch+epochJump, int64(at.Sub(epochStart)/time.Hour))
		if epoch > maxEpoch {
			return fmt.Errorf("%w: zone %q has used up its epochs", ErrConflict, z.zone)
		}
		if _, err := insertKey(ctx, tx, ZoneKey{Zone: z.zone, Epoch: uint32(epoch), Created: at, Activated: at}); err != nil { // #nosec G115 -- bounded above
			return err
		}
	}
	return nil
}
