package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"dongthanh/internal/zone"
)

// maxZoneName bounds a zone's name, in characters; the longest official name of a commune has about 40. Taste.
const maxZoneName = 120

// Zone is a place of the administrative tree with its name.
type Zone struct {
	Code   zone.Zone // the whole path
	Name   string    // as typed, in NFC
	Parent zone.Zone
}

// UpsertZones adds zones or renames them, all or none. Parents must be stored or in list, in any order. The error
// joins one line for each fault: ErrInvalid (code or name), ErrUnknownZone (no parent), ErrConflict (a code twice
// with different names). Nothing is ever removed. It returns how many were added and how many got a new name.
func (s *Store) UpsertZones(ctx context.Context, list []Zone, at time.Time) (added, renamed int, err error) {
	zones, err := checkZones(list)
	if err != nil {
		return 0, 0, fmt.Errorf("import %d zones: %w", len(list), err)
	}
	err = s.write(ctx, fmt.Sprintf("import %d zones", len(list)), func(tx *sql.Tx) error {
		added, renamed = 0, 0
		var faults []error
		for _, z := range zones {
			var old string
			err := tx.QueryRowContext(ctx, `SELECT name FROM zones WHERE code = $1`, string(z.Code)).Scan(&old)
			switch {
			case errors.Is(err, sql.ErrNoRows):
				if err := requireZone(ctx, tx, z.Parent); errors.Is(err, ErrUnknownZone) {
					faults = append(faults, fmt.Errorf("zone %q lies in no known zone: %w", z.Code, err))
					continue
				} else if err != nil {
					return err
				}
				added++
			case err != nil:
				return err
			case old == z.Name:
				continue
			default:
				renamed++
			}
			_, err = tx.ExecContext(ctx, `INSERT INTO zones (code, name, folded, parent, updated_at)
				VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (code) DO UPDATE SET name = excluded.name, folded = excluded.folded, updated_at = excluded.updated_at`,
				string(z.Code), z.Name, Fold(z.Name), string(z.Parent), millis(at))
			if err != nil {
				return fmt.Errorf("zone %q: %w", z.Code, err)
			}
		}
		return errors.Join(faults...)
	})
	if err != nil {
		return 0, 0, err
	}
	return added, renamed, nil
}

// checkZones returns list cleaned, without repetitions and with parents before children.
func checkZones(list []Zone) ([]Zone, error) {
	var faults []error
	var zones []Zone
	names := make(map[zone.Zone]string, len(list))
	for _, z := range list {
		code, err := zone.Parse(string(z.Code))
		switch {
		case err != nil:
			faults = append(faults, fmt.Errorf("%w: %w", ErrInvalid, err))
			continue
		case code == "":
			faults = append(faults, fmt.Errorf("%w: zone without a code", ErrInvalid))
			continue
		}
		name, err := cleanName(z.Name, maxZoneName)
		if err != nil {
			faults = append(faults, fmt.Errorf("zone %q: %w", code, err))
			continue
		}
		if old, twice := names[code]; twice {
			if old != name {
				faults = append(faults, fmt.Errorf("%w: zone %q is named both %q and %q", ErrConflict, code, old, name))
			}
			continue
		}
		names[code] = name
		zones = append(zones, Zone{Code: code, Name: name, Parent: code.Parent()})
	}
	sortZones(zones)
	return zones, errors.Join(faults...)
}

// Zones returns all zones but the root in tree order: each followed by all beneath it, siblings by code.
func (s *Store) Zones(ctx context.Context) ([]Zone, error) {
	zones, err := all(ctx, s.reader, scanZone, `SELECT code, name, parent FROM zones WHERE code <> ''`)
	sortZones(zones)
	return zones, wrap("list zones", err)
}

// Zone returns one zone, the root included, or ErrNotFound.
func (s *Store) Zone(ctx context.Context, code zone.Zone) (Zone, error) {
	z, err := one(ctx, s.reader, scanZone, `SELECT code, name, coalesce(parent, '') FROM zones WHERE code = $1`, string(code))
	return z, wrap(fmt.Sprintf("get zone %q", code), err)
}

// SearchZones returns at most limit zones whose name holds text, without regard to case and marks, in tree order.
func (s *Store) SearchZones(ctx context.Context, text string, limit int) ([]Zone, error) {
	pattern := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(Fold(text)) + "%"
	zones, err := all(ctx, s.reader, scanZone,
		`SELECT code, name, parent FROM zones WHERE code <> '' AND folded LIKE $1 ESCAPE '\' ORDER BY code LIMIT $2`, pattern, limit)
	sortZones(zones)
	return zones, wrap("search zones", err)
}

func scanZone(r row) (z Zone, err error) {
	return z, r.Scan(&z.Code, &z.Name, &z.Parent)
}

// sortZones puts zones in tree order. Sorting the bare paths would put "31-a" between "31" and "31/x".
func sortZones(zones []Zone) {
	slices.SortFunc(zones, func(a, b Zone) int {
		return slices.Compare(strings.Split(string(a.Code), "/"), strings.Split(string(b.Code), "/"))
	})
}

// cleanName returns name trimmed and in NFC, or ErrInvalid. Control and direction-changing characters are refused,
// since names are printed on terminals and in logs.
func cleanName(name string, most int) (string, error) {
	if !utf8.ValidString(name) {
		return "", fmt.Errorf("%w: name %q is not UTF-8", ErrInvalid, name)
	}
	name = norm.NFC.String(strings.TrimSpace(name))
	if name == "" {
		return "", fmt.Errorf("%w: empty name", ErrInvalid)
	}
	if n := utf8.RuneCountInString(name); n > most {
		return "", fmt.Errorf("%w: name of %d characters, want at most %d", ErrInvalid, n, most)
	}
	if i := strings.IndexFunc(name, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf) }); i >= 0 {
		return "", fmt.Errorf("%w: name %q holds a control character", ErrInvalid, name)
	}
	return name, nil
}
