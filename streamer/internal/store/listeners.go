package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"dongthanh/internal/zone"
)

// Listener is a loudspeaker that a session was meant for, and what it heard of it by its own signed reports.
type Listener struct {
	Node  string
	Name  string // as it was called then
	Zone  zone.Zone
	State string    // offline, online or playing, at the session's end
	Seen  time.Time // its last report of any kind; zero: none is known

	From, To                          time.Time // of what it heard; From zero: nothing
	Played, Repaired, Concealed, Late uint64    // frames of 20 ms
}

// AddListeners stores who heard a session, all of them or none; a listener that is stored already is replaced. Others wait
// meanwhile, so give it some hundred at a time. ErrConflict: there is no such session.
func (s *Store) AddListeners(ctx context.Context, session string, list []Listener) error {
	return s.write(ctx, fmt.Sprintf("add listeners of session %q", session), func(tx *sql.Tx) error {
		return addListeners(ctx, tx, session, list)
	})
}

func addListeners(ctx context.Context, tx *sql.Tx, session string, list []Listener) error {
	put, err := tx.PrepareContext(ctx, `INSERT INTO listeners
		(session_id, node, name, zone, state, seen_at, from_at, to_at, played, repaired, concealed, late)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (session_id, node) DO UPDATE SET name = excluded.name, zone = excluded.zone, state = excluded.state,
		seen_at = excluded.seen_at, from_at = excluded.from_at, to_at = excluded.to_at, played = excluded.played,
		repaired = excluded.repaired, concealed = excluded.concealed, late = excluded.late`)
	if err != nil {
		return err
	}
	defer put.Close()
	for _, l := range list {
		if _, err := put.ExecContext(ctx, session, l.Node, l.Name, string(l.Zone), l.State, millis(l.Seen), millis(l.From), millis(l.To),
			int64(l.Played), int64(l.Repaired), int64(l.Concealed), int64(l.Late)); err != nil { // #nosec G115 -- frames of 20 ms
			return err
		}
	}
	return nil
}

// Listeners returns whom a session was meant for, by zone and name; none if that was never recorded.
func (s *Store) Listeners(ctx context.Context, session string) ([]Listener, error) {
	list, err := all(ctx, s.reader, scanListener, `SELECT node, name, zone, state, seen_at, from_at, to_at, played, repaired, concealed, late
		FROM listeners WHERE session_id = $1 ORDER BY zone, name, node`, session)
	return list, wrap(fmt.Sprintf("list listeners of session %q", session), err)
}

func scanListener(r row) (l Listener, err error) {
	var seen, from, to int64
	err = r.Scan(&l.Node, &l.Name, &l.Zone, &l.State, &seen, &from, &to, &l.Played, &l.Repaired, &l.Concealed, &l.Late)
	l.Seen, l.From, l.To = moment(seen), moment(from), moment(to)
	return l, err
}
