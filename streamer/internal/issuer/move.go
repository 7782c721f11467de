package issuer

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dongthanh/internal/cluster"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// Move gives a relay or loudspeaker another zone and name: a new certificate for the keys it has, which counts from the
// moment on at which the node has it (Certificate). Errors: store.ErrNotFound (a streamer moves by its configuration),
// store.ErrRevoked, store.ErrUnknownZone, store.ErrInvalid (the name), store.ErrConflict (moved by somebody else in the
// same moment), identity.ErrScope.
func (i *Issuer) Move(ctx context.Context, id string, z zone.Zone, name string) (store.Node, error) {
	n, err := i.o.Store.Node(ctx, id)
	switch {
	case err != nil:
		return store.Node{}, err
	case n.Kind == store.NodeStreamer:
		return store.Node{}, fmt.Errorf("move node %q: it is a streamer: %w", id, store.ErrNotFound)
	case !n.Revoked.IsZero():
		return store.Node{}, fmt.Errorf("move node %q: %w", id, store.ErrRevoked)
	case n.Zone == z && n.Name == name:
		return n, nil
	}
	n.Zone, n.Name = z, name
	n, _, err = i.reissue(ctx, n)
	if err == nil {
		i.o.Log.Info("node moved", "id", n.ID, "kind", string(n.Kind), "name", n.Name, "zone", string(n.Zone))
	}
	return n, err
}

// reissue certifies a node's keys anew, for the zone and name that n says, and stores that.
func (i *Issuer) reissue(ctx context.Context, n store.Node) (store.Node, [][]byte, error) {
	old, err := x509.ParseCertificate(n.Certificate)
	if err != nil {
		return store.Node{}, nil, fmt.Errorf("read certificate of %q: %w", n.ID, err)
	}
	sealing, err := ecdh.X25519().NewPublicKey(n.Sealing[:])
	if err != nil {
		return store.Node{}, nil, fmt.Errorf("read sealing key of %q: %w", n.ID, err)
	}
	who := identity.Node{ID: n.ID, Kind: identity.Kind(n.Kind), Zone: n.Zone, Name: n.Name}
	chain, err := i.current.Load().authority.Certify(who, ed25519.PublicKey(n.Signing[:]), sealing, identity.After(old, i.o.Now()), lifeOf(who.Kind))
	if err != nil {
		return store.Node{}, nil, err
	}
	c, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return store.Node{}, nil, fmt.Errorf("read own certificate of %q: %w", n.ID, err)
	}
	from := n.Serial
	n.Certificate, n.Serial, n.NotAfter = c.Raw, identity.Serial(c), c.NotAfter
	if err := i.o.Store.ReissueNode(ctx, n, from); err != nil {
		return store.Node{}, nil, err
	}
	return n, chain, nil
}

// lifeOf is how long a node's certificate lasts.
func lifeOf(k identity.Kind) time.Duration {
	if k.Serves() {
		return serverLife
	}
	return clientLife
}

// Certificate returns the chain (node, issuer, root) of a node's certificate on record, for one that shows another. It is
// made anew where the node might refuse it: the issuer has been replaced since, or the record comes from a backup that
// is older than what the node has. Errors: store.ErrNotFound, store.ErrRevoked.
func (i *Issuer) Certificate(ctx context.Context, id string) ([][]byte, error) {
	n, err := i.o.Store.Node(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case !n.Revoked.IsZero():
		return nil, fmt.Errorf("certificate of %q: %w", id, store.ErrRevoked)
	}
	restored, err := i.o.Store.Restored(ctx)
	if err != nil {
		return nil, err
	}
	issuer := i.current.Load().authority.Certificate
	c, err := x509.ParseCertificate(n.Certificate)
	if err == nil && c.CheckSignatureFrom(issuer) == nil && (restored.IsZero() || c.NotBefore.Add(time.Hour).After(restored)) {
		return [][]byte{n.Certificate, issuer.Raw, i.root}, nil
	}
	_, chain, err := i.reissue(ctx, n)
	return chain, err
}

// Refresh reads from the database whom others (the command line) have revoked.
func (i *Issuer) Refresh(ctx context.Context) error {
	nodes, err := i.o.Store.Nodes(ctx)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, n := range nodes {
		if !n.Revoked.IsZero() {
			i.revoked[n.ID] = true
		}
	}
	return nil
}

// Revocations are signed revocations of every node that is revoked and whose certificate is not over: what the relays
// must know.
func (i *Issuer) Revocations(ctx context.Context) ([]cluster.Revocation, error) {
	nodes, err := i.o.Store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	now := i.o.Now()
	nodes = slices.DeleteFunc(nodes, func(n store.Node) bool { return n.Revoked.IsZero() || n.NotAfter.Before(now) })
	slices.SortFunc(nodes, func(a, b store.Node) int { // so that all but the last of them stay as they are
		if c := a.Revoked.Compare(b.Revoked); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	s := i.current.Load()
	var list []cluster.Revocation
	for part := range slices.Chunk(nodes, signed.MaxRevoked) {
		r := signed.Revocation{Version: 1, At: mediaclock.At(now)}
		for _, n := range part {
			r.Nodes = append(r.Nodes, n.ID)
		}
		raw, err := s.sign(r)
		if err != nil {
			return nil, errors.Join(errors.New("sign revocation"), err)
		}
		list = append(list, cluster.Revocation{Raw: raw, Nodes: r.Nodes, Issuer: s.grants.DER})
	}
	return list, nil
}
