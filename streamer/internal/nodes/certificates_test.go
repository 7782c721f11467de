package nodes

import (
	"testing"
	"testing/synctest"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
)

// certified returns which nodes were sent their certificate since the last call.
func (b *bed) certified() (ids []string) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.chains {
		ids = append(ids, c.Node)
	}
	b.chains = nil
	return ids
}

func TestMovedNodesGetTheirCertificate(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		for _, kind := range []identity.Kind{identity.Client, identity.Relay} {
			c := b.enrol(kind, "Loa", "31/11296")
			id := c.Node.ID
			settle := func() { time.Sleep(time.Second); synctest.Wait() }
			settle()
			show := func(serial string, since int64) {
				b.Changes(control.Changes{Members: []control.Member{{Node: id, Via: "s", Kind: string(kind), Zone: "31/11296", Since: since, Serial: serial}}})
				settle()
			}
			show(identity.Serial(c.Chain[0]), 1)
			if got := b.certified(); got != nil {
				t.Errorf("%s: %q were sent the certificate that they show", kind, got)
			}
			if _, err := b.issuer.Move(t.Context(), id, "31/11407", "Loa chợ"); err != nil {
				t.Fatal(err)
			}
			b.Reload()
			settle()
			if got := b.certified(); len(got) != 1 || got[0] != id {
				t.Errorf("%s, moved while it is connected: %q were sent certificates", kind, got)
			}
			if n, _ := b.Get(id); n.Zone != "31/11407" || n.Name != "Loa chợ" {
				t.Errorf("%s is listed as %+v", kind, n.Node)
			}
			show(identity.Serial(c.Chain[0]), 2) // it came back without it
			if got := b.certified(); len(got) != 1 {
				t.Errorf("%s, come back with the old one: %q were sent certificates", kind, got)
			}
			n, _ := b.Get(id)
			show(n.Serial, 3)
			if got := b.certified(); got != nil {
				t.Errorf("%s, come back with the new one: %q were sent certificates", kind, got)
			}
			b.handed()
			show("", 4) // at a relay of an earlier version, which does not say
			if got := b.certified(); len(got) != 1 {
				t.Errorf("%s at an old relay: %q were sent certificates", kind, got)
			}
			if ids, _ := b.handed(); (len(ids) == 1) != (kind == identity.Client) {
				t.Errorf("%s at an old relay: %q were handed keys", kind, ids)
			}
		}
	})
}
