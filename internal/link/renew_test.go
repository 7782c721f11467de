package link

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
)

// TestRenewedOneAfterAnother replaces the certificate of a node with two upstreams: each is joined anew with it, and at
// no moment are both away.
func TestRenewedOneAfterAnother(t *testing.T) {
	now := time.Now()
	root, err := identity.NewRoot(now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := root.NewIssuer("31", signed.ClassNormal, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	enlist := func(n identity.Node) *identity.Credentials {
		c, err := issuer.Enlist(n, now, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	me := identity.Node{ID: "me", Kind: identity.Client, Zone: "31/1"}
	c := enlist(me)
	type event struct {
		up   string
		zone string // of the node that has come; empty: it has left
	}
	events := make(chan event, 64)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var urls []string
	for _, name := range []string{"one", "two"} {
		server, err := control.NewServer(control.ServerOptions{
			Listen: "127.0.0.1:0", Credentials: enlist(identity.Node{ID: name, Kind: identity.Relay, Zone: "31"}),
			Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
			Accept: func(conn *control.Conn) {
				events <- event{name, string(conn.Peer().Zone)}
				_ = conn.Run(ctx, func(control.Message) {
					_ = conn.Send(control.Message{Welcome: &control.Welcome{Flow: make([]byte, 8), Media: ":9", Path: []string{"s", name}}})
				})
				if ctx.Err() == nil {
					events <- event{name, ""}
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Bind(ctx); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _ = server.Run(ctx) })
		urls = append(urls, "wss://"+server.Addr().String())
	}
	joined := make(chan int, 16)
	l := newLinks(t, c, Events{Joined: func(from int, _ identity.Node) { joined <- from }}, urls...)
	wg.Go(func() { _ = l.Run(ctx) })
	next := func() event {
		t.Helper()
		select {
		case e := <-events:
			return e
		case <-time.After(10 * time.Second):
			t.Fatal("nothing happens")
			return event{}
		}
	}
	for range 2 {
		if e := next(); e.zone != "31/1" {
			t.Fatalf("%+v, want a join from zone 31/1", e)
		}
		<-joined
	}
	me.Zone = "31/2"
	chain, err := issuer.Certify(me, c.Key.Public().(ed25519.PublicKey), c.HPKE.PublicKey(), identity.After(c.Chain[0], time.Now()), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := c.Renew(chain, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	l.SetCredentials(renewed)
	state := map[string]string{"one": "31/1", "two": "31/1"}
	for state["one"] != "31/2" || state["two"] != "31/2" {
		e := next()
		if state[e.up] = e.zone; e.zone != "" && e.zone != "31/2" {
			t.Errorf("%s was shown the certificate of zone %s", e.up, e.zone)
		}
		if state["one"] == "" && state["two"] == "" {
			t.Error("both upstreams are away at once")
		}
		if s := l.State(); !s.Upstreams[0].Joined || !s.Upstreams[1].Joined {
			t.Errorf("an upstream that is joined anew shows as lost: %+v", s)
		}
	}
	if n := l.Failovers(); n != 0 {
		t.Errorf("%d failovers", n)
	}
	<-joined
	<-joined
	l.SetCredentials(renewed) // told once more: nothing is to be done
	select {
	case e := <-events:
		t.Errorf("told once more: %+v", e)
	case <-time.After(300 * time.Millisecond):
	}
}
