package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/nodes"
	"dongthanh/streamer/internal/store"
)

// Registry changes nodes on record; what runs acts on it when a method returns.
type Registry interface {
	Move(ctx context.Context, id string, z zone.Zone, name string) (store.Node, error)
	Remove(ctx context.Context, id string) error
	// AddToken makes an enrolment token (issuer.AddToken).
	AddToken(ctx context.Context, kind identity.Kind, name string, z zone.Zone, ttl time.Duration, by string) (text, id string, err error)
}

// moveNode gives a node another name and zone where they are not nil; who asks must manage the new zone too.
func (a *api) moveNode(r *http.Request, n nodes.Node, newName, newZone *string) error {
	name, place := n.Name, n.Zone
	if newName != nil {
		if name = strings.TrimSpace(*newName); name == "" {
			return errNoName
		}
	}
	if newZone != nil {
		var err error
		if place, err = zone.Parse(*newZone); err != nil {
			return errNoZone
		}
		if !who(r).Can(accounts.ManageNodes, place) {
			return errForbidden
		}
	}
	if name == n.Name && place == n.Zone {
		return nil
	}
	_, err := a.Registry.Move(r.Context(), n.ID, place, name)
	return err
}

// removeNode ends the trust in a node.
func (a *api) removeNode(w http.ResponseWriter, r *http.Request) error {
	n, err := a.managed(r)
	if err != nil {
		return err
	}
	if err := a.Registry.Remove(r.Context(), n.ID); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
