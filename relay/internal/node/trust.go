package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"dongthanh/internal/cluster"
	"dongthanh/internal/control"
	"dongthanh/internal/identity"
)

// revokedFile keeps the revocations across a restart: a stolen box must not come back because the power went.
const revokedFile = "revoked.json"

// outcasts are the nodes that this relay must not serve. Safe for concurrent use, but for take, which has one caller. has
// and list never wait for the disk: the fan-out asks them with its lock held.
type outcasts struct {
	write func(raw []byte) error // keeps the file

	mu   sync.RWMutex // guards all below
	ids  map[string]bool
	kept []cluster.Revocation
}

// openOutcasts reads those of the last run. A file that cannot be read, or objects that do not hold, are left out: the
// upstream tells them again.
func openOutcasts(dir string, roots *identity.Roots) (*outcasts, error) {
	o := &outcasts{write: func(raw []byte) error { return identity.WriteFile(dir, revokedFile, raw) }, ids: map[string]bool{}}
	raw, err := os.ReadFile(filepath.Join(dir, revokedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return o, fmt.Errorf("read revocations: %w", err)
	}
	var kept []cluster.Revocation
	if len(raw) > 0 && json.Unmarshal(raw, &kept) != nil {
		return o, fmt.Errorf("read revocations: %s is damaged", filepath.Join(dir, revokedFile))
	}
	// What was revoked stays so, though its issuer has been renewed since: no validity is judged.
	trust := identity.NewTrust(roots, func() time.Time { return time.Time{} })
	for _, k := range kept {
		if trust.AddIssuer(k.Issuer) != nil {
			continue
		}
		if r, err := trust.Revocation(k.Raw); err == nil {
			k.Nodes = r.Nodes
			o.add(k)
		}
	}
	return o, nil
}

// add takes one in and reports whether it says anything new.
func (o *outcasts) add(r cluster.Revocation) (fresh bool) {
	for _, id := range r.Nodes {
		fresh = fresh || !o.ids[id]
		o.ids[id] = true
	}
	if fresh {
		o.kept = append(o.kept, r)
	}
	return fresh
}

// take takes verified revocations in and stores them; fresh are those that say anything new.
func (o *outcasts) take(list []cluster.Revocation) (fresh []cluster.Revocation, err error) {
	full := false
	o.mu.Lock()
	for _, r := range list {
		if len(o.ids) >= maxOutcasts {
			full = full || slices.ContainsFunc(r.Nodes, func(id string) bool { return !o.ids[id] })
		} else if o.add(r) {
			fresh = append(fresh, r)
		}
	}
	o.mu.Unlock()
	if full {
		err = fmt.Errorf("over %d nodes are revoked: this relay takes no more; remove its %s and start it anew", maxOutcasts, revokedFile)
	}
	if len(fresh) == 0 {
		return nil, err
	}
	raw, fault := json.Marshal(o.list())
	if fault == nil {
		fault = o.write(raw)
	}
	if fault != nil {
		err = errors.Join(err, fmt.Errorf("keep revocations (they hold until a restart): %w", fault))
	}
	return fresh, err
}

// maxOutcasts bounds the memory, far above what a province loses while certificates last.
const maxOutcasts = 20_000

func (o *outcasts) has(id string) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.ids[id]
}

func (o *outcasts) list() []cluster.Revocation {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.kept[:len(o.kept):len(o.kept)] // elements are never changed
}

// letter is what takeTrust handles: the disk may be slow, and a stop must not wait behind it.
type letter struct {
	certificate *control.Certificate
	revoked     *control.Revoked
}

// certificate takes a new chain for this relay, or passes it on.
func (n *Node) certificate(m control.Certificate, _ int) {
	if m.Node != n.self.ID {
		n.hub.Certify(m)
		return
	}
	n.post(letter{certificate: &m})
}

func (n *Node) revoked(m control.Revoked, _ int) { n.post(letter{revoked: &m}) }

// postWait is how long an upstream's letter waits for a place: its turn comes sooner, even beside an upstream that sends
// them without end, and a stop behind it may wait so long if the disk hangs.
const postWait = time.Second

// post queues a letter; one that finds no place in time is lost, and comes again at the next join.
func (n *Node) post(l letter) {
	late := time.NewTimer(postWait)
	defer late.Stop()
	select {
	case n.letters <- l:
	case <-late.C:
		n.refused.Add(errors.New("too many certificates and revocations at a time"))
	}
}

// takeTrust handles letters until ctx ends.
func (n *Node) takeTrust(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case l := <-n.letters:
			if l.certificate != nil {
				n.renew(l.certificate.Chain)
			} else {
				n.cast(*l.revoked)
			}
		}
	}
}

// renew takes a new certificate into use, upwards and downwards, from the next handshakes on.
func (n *Node) renew(chain [][]byte) {
	changed, err := n.wallet.Renew(chain, n.time())
	switch {
	case err != nil && !changed: // whoever is upstream can send them without end
		n.refused.Add(err)
		return
	case err != nil:
		n.log.Error("new certificate", "error", err)
	}
	c := n.wallet.Credentials()
	if changed {
		n.log.Info("new certificate", "name", c.Node.Name, "zone", string(c.Node.Zone), "until", c.Chain[0].NotAfter)
	}
	n.refused.Add(n.hub.SetCredentials(c))
	n.links.SetCredentials(c)
}

// cast cuts the nodes that an issuer has revoked and tells the relays beneath.
func (n *Node) cast(m control.Revoked) {
	if err := n.trust.AddIssuer(m.Issuer); err != nil {
		n.refused.Add(fmt.Errorf("revocation: %w", err))
		return
	}
	var list []cluster.Revocation
	for _, raw := range m.Orders {
		r, err := n.trust.Revocation(raw)
		if err != nil {
			n.refused.Add(err)
			continue
		}
		list = append(list, cluster.Revocation{Raw: raw, Nodes: r.Nodes, Issuer: m.Issuer})
	}
	fresh, err := n.outcasts.take(list)
	if err != nil {
		n.log.Error("revocations", "error", err)
	}
	if len(fresh) > 0 {
		n.log.Info("nodes revoked", "revocations", len(fresh))
		n.hub.Revoke(fresh)
	}
}
