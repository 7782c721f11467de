package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"dongthanh/internal/zone"
)

// maxEpoch is what the 24 bits of an epoch in the MKI can hold (DESIGN §4).
const maxEpoch = 1<<24 - 1

// ZoneKey is the secret of a zone in one epoch, from which the keys of transmissions are derived. An epoch that is
// prepared but not activated is handed out to nodes and not yet used for sealing.
type ZoneKey struct {
	Zone      zone.Zone
	Epoch     uint32 // 1 to 2^24-1
	Secret    [32]byte
	Created   time.Time
	Activated time.Time // zero: prepared
}

const zoneKeyColumns = `zone, epoch, secret, created_at, activated_at`

func scanZoneKey(r row) (k ZoneKey, err error) {
	var secret []byte
	var created, activated int64
	if err = r.Scan(&k.Zone, &k.Epoch, &secret, &created, &activated); err != nil {
		return ZoneKey{}, err
	}
	k.Created, k.Activated = moment(created), moment(activated)
	return k, fixed(k.Secret[:], secret, "zone secret")
}

// ZoneKey returns a zone's current key: the highest epoch that was activated. ErrNotFound if it has none yet.
func (s *Store) ZoneKey(ctx context.Context, z zone.Zone) (ZoneKey, error) {
	k, err := currentKey(ctx, s.reader, z)
	return k, wrap(fmt.Sprintf("get key of zone %q", z), err)
}

// EnsureZoneKey returns a zone's current key and makes the first one where there is none; callers at the same time
// get the same. at is its time of creation and activation.
func (s *Store) EnsureZoneKey(ctx context.Context, z zone.Zone, at time.Time) (ZoneKey, error) {
	if k, err := s.ZoneKey(ctx, z); err == nil || !errors.Is(err, ErrNotFound) {
		return k, err
	}
	var key ZoneKey
	err := s.write(ctx, fmt.Sprintf("make key of zone %q", z), func(tx *sql.Tx) (err error) {
		if key, err = currentKey(ctx, tx, z); !errors.Is(err, ErrNotFound) {
			return err
		}
		key, err = addKey(ctx, tx, z, at, at)
		return err
	})
	if err != nil {
		return ZoneKey{}, err
	}
	return key, nil
}

// PrepareZoneKey makes the key of the next epoch, above every epoch ever made, without activating it.
func (s *Store) PrepareZoneKey(ctx context.Context, z zone.Zone, at time.Time) (ZoneKey, error) {
	var key ZoneKey
	err := s.write(ctx, fmt.Sprintf("prepare key of zone %q", z), func(tx *sql.Tx) (err error) {
		key, err = addKey(ctx, tx, z, at, time.Time{})
		return err
	})
	if err != nil {
		return ZoneKey{}, err
	}
	return key, nil
}

// ActivateZoneKey makes a prepared epoch the current one. Epochs never go back: ErrConflict if a higher one is active.
func (s *Store) ActivateZoneKey(ctx context.Context, z zone.Zone, epoch uint32, at time.Time) error {
	return s.write(ctx, fmt.Sprintf("activate epoch %d of zone %q", epoch, z), func(tx *sql.Tx) error {
		if k, err := currentKey(ctx, tx, z); err == nil && k.Epoch >= epoch {
			return fmt.Errorf("%w: epoch %d is active", ErrConflict, k.Epoch)
		} else if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		return exec(ctx, tx, `UPDATE zone_keys SET activated_at = $3 WHERE zone = $1 AND epoch = $2`, string(z), epoch, millis(at))
	})
}

// ZoneKeys returns all keys of a zone, the newest epoch first.
func (s *Store) ZoneKeys(ctx context.Context, z zone.Zone) ([]ZoneKey, error) {
	list, err := all(ctx, s.reader, scanZoneKey, `SELECT `+zoneKeyColumns+` FROM zone_keys WHERE zone = $1 ORDER BY epoch DESC`, string(z))
	return list, wrap(fmt.Sprintf("list keys of zone %q", z), err)
}

func currentKey(ctx context.Context, q querier, z zone.Zone) (ZoneKey, error) {
	return one(ctx, q, scanZoneKey,
		`SELECT `+zoneKeyColumns+` FROM zone_keys WHERE zone = $1 AND activated_at <> 0 ORDER BY epoch DESC LIMIT 1`, string(z))
}

func addKey(ctx context.Context, tx *sql.Tx, z zone.Zone, created, activated time.Time) (ZoneKey, error) {
	if err := requireZone(ctx, tx, z); err != nil {
		return ZoneKey{}, err
	}
	k := ZoneKey{Zone: z, Created: moment(millis(created)), Activated: moment(millis(activated))}
	err := tx.QueryRowContext(ctx, `SELECT coalesce(max(epoch), 0) + 1 FROM zone_keys WHERE zone = $1`, string(z)).Scan(&k.Epoch)
	if err != nil {
		return ZoneKey{}, err
	}
	if k.Epoch > maxEpoch {
		return ZoneKey{}, fmt.Errorf("%w: zone has used up its epochs", ErrConflict)
	}
	return insertKey(ctx, tx, k)
}

// insertKey draws the secret of a key and stores it.
func insertKey(ctx context.Context, tx *sql.Tx, k ZoneKey) (ZoneKey, error) {
	_, _ = rand.Read(k.Secret[:]) // never fails (crypto/rand)
	_, err := tx.ExecContext(ctx, `INSERT INTO zone_keys (`+zoneKeyColumns+`) VALUES ($1, $2, $3, $4, $5)`,
		string(k.Zone), k.Epoch, k.Secret[:], millis(k.Created), millis(k.Activated))
	return k, err
}
