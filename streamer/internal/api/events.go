package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/nodes"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/store"
)

const (
	eventsEvery = 100 * time.Millisecond // changes that come closer are told together
	eventsPulse = 15 * time.Second       // so that proxies keep the stream, and pages notice a dead one
)

// events streams what happens (server-sent events): "sessions" with everything on air and who hears it, "nodes" with
// every node, each whole whenever it changed, "ended" with a session that is over, and an empty "pulse" now and then.
func (a *api) events(w http.ResponseWriter, r *http.Request) error {
	p, flush := who(r), http.NewResponseController(w)
	changed, unwatch := a.Sessions.Watch()
	defer unwatch()
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no")
	pulse := time.NewTicker(eventsPulse)
	defer pulse.Stop()
	var last [2]string
	for {
		picture := a.Nodes.Changed()
		if err := a.sendState(w, r, p, &last); err != nil {
			return nil // the client is gone
		}
		if err := flush.Flush(); err != nil {
			return nil
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-pulse.C:
			if !a.same(r.Context(), p) {
				return nil // whoever it is signs in anew
			}
			if _, err := fmt.Fprint(w, "event: pulse\ndata: {}\n\n"); err != nil {
				return nil
			}
			continue
		case <-picture:
		case x := <-changed:
			if err := a.sendEnded(w, r, p, x); err != nil {
				return nil
			}
		}
		for pause := time.After(eventsEvery); pause != nil; {
			select {
			case <-pause:
				pause = nil
			case x := <-changed: // each end is told, however many come at once
				if err := a.sendEnded(w, r, p, x); err != nil {
					return nil
				}
			case <-r.Context().Done():
				return nil
			}
		}
	}
}

// same reports whether a principal has the rights that it came with; yes if that cannot be told.
func (a *api) same(ctx context.Context, p accounts.Principal) bool {
	if p.Machine {
		tokens, err := a.Store.Tokens(ctx)
		return err != nil || slices.ContainsFunc(tokens, func(t store.Token) bool {
			return t.ID == p.ID && t.Revoked.IsZero() && (t.Expires.IsZero() || time.Now().Before(t.Expires))
		})
	}
	u, err := a.Store.User(ctx, p.ID)
	return err != nil || (u.Disabled.IsZero() && u.Role == string(p.Role) && u.Zone == p.Zone)
}

// sendEnded tells of a session if it is over.
func (a *api) sendEnded(w http.ResponseWriter, r *http.Request, p accounts.Principal, x store.Session) error {
	if !over(x.State) || !canAny(p, accounts.View, x.Zones) {
		return nil
	}
	return sendEvent(w, "ended", a.sessionOf(r.Context(), session.Session{Session: x}))
}

// sendState sends what differs from what was sent last.
func (a *api) sendState(w http.ResponseWriter, r *http.Request, p accounts.Principal, last *[2]string) error {
	onAir := []sessionJSON{}
	for _, s := range a.Sessions.OnAir() {
		if canAny(p, accounts.View, s.Zones) && !over(s.State) {
			j := a.sessionOf(r.Context(), s)
			j.Level = nil // moves all the time; the microphone's own connection tells it
			onAir = append(onAir, j)
		}
	}
	list := []nodeJSON{}
	for _, n := range a.Nodes.List() {
		if p.Can(accounts.View, n.Zone) {
			list = append(list, brief(n))
		}
	}
	for i, e := range []struct {
		name string
		body any
	}{{"sessions", onAir}, {"nodes", list}} {
		b, err := json.Marshal(e.body)
		if err != nil {
			return err
		}
		if string(b) == last[i] {
			continue
		}
		last[i] = string(b)
		if err := sendEvent(w, e.name, json.RawMessage(b)); err != nil {
			return err
		}
	}
	return nil
}

// brief is a node without the figures that change with every report.
func brief(n nodes.Node) nodeJSON {
	j := nodeOf(n)
	j.Health = nil
	return j
}

func sendEvent(w http.ResponseWriter, name string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, b)
	return err
}
