package issuer

import (
	"context"
	"crypto/ecdh"
	"fmt"
	"slices"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// Session signs a session certificate. identity.ErrScope: zones, class or level beyond this issuer's, a key zone that is
// not the deepest, or a validity beyond the issuer's own. issuer is the certificate (DER) that the signature is verified
// by and that goes out beside it: of the same moment, for the issuer may be renewed in the next.
func (i *Issuer) Session(c signed.SessionCert) (raw, issuer []byte, err error) {
	s := i.current.Load()
	if err := s.grants.Permits(c); err != nil {
		return nil, nil, fmt.Errorf("sign session: %w", err)
	}
	if want := zone.Common(c.Zones); c.KeyZone != want {
		return nil, nil, fmt.Errorf("sign session: %w: key zone %q, want the deepest, %q", identity.ErrScope, c.KeyZone, want)
	}
	if c.NotAfter > s.grants.NotAfter.Unix() || c.NotAfter < i.o.Now().Unix() {
		return nil, nil, fmt.Errorf("sign session: %w: it ends on %s", identity.ErrScope, time.Unix(c.NotAfter, 0).UTC())
	}
	raw, err = s.sign(c)
	return raw, s.grants.DER, err
}

// Stop signs a stop; issuer is as in Session. Whether it ends a transmission is judged by each receiver from both scopes.
func (i *Issuer) Stop(x signed.Stop) (raw, issuer []byte, err error) {
	s := i.current.Load()
	raw, err = s.sign(x)
	return raw, s.grants.DER, err
}

// Order signs an order to a loudspeaker in zone z; issuer is as in Session. identity.ErrScope: not this issuer's to order.
func (i *Issuer) Order(x signed.Order, z zone.Zone) (raw, issuer []byte, err error) {
	s := i.current.Load()
	if !s.grants.Scope.Contains(z) {
		return nil, nil, fmt.Errorf("sign order: %w: zone %q is not in %q", identity.ErrScope, z, s.grants.Scope)
	}
	raw, err = s.sign(x)
	return raw, s.grants.DER, err
}

func (s *state) sign(b signed.Body) ([]byte, error) {
	id := s.authority.ID()
	return signed.Sign(b, id[:], s.authority.Key)
}

// ZoneKeys returns signed envelopes for a node: its zone and every zone above within the scope, each in the epoch in
// force, the one before and the one prepared, the oldest first; issuer is as in Session. store.ErrNotFound,
// store.ErrRevoked.
func (i *Issuer) ZoneKeys(ctx context.Context, node string) (envelopes [][]byte, issuer []byte, err error) {
	n, err := i.o.Store.Node(ctx, node)
	if err != nil {
		return nil, nil, err
	}
	if !n.Revoked.IsZero() {
		return nil, nil, fmt.Errorf("seal zone keys for %q: %w", node, store.ErrRevoked)
	}
	sealing, err := ecdh.X25519().NewPublicKey(n.Sealing[:])
	if err != nil {
		return nil, nil, fmt.Errorf("seal zone keys for %q: %w", node, err)
	}
	s := i.current.Load()
	for _, z := range n.Zone.Chain() {
		if !s.grants.Scope.Contains(z) {
			continue
		}
		keys, err := i.inForce(ctx, z)
		if err != nil {
			return nil, nil, err
		}
		for _, k := range keys {
			e, err := identity.SealZoneKey(n.ID, sealing, z, k.Epoch, k.Secret)
			if err != nil {
				return nil, nil, err
			}
			raw, err := s.sign(e)
			if err != nil {
				return nil, nil, err
			}
			envelopes = append(envelopes, raw)
		}
	}
	return envelopes, s.grants.DER, nil
}

// inForce returns what receivers of a zone must know, the oldest epoch first.
func (i *Issuer) inForce(ctx context.Context, z zone.Zone) ([]store.ZoneKey, error) {
	current, err := i.o.Store.EnsureZoneKey(ctx, z, i.o.Now())
	if err != nil {
		return nil, err
	}
	all, err := i.o.Store.ZoneKeys(ctx, z) // the newest first
	if err != nil {
		return nil, err
	}
	var keys []store.ZoneKey
	for _, k := range all {
		if k.Epoch+1 >= current.Epoch && (k.Epoch <= current.Epoch || len(keys) == 0) {
			keys = append(keys, k)
		}
	}
	slices.Reverse(keys)
	return keys, nil
}

// Revoke ends trust in a node: at once for Revoked, and in the database. Whoever holds its connections ends them.
func (i *Issuer) Revoke(ctx context.Context, node string) error {
	if err := i.o.Store.RevokeNode(ctx, node, i.o.Now()); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.revoked[node] = true
	return nil
}

// Revoked reports whether trust in a node has ended: the hook for the control port's admission. It does no I/O.
func (i *Issuer) Revoked(node string) bool {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.revoked[node]
}
