package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
)

// NodeKind says what a node is.
type NodeKind string

// The kinds of node.
const (
	NodeRelay    NodeKind = "relay"
	NodeClient   NodeKind = "client"
	NodeStreamer NodeKind = "streamer"
)

// Node is an enrolled machine with its certificate.
type Node struct {
	ID          string
	Name        string
	Kind        NodeKind
	Zone        zone.Zone
	Certificate []byte   // DER; owned by the record
	Signing     [32]byte // public key
	Sealing     [32]byte // X25519 public key, to which zone secrets are sealed
	Serial      string   // of the certificate: lower-case hex, unique
	NotAfter    time.Time
	Enrolled    time.Time
	Revoked     time.Time // zero: trusted
	Volume      int32     // as wished, in hundredths of a decibel, at most 0; of loudspeakers
	Seen        time.Time // connected last; zero: never
}

const nodeColumns = `id, name, kind, zone, certificate, signing, sealing, serial, not_after, enrolled_at, revoked_at`

const selectNode = `SELECT ` + nodeColumns + `, volume, coalesce((SELECT at FROM nodes_seen WHERE node = id), 0) FROM nodes`

func scanNode(r row) (n Node, err error) {
	var signing, sealing []byte
	var notAfter, enrolled, revoked, seen int64
	err = r.Scan(&n.ID, &n.Name, &n.Kind, &n.Zone, &n.Certificate, &signing, &sealing, &n.Serial, &notAfter, &enrolled, &revoked,
		&n.Volume, &seen)
	if err != nil {
		return Node{}, err
	}
	n.NotAfter, n.Enrolled, n.Revoked = moment(notAfter), moment(enrolled), moment(revoked)
	n.Seen = moment(seen)
	if err = fixed(n.Signing[:], signing, "signing key"); err == nil {
		err = fixed(n.Sealing[:], sealing, "sealing key")
	}
	return n, err
}

// AddNode stores a node that was enrolled without a token, such as the streamer itself. ErrConflict: id or serial is
// taken; ErrUnknownZone; ErrInvalid: unknown kind or a bad name.
func (s *Store) AddNode(ctx context.Context, n Node) error {
	return s.write(ctx, fmt.Sprintf("add node %q", n.ID), func(tx *sql.Tx) error { return addNode(ctx, tx, n) })
}

func addNode(ctx context.Context, tx *sql.Tx, n Node) error {
	name, err := cleanName(n.Name, maxTokenName)
	if err != nil {
		return err
	}
	if n.ID == "" || n.Serial == "" || len(n.Certificate) == 0 {
		return fmt.Errorf("%w: node without id, serial or certificate", ErrInvalid)
	}
	if err := requireZone(ctx, tx, n.Zone); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO nodes (`+nodeColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		n.ID, name, string(n.Kind), string(n.Zone), n.Certificate, n.Signing[:], n.Sealing[:], n.Serial,
		millis(n.NotAfter), millis(n.Enrolled), millis(n.Revoked))
	return err
}

// Node returns a node by id, or ErrNotFound.
func (s *Store) Node(ctx context.Context, id string) (Node, error) {
	n, err := one(ctx, s.reader, scanNode, selectNode+` WHERE id = $1`, id)
	return n, wrap(fmt.Sprintf("get node %q", id), err)
}

// Nodes returns all nodes by zone and name, the revoked included.
func (s *Store) Nodes(ctx context.Context) ([]Node, error) {
	list, err := all(ctx, s.reader, scanNode, selectNode+` ORDER BY zone, name, id`)
	return list, wrap("list nodes", err)
}

// RenewNode gives a node a new certificate, for the keys that come with it. A revoked node stays out: ErrRevoked.
func (s *Store) RenewNode(ctx context.Context, n Node) error {
	return s.write(ctx, fmt.Sprintf("renew node %q", n.ID), func(tx *sql.Tx) error {
		old, err := one(ctx, tx, scanNode, selectNode+` WHERE id = $1`, n.ID)
		if err != nil {
			return err
		}
		if !old.Revoked.IsZero() {
			return ErrRevoked
		}
		return exec(ctx, tx, `UPDATE nodes SET certificate = $2, signing = $3, sealing = $4, serial = $5, not_after = $6 WHERE id = $1`,
			n.ID, n.Certificate, n.Signing[:], n.Sealing[:], n.Serial, millis(n.NotAfter))
	})
}

// RevokeNode records that a node is trusted no more. Revoking twice keeps the first time.
func (s *Store) RevokeNode(ctx context.Context, id string, at time.Time) error {
	return s.write(ctx, fmt.Sprintf("revoke node %q", id), func(tx *sql.Tx) error {
		return exec(ctx, tx, `UPDATE nodes SET revoked_at = CASE revoked_at WHEN 0 THEN $2 ELSE revoked_at END WHERE id = $1`, id, millis(at))
	})
}

// SetVolume records how loud a loudspeaker is wished to be, in hundredths of a decibel. ErrNotFound, also for a node that
// is no loudspeaker; ErrRevoked; ErrInvalid: out of range.
func (s *Store) SetVolume(ctx context.Context, id string, volume int32) error {
	return s.write(ctx, fmt.Sprintf("set volume of node %q", id), func(tx *sql.Tx) error {
		n, err := one(ctx, tx, scanNode, selectNode+` WHERE id = $1`, id)
		switch {
		case err != nil:
			return err
		case n.Kind != NodeClient:
			return ErrNotFound
		case !n.Revoked.IsZero():
			return ErrRevoked
		case !signed.ValidVolume(volume):
			return fmt.Errorf("%w: volume %d", ErrInvalid, volume)
		}
		return exec(ctx, tx, `UPDATE nodes SET volume = $2 WHERE id = $1`, id, volume)
	})
}

// NoteSeen records when nodes were connected last. Nodes that are not on record are left out.
func (s *Store) NoteSeen(ctx context.Context, at map[string]time.Time) error {
	return s.write(ctx, fmt.Sprintf("note %d nodes as seen", len(at)), func(tx *sql.Tx) error {
		put, err := tx.PrepareContext(ctx, `INSERT INTO nodes_seen (node, at) SELECT id, $2 FROM nodes WHERE id = $1
			ON CONFLICT (node) DO UPDATE SET at = excluded.at`)
		if err != nil {
			return err
		}
		for id, t := range at {
			if _, err := put.ExecContext(ctx, id, millis(t)); err != nil {
				return errors.Join(err, put.Close())
			}
		}
		return put.Close()
	})
}

// ReissueNode gives a node another certificate for the keys it has, with the zone and name that n says. from is the
// serial of the one it replaces. ErrNotFound; ErrRevoked; ErrUnknownZone; ErrInvalid: a bad name; ErrConflict: from is
// not in force any more, since somebody else was quicker.
func (s *Store) ReissueNode(ctx context.Context, n Node, from string) error {
	name, err := cleanName(n.Name, maxTokenName)
	if err != nil {
		return fmt.Errorf("reissue node %q: %w", n.ID, err)
	}
	return s.write(ctx, fmt.Sprintf("reissue node %q", n.ID), func(tx *sql.Tx) error {
		old, err := one(ctx, tx, scanNode, selectNode+` WHERE id = $1`, n.ID)
		switch {
		case err != nil:
			return err
		case !old.Revoked.IsZero():
			return ErrRevoked
		case old.Serial != from:
			return fmt.Errorf("%w: its certificate was replaced meanwhile", ErrConflict)
		}
		if err := requireZone(ctx, tx, n.Zone); err != nil {
			return err
		}
		return exec(ctx, tx, `UPDATE nodes SET name = $2, zone = $3, certificate = $4, serial = $5, not_after = $6 WHERE id = $1`,
			n.ID, name, string(n.Zone), n.Certificate, n.Serial, millis(n.NotAfter))
	})
}
