package api

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/streamer/internal/accounts"
)

// stream is an open event stream.
type stream struct {
	t      *testing.T
	header http.Header
	events chan event // closed with the stream
}

type event struct {
	name string
	data any
}

// listen opens an event stream at url that ends with the test.
func (c caller) listen(url string) *stream {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	c.must(err)
	for _, h := range c.headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	response, err := c.server.Client().Do(r)
	if err != nil {
		cancel()
		c.t.Fatal(err)
	}
	s := &stream{t: c.t, header: response.Header, events: make(chan event, 1000)}
	go func() {
		defer close(s.events)
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		var e event
		for lines.Scan() {
			switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
			case "event":
				e.name = value
			case "data":
				if err := json.Unmarshal([]byte(value), &e.data); err != nil {
					c.t.Errorf("event %s holds no JSON: %s", e.name, value)
				}
			case "":
				s.events <- e
				e = event{}
			}
		}
	}()
	c.t.Cleanup(func() {
		cancel()
		for range s.events { // until it has ended
		}
		_ = response.Body.Close()
	})
	return s
}

// wait returns the next event of a name for which ok holds.
func (s *stream) wait(what, name string, ok func(data any) bool) any {
	s.t.Helper()
	var last any
	for deadline := time.After(limit); ; {
		select {
		case e, open := <-s.events:
			if !open {
				s.t.Fatalf("%s: the stream has ended; last %v", what, last)
			}
			if e.name == name {
				if last = e.data; ok(e.data) {
					return e.data
				}
			}
		case <-deadline:
			s.t.Fatalf("%s: nothing came; last %v", what, last)
		}
	}
}

func any1(any) bool { return true }

// only reports whether data is a list of one object with the field.
func only(key string, want any) func(any) bool {
	return func(data any) bool {
		list, _ := data.([]any)
		return len(list) == 1 && at(list[0], key) == want
	}
}

func TestEvents(t *testing.T) {
	b := newBed(t)
	lan, minh := b.as("lan"), b.as("minh")
	c := b.enrol(identity.Client, "Loa 1", "31/11296")
	s, other := lan.listen(b.server.URL+"/api/v1/events"), minh.listen(b.server.URL+"/api/v1/events")
	if got := s.header.Get("Content-Type"); got != "text/event-stream; charset=utf-8" || s.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", s.header)
	}
	if list := s.wait("sessions at first", "sessions", any1); len(list.([]any)) != 0 {
		t.Errorf("sessions at first: %v", list)
	}
	s.wait("nodes at first", "nodes", only("state", "offline"))
	if list := other.wait("the other's nodes", "nodes", any1); len(list.([]any)) != 0 {
		t.Errorf("minh is told of nodes of another commune: %v", list)
	}
	b.picture.Changes(control.Changes{Members: []control.Member{{Node: c.Node.ID, Via: "r", Kind: "client", Zone: "31/11296", Since: time.Now().UnixMilli()}}})
	s.wait("the node comes", "nodes", only("state", "online"))

	id := lan.begin(object{"zones": []string{"31/11296"}, "source": object{"kind": "file", "audio": lan.upload(1)}})
	live := s.wait("it is live", "sessions", only("state", "live"))
	if x := live.([]any)[0]; at(x, "id") != id || at(x, "level") != nil || at(x, "listeners", "expected") != 1.0 || at(x, "listeners", "missing").([]any)[0] != c.Node.ID {
		t.Errorf("on air: %v", x)
	}
	ended := s.wait("it ends", "ended", any1)
	if at(ended, "id") != id || at(ended, "state") != "ended" || at(ended, "end_reason") != "source_end" {
		t.Errorf("ended: %v", ended)
	}
	if list := s.wait("nothing is on air", "sessions", any1); len(list.([]any)) != 0 {
		t.Errorf("on air after the end: %v", list)
	}

	mine := minh.begin(on("31/11407"))
	other.wait("minh's own", "sessions", only("id", mine)) // and nothing of the one before
	minh.do("POST", "/sessions/"+mine+"/stop", nil).ok("stop", http.StatusOK)
	if x := other.wait("minh's own ends", "ended", any1); at(x, "id") != mine || at(x, "ended_by") != "minh" {
		t.Errorf("ended: %v", x)
	}
}

// TestManyEnds: each end is told, however many sessions end at once.
func TestManyEnds(t *testing.T) {
	b := newBed(t)
	tinh := b.as("tinh")
	s := tinh.listen(b.server.URL + "/api/v1/events")
	s.wait("sessions at first", "sessions", any1)
	left := map[any]bool{}
	for _, z := range []string{"31/11296/02", "31/11407"} {
		left[tinh.begin(on(z))] = true
	}
	for id := range left {
		b.must(b.sessions.Stop(t.Context(), id.(string), "x"))
	}
	for len(left) > 0 {
		x := s.wait("an end", "ended", any1)
		if !left[at(x, "id")] {
			t.Errorf("told again or wrongly: %v", x)
		}
		delete(left, at(x, "id"))
	}
}

// TestEventsEndWithTheLogin: signing out ends the streams of that login at once, and of no other.
func TestEventsEndWithTheLogin(t *testing.T) {
	b := newBed(t)
	lan, elsewhere := b.as("lan"), b.as("lan")
	mine := []*stream{lan.listen(b.server.URL + "/api/v1/events"), lan.listen(b.server.URL + "/api/v1/events")}
	other := elsewhere.listen(b.server.URL + "/api/v1/events")
	for _, s := range append(mine, other) {
		s.wait("sessions at first", "sessions", any1)
	}
	lan.do("POST", "/logout", nil).ok("sign out", http.StatusNoContent)
	for _, s := range mine {
		deadline := time.After(eventsPulse / 3)
		for open := true; open; {
			select {
			case _, open = <-s.events:
			case <-deadline:
				t.Fatal("the stream goes on after the sign-out")
			}
		}
	}
	id := elsewhere.begin(on("31/11296"))
	other.wait("the other login's stream goes on", "sessions", only("id", id))
}

// TestEventsEndWithTheRights: who is disabled, moved or revoked sees nothing more than until the next pulse.
func TestEventsEndWithTheRights(t *testing.T) {
	b := newBed(t)
	a := &api{Options: b.options(nil, slog.New(slog.DiscardHandler)), pulse: 20 * time.Millisecond}
	server := httptest.NewServer(a.wrap(a.signedIn(a.events)))
	t.Cleanup(server.Close)
	secret, machine, err := b.accounts.AddMachine(t.Context(), accounts.Machine{Name: "máy", Role: accounts.Auditor, Zone: "31", By: "cli"})
	b.must(err)
	user, err := b.store.UserByName(t.Context(), "ha")
	b.must(err)
	for _, c := range []struct {
		name string
		who  caller
		end  func()
	}{
		{"a person", b.as("ha"), func() { b.must(b.accounts.Disable(t.Context(), user.ID)) }},
		{"a machine", b.nobody("Authorization: Bearer " + secret), func() { b.must(b.store.RevokeToken(t.Context(), machine.ID, time.Now())) }},
	} {
		s := c.who.listen(server.URL)
		s.wait(c.name, "pulse", any1)
		s.wait(c.name, "pulse", any1)
		c.end()
		deadline := time.After(limit)
		for open := true; open; {
			select {
			case _, open = <-s.events:
			case <-deadline:
				t.Fatalf("%s: the stream goes on", c.name)
			}
		}
	}
	moved := accounts.Principal{ID: user.ID, Role: accounts.Officer, Zone: "31"}
	lan, err := b.store.UserByName(t.Context(), "lan")
	b.must(err)
	for what, c := range map[string]struct {
		p    accounts.Principal
		want bool
	}{
		"as on record":     {accounts.Principal{ID: lan.ID, Role: accounts.Officer, Zone: "31/11296"}, true},
		"another zone":     {accounts.Principal{ID: lan.ID, Role: accounts.Officer, Zone: "31"}, false},
		"another role":     {accounts.Principal{ID: lan.ID, Role: accounts.Admin, Zone: "31/11296"}, false},
		"disabled":         {moved, false},
		"an unknown token": {accounts.Principal{ID: "x", Machine: true}, false},
	} {
		if got := a.same(t.Context(), c.p); got != c.want {
			t.Errorf("%s: same = %v, want %v", what, got, c.want)
		}
	}
}
