package api

import (
	"context"
	"crypto/sha256"
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
	eventsShare = 20                     // a stream pauses this many times as long as its last event took, …
	eventsSlow  = 800 * time.Millisecond // … but not longer: who hears is shown within a second
	eventsWrite = 10 * time.Second       // who does not read for so long is gone
)

// events streams what happens (server-sent events): "sessions" with everything on air and who hears it, "nodes" with
// every node, each whole whenever it changed, "ended" with a session that is over, and an empty "pulse" now and then.
// Nodes are told once a second at most, and less often where they are many.
func (a *api) events(w http.ResponseWriter, r *http.Request) error {
	p, flush := who(r), http.NewResponseController(w)
	if !p.Can(accounts.View, p.Zone) {
		return errForbidden
	}
	leave, err := a.streams.enter(p.ID)
	if err != nil {
		return err
	}
	defer leave()
	patient := func(d time.Time) { _ = flush.SetWriteDeadline(d) } // every connection of the server has one
	defer patient(time.Time{})
	changed, unwatch := a.Sessions.Watch()
	defer unwatch()
	signedOut, unwatchLogin := a.loginEnd(r)
	defer unwatchLogin()
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no")
	pulse := time.NewTicker(a.pulse)
	defer pulse.Stop()
	var last told
	for {
		picture, began := a.Nodes.Changed(), time.Now()
		patient(began.Add(eventsWrite))
		later, err := a.sendState(w, r, p, &last)
		if err != nil {
			return nil // the client is gone
		}
		if err := flush.Flush(); err != nil {
			return nil
		}
		rest := min(max(eventsEvery, eventsShare*time.Since(began)), eventsSlow)
		var again <-chan time.Time // for news of nodes that were told a moment ago
		if later > 0 {
			again = time.After(later)
		}
		patient(time.Time{})
		select {
		case <-r.Context().Done():
			return nil
		case <-signedOut:
			return nil
		case <-again:
		case <-pulse.C:
			if !a.same(r.Context(), p) {
				return nil // whoever it is signs in anew
			}
			patient(time.Now().Add(eventsWrite))
			if _, err := fmt.Fprint(w, "event: pulse\ndata: {}\n\n"); err != nil {
				return nil
			}
			continue
		case <-picture:
		case x := <-changed:
			patient(time.Now().Add(eventsWrite))
			if err := a.sendEnded(w, r, p, x); err != nil {
				return nil
			}
		}
		for pause := time.After(rest); pause != nil; {
			select {
			case <-pause:
				pause = nil
			case x := <-changed: // each end is told, however many come at once
				patient(time.Now().Add(eventsWrite))
				if err := a.sendEnded(w, r, p, x); err != nil {
					return nil
				}
			case <-r.Context().Done():
				return nil
			case <-signedOut:
				return nil
			}
		}
	}
}

// loginEnd returns a channel that is closed once the login of a person's request has ended; a machine has none.
func (a *api) loginEnd(r *http.Request) (ended <-chan struct{}, unwatch func()) {
	if who(r).Machine {
		return nil, func() {}
	}
	c, err := r.Cookie(CookieName(r))
	if err != nil {
		return nil, func() {} // signedIn has seen to it that there is one
	}
	return a.Accounts.Ended(c.Value)
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
	if !over(x.State) || !MaySee(p, x.Zones) {
		return nil
	}
	return sendEvent(w, "ended", a.sessionOf(r.Context(), p, session.Session{Session: x}))
}

// told is what a stream has told last.
type told struct{ sessions, nodes [sha256.Size]byte }

// sendState sends what differs from what was told last. later is when to come back for nodes whose news may not be told
// yet; 0: there is none.
func (a *api) sendState(w http.ResponseWriter, r *http.Request, p accounts.Principal, last *told) (later time.Duration, err error) {
	onAir := []sessionJSON{}
	for _, s := range a.Sessions.OnAir() {
		if MaySee(p, s.Zones) && !over(s.State) {
			j := a.sessionOf(r.Context(), p, s)
			j.Level, j.Source.Left = nil, 0 // move all the time; the microphone's own connection tells them
			onAir = append(onAir, j)
		}
	}
	text, err := json.Marshal(onAir)
	if err != nil {
		return 0, err
	}
	if sum := sha256.Sum256(text); sum != last.sessions {
		last.sessions = sum
		if err := sendText(w, "sessions", text); err != nil {
			return 0, err
		}
	}
	list, later, err := a.nodeList(p)
	if err != nil || list.sum == last.nodes {
		return later, err
	}
	last.nodes = list.sum
	return later, sendText(w, "nodes", list.text)
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
	return sendText(w, name, b)
}

// sendText sends an event whose data, one line, is written already.
func sendText(w http.ResponseWriter, name string, data []byte) error {
	_, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, data)
	return err
}
