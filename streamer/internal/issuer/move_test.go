package issuer

import (
	"errors"
	"slices"
	"testing"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

func TestMove(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	c := p.enrol(i, identity.Client, "31/11296/02")
	id := c.Node.ID
	for range 2 { // in the same second: the later one must win at the node
		for _, z := range []string{"31/11296", "32"} {
			n := must(i.Move(t.Context(), id, zone.Zone(z), "Loa chợ"))(t)
			if string(n.Zone) != z || n.Name != "Loa chợ" {
				t.Errorf("Move() = %+v", n)
			}
			c = must(c.Renew(must(i.Certificate(t.Context(), id))(t), p.clock()))(t)
			if string(c.Node.Zone) != z || identity.Serial(c.Chain[0]) != n.Serial {
				t.Errorf("the node is %+v with serial %s, on record is %s", c.Node, identity.Serial(c.Chain[0]), n.Serial)
			}
		}
	}
	for _, x := range []struct {
		name, id, zone, called string
		want                   error
	}{
		{"unknown node", "nobody", "31", "x", store.ErrNotFound},
		{"the streamer", i.Credentials().Node.ID, "31", "x", store.ErrNotFound},
		{"unknown zone", id, "99", "x", store.ErrUnknownZone},
		{"no name", id, "31", " ", store.ErrInvalid},
	} {
		if _, err := i.Move(t.Context(), x.id, zone.Zone(x.zone), x.called); !errors.Is(err, x.want) {
			t.Errorf("%s: Move() = %v, want %v", x.name, err, x.want)
		}
	}
	if err := i.Revoke(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	_, err := i.Move(t.Context(), id, "31", "x")
	_, err2 := i.Certificate(t.Context(), id)
	if !errors.Is(err, store.ErrRevoked) || !errors.Is(err2, store.ErrRevoked) {
		t.Errorf("of a revoked node: Move() = %v, Certificate() = %v, want ErrRevoked", err, err2)
	}
}

// TestCertificateAfterTheIssuersEnd: a node that was moved while it was away comes back when another issuer is in force.
func TestCertificateAfterTheIssuersEnd(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	c := p.enrol(i, identity.Client, "31/11296")
	must(i.Move(t.Context(), c.Node.ID, "32", "Loa"))(t)
	before := string(i.DER())
	p.pass(80 * day)
	if err := i.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if string(i.DER()) == before {
		t.Fatal("the issuer was not renewed")
	}
	c = must(c.Renew(must(i.Certificate(t.Context(), c.Node.ID))(t), p.clock()))(t)
	if n := must(p.db.Node(t.Context(), c.Node.ID))(t); c.Node.Zone != "32" || n.Serial != identity.Serial(c.Chain[0]) {
		t.Errorf("the node is in zone %q with a certificate that is on record: %v", c.Node.Zone, n.Serial == identity.Serial(c.Chain[0]))
	}
}

func TestRevocations(t *testing.T) {
	p := newPlace(t)
	i, cli := p.open(), p.open() // the command line beside the server
	var want []string
	for range signed.MaxRevoked + 2 {
		c := p.enrol(i, identity.Client, "31")
		p.pass(time.Second)
		if err := cli.Revoke(t.Context(), c.Node.ID); err != nil {
			t.Fatal(err)
		}
		want = append(want, c.Node.ID)
	}
	if i.Revoked(want[0]) {
		t.Error("known before it was read")
	}
	if err := i.Refresh(t.Context()); err != nil || !i.Revoked(want[0]) {
		t.Errorf("Refresh() = %v, revoked: %v", err, i.Revoked(want[0]))
	}
	roots := i.Credentials().Roots
	trust := identity.NewTrust(roots, p.clock)
	var got []string
	list := must(i.Revocations(t.Context()))(t)
	for _, r := range list {
		if err := trust.AddIssuer(r.Issuer); err != nil {
			t.Fatal(err)
		}
		x := must(trust.Revocation(r.Raw))(t)
		if !slices.Equal(x.Nodes, r.Nodes) {
			t.Errorf("it names %q, told are %q", x.Nodes, r.Nodes)
		}
		got = append(got, r.Nodes...)
	}
	if !slices.Equal(got, want) || len(list) != 2 {
		t.Errorf("%d revocations name %q, want 2 that name %q", len(list), got, want)
	}
	p.pass(2 * clientLife)
	if err := i.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list := must(i.Revocations(t.Context()))(t); len(list) != 0 {
		t.Errorf("%d revocations of nodes whose certificates are over", len(list))
	}
}
