package main

import (
	"context"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// lookForeign is how often the database is asked whether the command line has changed something beside the server.
const lookForeign = time.Second

// registry changes nodes on record and has every running part act on it at once: for the API.
type registry struct{ *streamer }

// Move gives a node another zone and name (issuer.Move).
func (r registry) Move(ctx context.Context, id string, z zone.Zone, name string) (store.Node, error) {
	n, err := r.issuer.Move(ctx, id, z, name)
	if err != nil {
		return store.Node{}, err
	}
	return n, r.refresh(ctx)
}

// Remove ends the trust in a node (issuer.Revoke).
func (r registry) Remove(ctx context.Context, id string) error {
	if err := r.issuer.Revoke(ctx, id); err != nil {
		return err
	}
	return r.refresh(ctx)
}

// AddToken makes an enrolment token (issuer.AddToken).
func (r registry) AddToken(ctx context.Context, kind identity.Kind, name string, z zone.Zone, ttl time.Duration, by string) (text, id string, err error) {
	return r.issuer.AddToken(ctx, kind, name, z, ttl, by)
}

// refresh has the parts read the nodes on record anew: who is revoked is cut here and at every relay, who was moved gets
// a new certificate, and both count at once.
func (s *streamer) refresh(ctx context.Context) error {
	if err := s.issuer.Refresh(ctx); err != nil {
		return err
	}
	revoked, err := s.issuer.Revocations(ctx)
	if err != nil {
		return err
	}
	s.hub.Revoke(revoked)
	return s.picture.Refresh(ctx)
}

// followRecords refreshes whenever another program has written to the database, and has the control port show the
// streamer's own certificate once it was renewed, until ctx ends. A database that fails is logged once.
func (s *streamer) followRecords(ctx context.Context) error {
	tick := time.NewTicker(lookForeign)
	defer tick.Stop()
	seen, shown, failing := int64(-1), s.issuer.Credentials(), false // at first relays are told whom they must not serve
	for {
		n, err := s.store.Foreign(ctx)
		if err == nil && n != seen {
			if err = s.refresh(ctx); err == nil {
				seen = n
			}
		}
		if err != nil && !failing && ctx.Err() == nil {
			s.log.Error("follow the nodes on record", "error", err)
		}
		failing = err != nil
		if c := s.issuer.Credentials(); c != shown {
			shown = c
			s.report("show the renewed certificate", s.hub.SetCredentials(c))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
