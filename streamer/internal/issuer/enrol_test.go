package issuer

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

func TestEnrol(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	for _, c := range []struct {
		kind identity.Kind
		zone zone.Zone
		life time.Duration
		uses []x509.ExtKeyUsage
	}{
		{identity.Client, "31/11296/02", clientLife, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		{identity.Relay, "31", serverLife, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}},
	} {
		node := p.enrol(i, c.kind, c.zone)
		leaf := node.Chain[0]
		if node.Node.Kind != c.kind || node.Node.Zone != c.zone || node.Node.Name != "Loa đình làng" {
			t.Errorf("enrolled %+v", node.Node)
		}
		if !slices.Equal(leaf.ExtKeyUsage, c.uses) || leaf.NotAfter.Sub(p.now) != c.life || leaf.NotBefore.After(p.now) {
			t.Errorf("%s: uses %v from %s until %s", c.kind, leaf.ExtKeyUsage, leaf.NotBefore, leaf.NotAfter)
		}
		n := must(p.db.Node(t.Context(), node.Node.ID))(t)
		if n.Kind != store.NodeKind(c.kind) || n.Zone != c.zone || n.Name != "Loa đình làng" || string(n.Certificate) != string(leaf.Raw) ||
			string(n.Signing[:]) != string(node.Key.Public().(ed25519.PublicKey)) || n.Sealing != [32]byte(node.HPKE.PublicKey().Bytes()) {
			t.Errorf("the database has %+v", n)
		}
	}
}

// TestEnrolRefuses: what a token does not open, the answer to each, and that nothing is stored.
func TestEnrolRefuses(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	k := must(identity.NewKeys())(t)
	add := func(change func(*store.Token)) string {
		t.Helper()
		token := identity.NewToken(identity.Client, i.Root())
		s := store.Token{
			ID: store.NewID(), Secret: token.Hash(), Kind: store.TokenClient, Name: "x", Zone: "31", CreatedBy: "cli",
			Created: p.now, Expires: p.now.Add(time.Hour),
		}
		change(&s)
		if err := p.db.AddToken(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		return token.String()
	}
	same := func(*store.Token) {}
	used := add(same)
	must(i.Enrol(t.Context(), request(t, used, identity.Client, must(identity.NewKeys())(t))))(t)
	var id string
	revoked := add(func(s *store.Token) { id = s.ID })
	if err := p.db.RevokeToken(t.Context(), id, p.now); err != nil {
		t.Fatal(err)
	}
	foreign := identity.NewToken(identity.Client, [32]byte{1})
	good := add(same)
	text := must(identity.ParseToken(good))(t)
	text.Kind = identity.Relay
	nodes := len(must(p.db.Nodes(t.Context()))(t))
	for _, c := range []struct {
		name    string
		request control.EnrolRequest
		code    string
	}{
		{"used", request(t, used, identity.Client, k), control.CodeUsed},
		{"expired", request(t, add(func(s *store.Token) { s.Created, s.Expires = p.now.Add(-2*time.Hour), p.now.Add(-time.Hour) }), identity.Client, k), control.CodeExpired},
		{"expires now", request(t, add(func(s *store.Token) { s.Expires = p.now }), identity.Client, k), control.CodeExpired},
		{"revoked", request(t, revoked, identity.Client, k), control.CodeUnknown},
		{"guessed", request(t, identity.NewToken(identity.Client, i.Root()).String(), identity.Client, k), control.CodeUnknown},
		{"another network's", request(t, foreign.String(), identity.Client, k), control.CodeUnknown},
		{"no token", request(t, "", identity.Client, k), control.CodeUnknown},
		{"garbage token", request(t, "DT1.x", identity.Client, k), control.CodeUnknown},
		{"an API token's secret", request(t, add(func(s *store.Token) { s.Kind, s.Role = store.TokenAPI, "officer" }), identity.Client, k), control.CodeUnknown},
		{"a client as a relay", request(t, add(same), identity.Relay, k), control.CodeKind},
		{"a client as a streamer", request(t, add(same), identity.Streamer, k), control.CodeKind},
		{"a client as nothing", request(t, add(same), "", k), control.CodeKind},
		{"the text says relay", request(t, text.String(), identity.Relay, k), control.CodeKind},
		{"no request", control.EnrolRequest{Token: add(same), Kind: "client"}, control.CodeMalformed},
		{"garbage request", control.EnrolRequest{Token: add(same), Kind: "client", CSR: []byte("x")}, control.CodeMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := i.Enrol(t.Context(), c.request)
			var refused *control.Refused
			if r != nil || !errors.As(err, &refused) || refused.Code != c.code || refused.Reason == "" {
				t.Errorf("Enrol() = %v, %v, want a refusal %q", r, err, c.code)
			}
		})
	}
	if got := len(must(p.db.Nodes(t.Context()))(t)); got != nodes {
		t.Errorf("%d nodes were stored", got-nodes)
	}
	// A token that was tried with the wrong kind still works for the right one.
	must(i.Enrol(t.Context(), request(t, good, identity.Client, k)))(t)
}

// TestEnrolTries: a token dies after five vain attempts.
func TestEnrolTries(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	k := must(identity.NewKeys())(t)
	for _, vain := range []int{maxAttempts - 1, maxAttempts} {
		text := p.token(i, identity.Client, "31")
		for range vain {
			if _, err := i.Enrol(t.Context(), request(t, text, identity.Relay, k)); err == nil {
				t.Fatal("a relay enrols with a client's token")
			}
		}
		_, err := i.Enrol(t.Context(), request(t, text, identity.Client, k))
		var refused *control.Refused
		if alive := vain < maxAttempts; alive != (err == nil) || !alive && (!errors.As(err, &refused) || refused.Code != control.CodeUsed) {
			t.Errorf("after %d vain attempts: %v", vain, err)
		}
	}
}

// TestEnrolRace: of many at once exactly one gets the certificate.
func TestEnrolRace(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	text := p.token(i, identity.Client, "31")
	var wg sync.WaitGroup
	var mu sync.Mutex
	won, lost := 0, 0
	for range 12 {
		r := request(t, text, identity.Client, must(identity.NewKeys())(t))
		wg.Go(func() {
			_, err := i.Enrol(context.Background(), r)
			mu.Lock()
			defer mu.Unlock()
			var refused *control.Refused
			switch {
			case err == nil:
				won++
			case errors.As(err, &refused) && refused.Code == control.CodeUsed:
				lost++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 || lost != 11 {
		t.Errorf("%d won and %d lost, want 1 and 11", won, lost)
	}
	if nodes := must(p.db.Nodes(t.Context()))(t); len(nodes) != 2 {
		t.Errorf("%d nodes, want the streamer and one", len(nodes))
	}
}

// TestEnrolAgain: the same keys get the same certificate, as long as that makes sense.
func TestEnrolAgain(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	text := p.token(i, identity.Client, "31")
	k := must(identity.NewKeys())(t)
	first := must(i.Enrol(t.Context(), request(t, text, identity.Client, k)))(t)
	again := must(i.Enrol(t.Context(), request(t, text, identity.Client, k)))(t)
	if string(first.Chain[0]) != string(again.Chain[0]) || len(again.Chain) != 3 {
		t.Error("the second answer is another")
	}
	must(must(identity.ParseToken(text))(t).Accept(k, again.Chain, again.Roots, p.now))(t)
	used := func(why string) {
		t.Helper()
		var refused *control.Refused
		if _, err := i.Enrol(t.Context(), request(t, text, identity.Client, k)); !errors.As(err, &refused) || refused.Code != control.CodeUsed {
			t.Errorf("%s: Enrol() = %v, want a refusal, used", why, err)
		}
	}
	p.pass(61 * day)
	if err := i.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	used("after the issuer was renewed")
	q := newPlace(t)
	j := q.open()
	text = q.token(j, identity.Client, "31")
	must(j.Enrol(t.Context(), request(t, text, identity.Client, k)))(t)
	nodes := must(q.db.Nodes(t.Context()))(t)
	for _, n := range nodes {
		if n.Kind == store.NodeClient {
			if err := j.Revoke(t.Context(), n.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	i = j
	used("after the node was revoked")
}

// TestEnrolDatabase: faults of the database are not the asker's.
func TestEnrolDatabase(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	text := p.token(i, identity.Client, "31")
	r := request(t, text, identity.Client, must(identity.NewKeys())(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := i.Enrol(ctx, r)
	var refused *control.Refused
	if err == nil || errors.As(err, &refused) {
		t.Errorf("Enrol() with a cancelled context = %v, want an error that refuses nobody", err)
	}
	must(i.Enrol(t.Context(), r))(t) // and the token is still good
	for _, fault := range []error{store.ErrBusy, store.ErrFull, store.ErrReadOnly} {
		if err := refusal(fault); !errors.As(err, &refused) || refused.Code != control.CodeBusy || refused.After == 0 {
			t.Errorf("refusal(%v) = %v, want busy", fault, err)
		}
	}
}

func TestAddToken(t *testing.T) {
	p := newPlace(t)
	o := p.options()
	o.Scope = "31"
	i := must(Open(t.Context(), o))(t)
	for name, c := range map[string]struct {
		kind identity.Kind
		zone zone.Zone
		want error
	}{
		"a streamer": {identity.Streamer, "31", nil}, "another province": {identity.Client, "32", identity.ErrScope},
		"the country": {identity.Client, "", identity.ErrScope}, "an unknown commune": {identity.Client, "31/9", store.ErrUnknownZone},
	} {
		if _, _, err := i.AddToken(t.Context(), c.kind, "x", c.zone, time.Hour, "cli"); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("AddToken(%s) = %v, want %v", name, err, c.want)
		}
	}
	text, id, err := i.AddToken(t.Context(), identity.Relay, "Trạm xã", "31/11296", time.Hour, "cli")
	if err != nil {
		t.Fatal(err)
	}
	token := must(identity.ParseToken(text))(t)
	s := must(p.db.Token(t.Context(), token.Hash()))(t)
	if token.Kind != identity.Relay || token.Root != i.Root() || s.ID != id || s.Zone != "31/11296" || !s.Expires.Equal(p.now.Add(time.Hour)) || s.Name != "Trạm xã" {
		t.Errorf("AddToken() gives %+v, stores %+v", token, s)
	}
}
