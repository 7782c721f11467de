package cluster

import (
	"bytes"
	"slices"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
)

// maxRevoked is how many revocations are kept for relays that join, of signed.MaxRevoked nodes each: six messages, which
// leave room in the queue. Of more the oldest goes; a node whose certificate is over needs none.
const maxRevoked = 6 * control.MaxRevocations

// SetCredentials replaces the certificate that downstreams are shown, from the next handshake on. identity.ErrUsage if it
// is not one to serve with.
func (h *Hub) SetCredentials(c *identity.Credentials) error { return h.server.SetCredentials(c) }

// Certify passes a certificate down as Deliver does keys.
func (h *Hub) Certify(c control.Certificate) bool {
	return h.forward(c.Node, control.Message{Certificate: &c})
}

// Revocation is a signed.Revocation that was verified.
type Revocation struct {
	Raw    []byte
	Nodes  []string
	Issuer []byte // DER
}

// covers reports whether r names every node that x does.
func (r Revocation) covers(x Revocation) bool {
	return !slices.ContainsFunc(x.Nodes, func(id string) bool { return !slices.Contains(r.Nodes, id) })
}

// Revoke passes revocations on to every relay beneath, now and at each join to come, and cuts whomever Options.Revoked
// names by now. Those that say nothing new are left out.
func (h *Hub) Revoke(list []Revocation) {
	h.mu.Lock()
	var fresh []Revocation
	for _, r := range list {
		if slices.ContainsFunc(h.revoked, func(k Revocation) bool { return k.covers(r) }) {
			continue
		}
		h.revoked = append(slices.DeleteFunc(h.revoked, r.covers), r)
		fresh = append(fresh, r)
	}
	h.revoked = slices.Delete(h.revoked, 0, max(0, len(h.revoked)-maxRevoked))
	for _, say := range h.revocations(fresh) {
		for _, d := range h.live {
			if d.node.Kind == identity.Relay {
				h.send(d, say)
			}
		}
	}
	h.mu.Unlock()
	h.revoke()
}

// sendRevoked tells a relay that joins whom it must not serve. The caller holds mu.
func (h *Hub) sendRevoked(d *downstream) {
	if d.node.Kind != identity.Relay {
		return
	}
	for _, say := range h.revocations(h.revoked) {
		h.send(d, say)
	}
}

// revocations puts as many into each message as it holds, each issuer's apart.
func (h *Hub) revocations(list []Revocation) (say []*control.Frame) {
	for len(list) > 0 {
		m := control.Revoked{Issuer: list[0].Issuer}
		for len(list) > 0 && len(m.Orders) < control.MaxRevocations && bytes.Equal(list[0].Issuer, m.Issuer) {
			m.Orders = append(m.Orders, list[0].Raw)
			list = list[1:]
		}
		say = append(say, h.frame(control.Message{Revoked: &m}))
	}
	return say
}
