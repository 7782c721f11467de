package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"dongthanh/internal/zone"
)

// SessionState is how far a session has come (INTERFACES §4).
type SessionState string

// The states of a session. The last two are final.
const (
	SessionStarting SessionState = "starting"
	SessionLive     SessionState = "live"
	SessionEnded    SessionState = "ended"
	SessionFailed   SessionState = "failed"
)

// Session is the record of one broadcast.
type Session struct {
	ID           string // UUID v7, by which lists are ordered
	Title        string
	Zones        []zone.Zone // as chosen, at least one
	Class        string      // normal, priority or emergency
	Kind         string      // live, scheduled, drill or test
	SourceKind   string      // file, browser, …
	Source       string      // what of that kind: the audio's id; may be empty
	Delay        string      // auto, instant, live, robust or storm
	State        SessionState
	Fence        uint64
	Transmission [16]byte // zero: none yet
	CreatedBy    string   // user or token id
	Created      time.Time
	Started      time.Time // the first packet
	Ended        time.Time
	EndedBy      string // user or token id; empty: the system
	EndReason    string // one word of code: stop, source_end, interrupted, …
	Expected     int    // listeners it was meant for
	Heard        int    // the most of them that heard it at once
}

const sessionColumns = `id, title, class, kind, source_kind, source, delay, state, fence, transmission,
	created_by, created_at, started_at, ended_at, ended_by, end_reason, expected, heard`

func scanSession(r row) (x Session, err error) {
	var transmission []byte
	var created, started, ended int64
	err = r.Scan(&x.ID, &x.Title, &x.Class, &x.Kind, &x.SourceKind, &x.Source, &x.Delay, &x.State, &x.Fence, &transmission,
		&x.CreatedBy, &created, &started, &ended, &x.EndedBy, &x.EndReason, &x.Expected, &x.Heard)
	if err != nil {
		return Session{}, err
	}
	x.Created, x.Started, x.Ended = moment(created), moment(started), moment(ended)
	return x, fixed(x.Transmission[:], transmission, "transmission id")
}

// Replay names a request so that repeating it does not start a second session (the Idempotency-Key header).
type Replay struct {
	Principal string
	Key       string
	Request   Hash // of the request's body
}

// replayFor is how long a key is remembered: a client that repeats a request does so within minutes. Taste.
const replayFor = 24 * time.Hour

// CreateSession stores a session in state starting (whatever x.State says), with no transmission yet. With a replay key
// that was seen in the last 24 h it stores nothing and returns the session of that time and true; ErrConflict if the
// request was another one. Other answers: ErrUnknownZone; ErrInvalid: no zone, or an unknown class, kind or delay.
func (s *Store) CreateSession(ctx context.Context, x Session, replay *Replay) (Session, bool, error) {
	if len(x.Zones) == 0 {
		return Session{}, false, fmt.Errorf("create session: %w: no zones", ErrInvalid)
	}
	x.State, x.Fence, x.Transmission, x.Started, x.Ended = SessionStarting, 0, [16]byte{}, time.Time{}, time.Time{}
	x.EndedBy, x.EndReason, x.Heard, x.Created = "", "", 0, moment(millis(x.Created))
	var again bool
	out := x
	err := s.write(ctx, fmt.Sprintf("create session %s", x.ID), func(tx *sql.Tx) (err error) {
		if replay != nil {
			if out, err = replayed(ctx, tx, *replay, x.Created); !errors.Is(err, ErrNotFound) {
				again = err == nil
				return err
			}
		}
		if err := insertSession(ctx, tx, x); err != nil {
			return err
		}
		out = x
		if replay == nil {
			return nil
		}
		return exec(ctx, tx, `INSERT INTO idempotency_keys (principal, key, request, session_id, created_at) VALUES ($1, $2, $3, $4, $5)`,
			replay.Principal, replay.Key, replay.Request[:], x.ID, millis(x.Created))
	})
	if err != nil {
		return Session{}, false, err
	}
	return out, again, nil
}

// replayed forgets old keys and returns the session of a key that is still known, ErrNotFound or ErrConflict.
func replayed(ctx context.Context, tx *sql.Tx, key Replay, at time.Time) (Session, error) {
	if _, err := tx.ExecContext(ctx, `DELETE FROM idempotency_keys WHERE created_at < $1`, millis(at.Add(-replayFor))); err != nil {
		return Session{}, err
	}
	var request []byte
	var id string
	err := tx.QueryRowContext(ctx, `SELECT request, session_id FROM idempotency_keys WHERE principal = $1 AND key = $2`,
		key.Principal, key.Key).Scan(&request, &id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Session{}, ErrNotFound
	case err != nil:
		return Session{}, err
	case string(request) != string(key.Request[:]):
		return Session{}, fmt.Errorf("%w: idempotency key %q came with another request", ErrConflict, key.Key)
	}
	x, err := one(ctx, tx, scanSession, `SELECT `+sessionColumns+` FROM sessions WHERE id = $1`, id)
	if err != nil {
		return Session{}, err
	}
	x.Zones, err = sessionZones(ctx, tx, id)
	return x, err
}

func insertSession(ctx context.Context, tx *sql.Tx, x Session) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO sessions
		(id, title, class, kind, source_kind, source, delay, state, created_by, created_at, expected)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		x.ID, x.Title, x.Class, x.Kind, x.SourceKind, x.Source, x.Delay, string(x.State), x.CreatedBy, millis(x.Created), x.Expected)
	if err != nil {
		return err
	}
	for i, z := range x.Zones {
		if err := requireZone(ctx, tx, z); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO session_zones (session_id, position, zone) VALUES ($1, $2, $3)`, x.ID, i, string(z)); err != nil {
			return err
		}
	}
	return nil
}

func sessionZones(ctx context.Context, q querier, id string) ([]zone.Zone, error) {
	return all(ctx, q, func(r row) (z zone.Zone, err error) { return z, r.Scan(&z) },
		`SELECT zone FROM session_zones WHERE session_id = $1 ORDER BY position`, id)
}

// Session returns a session, or ErrNotFound.
func (s *Store) Session(ctx context.Context, id string) (Session, error) {
	x, err := one(ctx, s.reader, scanSession, `SELECT `+sessionColumns+` FROM sessions WHERE id = $1`, id)
	if err == nil {
		x.Zones, err = sessionZones(ctx, s.reader, id)
	}
	return x, wrap(fmt.Sprintf("get session %q", id), err)
}

// EndBusy is the end_reason of a request that was refused since another session was on air. Its record is kept for the
// key that it came with, and is no session.
const EndBusy = "busy"

// Sessions returns at most limit sessions, newest first, without requests that were refused (EndBusy). before is the
// cursor: the id of the last session of the page before, or empty for the first page.
func (s *Store) Sessions(ctx context.Context, before string, limit int) ([]Session, error) {
	list, err := all(ctx, s.reader, scanSession,
		`SELECT `+sessionColumns+` FROM sessions WHERE ($1 = '' OR id < $1) AND NOT (state = 'failed' AND end_reason = $3) ORDER BY id DESC LIMIT $2`, before, limit, EndBusy)
	for i := 0; i < len(list) && err == nil; i++ {
		list[i].Zones, err = sessionZones(ctx, s.reader, list[i].ID)
	}
	return list, wrap("list sessions", err)
}

// SetTransmission gives a session the transmission that carries it, and its fence; a restarted session gets another.
// ErrConflict if the session is over.
func (s *Store) SetTransmission(ctx context.Context, id string, transmission [16]byte, fence uint64) error {
	return s.step(ctx, "set transmission of", id, `fence = $2, transmission = $3`, int64(fence), transmission[:]) // #nosec G115 -- NextFence counts in int64
}

// SetLive records the first packet of a session; a second call keeps the first time. ErrConflict if the session is over.
func (s *Store) SetLive(ctx context.Context, id string, at time.Time) error {
	return s.step(ctx, "set live", id, `state = 'live', started_at = CASE started_at WHEN 0 THEN $2 ELSE started_at END`, millis(at))
}

// RecordListeners stores how many loudspeakers a session is meant for, and keeps the most that heard it at once. It
// may be called when the session is over, for the last report.
func (s *Store) RecordListeners(ctx context.Context, id string, expected, hearing int) error {
	return s.write(ctx, fmt.Sprintf("record listeners of session %q", id), func(tx *sql.Tx) error {
		return exec(ctx, tx, `UPDATE sessions SET expected = $2, heard = CASE WHEN heard < $3 THEN $3 ELSE heard END WHERE id = $1`, id, expected, hearing)
	})
}

// EndSession ends a session as ended or failed. by is a user or token id, empty for the system; reason is one word of
// code. ErrConflict if the session is over already: the first end stands.
func (s *Store) EndSession(ctx context.Context, id string, state SessionState, at time.Time, by, reason string) error {
	if state != SessionEnded && state != SessionFailed {
		return fmt.Errorf("end session %q as %q: %w", id, state, ErrInvalid)
	}
	return s.step(ctx, "end", id, `state = $2, ended_at = $3, ended_by = $4, end_reason = $5`, string(state), millis(at), by, reason)
}

// EndInterrupted marks as ended, with the given reason, the sessions that a crash left starting or live. Only the
// server calls it, once, before it starts sessions: a command line that opens the same database must not.
func (s *Store) EndInterrupted(ctx context.Context, at time.Time, reason string) (ended []string, err error) {
	err = s.write(ctx, "end interrupted sessions", func(tx *sql.Tx) (err error) {
		ended, err = all(ctx, tx, func(r row) (id string, err error) { return id, r.Scan(&id) },
			`UPDATE sessions SET state = 'ended', ended_at = $1, end_reason = $2
			WHERE state IN ('starting', 'live') RETURNING id`, millis(at), reason)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

// step changes a session that is not over. set starts its placeholders at $2.
func (s *Store) step(ctx context.Context, act, id, set string, args ...any) error {
	return s.write(ctx, fmt.Sprintf("%s session %q", act, id), func(tx *sql.Tx) error {
		err := exec(ctx, tx, `UPDATE sessions SET `+set+` WHERE id = $1 AND state IN ('starting', 'live')`, append([]any{id}, args...)...)
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		x, err := one(ctx, tx, scanSession, `SELECT `+sessionColumns+` FROM sessions WHERE id = $1`, id)
		if err != nil {
			return err
		}
		return fmt.Errorf("%w: it is %s", ErrConflict, x.State)
	})
}
