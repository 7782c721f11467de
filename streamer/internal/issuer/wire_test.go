package issuer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
)

// TestOverTheWire goes the whole way with real parts: a token, enrolment at the streamer's port, a control connection
// with what was got, zone keys on it, the token again, and the end of trust.
func TestOverTheWire(t *testing.T) {
	p := newPlace(t)
	p.now = time.Now()
	i := p.open()
	joined := make(chan *control.Conn, 10)
	s := must(control.NewServer(control.ServerOptions{
		Listen: "127.0.0.1:0", Credentials: i.Credentials(), Enroller: i, Revoked: i.Revoked,
		Log: slog.New(slog.NewTextHandler(p.log, nil)), Registerer: prometheus.NewRegistry(), Prefix: "dongthanh_streamer_",
		Accept: func(c *control.Conn) {
			joined <- c
			_ = c.Run(context.Background(), func(m control.Message) {
				envelopes, issuer, err := i.ZoneKeys(context.Background(), c.Peer().ID)
				if err != nil {
					t.Error(err)
				}
				_ = c.Send(control.Message{Keys: &control.Keys{Node: c.Peer().ID, Envelopes: envelopes, Issuer: issuer}})
			})
		},
	}))(t)
	if err := s.Bind(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	url := "wss://" + s.Addr().String()

	// Several nodes race for one token; who wins connects.
	text := p.token(i, identity.Client, "31/11296")
	dirs := make(chan string, 4)
	var wg sync.WaitGroup
	for range cap(dirs) {
		dir := t.TempDir()
		wg.Go(func() {
			_, err := control.EnrolNode(context.Background(), url, text, identity.Client, dir)
			var refused *control.Refused
			switch {
			case err == nil:
				dirs <- dir
			case !errors.As(err, &refused) || refused.Code != control.CodeUsed:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(dirs) != 1 {
		t.Fatalf("%d nodes have enrolled with one token", len(dirs))
	}
	dir := <-dirs
	c := must(identity.Load(dir))(t)
	ring := must(identity.OpenKeyring(dir, c))(t)

	conn := must(control.Dial(t.Context(), url, c))(t)
	keys := make(chan *control.Keys, 1)
	end := make(chan error, 1)
	go func() { end <- conn.Run(context.Background(), func(m control.Message) { keys <- m.Keys }) }()
	if err := conn.Send(control.Message{Join: &control.Join{}}); err != nil {
		t.Fatal(err)
	}
	k := <-keys
	trust := identity.NewTrust(c.Roots, time.Now)
	if err := trust.AddIssuer(k.Issuer); err != nil {
		t.Fatal(err)
	}
	for _, raw := range k.Envelopes {
		if err := ring.Open(must(trust.ZoneKey(raw))(t)); err != nil {
			t.Error(err)
		}
	}
	for _, z := range c.Node.Zone.Chain() {
		want := must(p.db.ZoneKey(t.Context(), z))(t)
		if secret, ok := ring.Secret(z, want.Epoch); !ok || secret != want.Secret {
			t.Errorf("the secret of %q did not arrive", z)
		}
	}

	// A stolen loudspeaker: its connection is cut, and it does not come back.
	if err := i.Revoke(t.Context(), c.Node.ID); err != nil {
		t.Fatal(err)
	}
	(<-joined).Close(&control.Refused{Code: control.CodeRevoked, Reason: "revoked"})
	if err := <-end; !errors.Is(err, control.ErrClosed) {
		t.Errorf("Run() = %v, want ErrClosed", err)
	}
	var refused *control.Refused
	if _, err := control.Dial(t.Context(), url, c); !errors.As(err, &refused) || refused.Code != control.CodeRevoked {
		t.Errorf("Dial() = %v, want a refusal, revoked", err)
	}
}
