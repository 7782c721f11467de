package node

import (
	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/link"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/onair"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
)

// events are what the upstreams tell.
func (n *Node) events() link.Events {
	return link.Events{
		Session: func(m control.Session, _ int) {
			events, err := n.table.Session(n.now(n.mono.Now()), m.Cert, m.Issuer)
			n.refused.Add(err)
			n.act(events)
		},
		Stop: func(m control.Stop, _ int) {
			events, err := n.table.Stop(n.now(n.mono.Now()), m.Order, m.Issuer)
			n.refused.Add(err)
			n.act(events)
		},
		Order: func(stop []byte, _ int) {
			events, err := n.table.Stop(n.now(n.mono.Now()), stop, nil)
			n.refused.Add(err)
			n.act(events)
		},
		Keys: func(m control.Keys, _ int) {
			if m.Node != n.self.ID { // a relay has no use for a media key
				n.hub.Deliver(m)
			}
		},
		NodeOrder:   func(m control.Order, _ int) { n.hub.Order(m) }, // the loudspeaker judges it
		Certificate: n.certificate, Revoked: n.revoked,
		Resync:     func(int) { n.hub.Resync() },
		Joined:     func(int, identity.Node) { n.hub.Resync(); n.joinedAgain() },
		EnrolReply: n.enrolled,
		Path:       func(path []string) { n.setPath(path); n.hub.PathChanged() },
		State:      func(link.State) { n.joinedAgain() },
		Media:      n.media,
		Beacon:     n.beacon,
		Positions:  n.positions,
	}
}

// beacon takes a beacon from an upstream and passes it on once it is verified.
func (n *Node) beacon(b wire.BeaconBody, body []byte, at mediaclock.Local, from int) {
	x, events := n.table.Beacon(n.now(at), b, from)
	n.act(events)
	if x == nil {
		return
	}
	n.links.Signed(b.At, at)
	n.hub.Beacon(b, body)
	if r := (*n.repairs.Load())[x.Cert.SSRC]; r != nil && r.x == x {
		r.exists(b.Highest, at)
	}
}

// act does what changes of the table ask for.
func (n *Node) act(events []onair.Event) {
	for i, e := range events {
		log := n.log.With("session", hexID(e.On.Cert.Session), "transmission", hexID(e.On.Cert.Transmission))
		switch e.Kind {
		case onair.Opened:
			log.Info("transmission opened", "zones", e.On.Cert.Zones, "class", e.On.Cert.Class, "delay", e.On.Cert.Delay())
			for _, h := range e.Held {
				n.media(h.Raw, n.mono.Now(), h.From)
			}
		case onair.Stopped:
			log.Info("transmission stopped by order")
			if i == 0 || string(events[i-1].Stop) != string(e.Stop) {
				n.passStop(events[i:])
			}
			n.forget(e.On)
		case onair.Ended, onair.Expired:
			log.Info("transmission over")
			n.hub.Close(e.On.ID())
			n.forget(e.On)
		case onair.Silent:
			log.Warn("transmission has fallen silent: no beacons")
			n.silent(e.On, true)
		case onair.Dormant: // nobody beneath counts it as on air any more, so they ping at the idle pace
			log.Info("transmission is dormant")
			n.hub.Close(e.On.ID())
			n.forget(e.On)
		case onair.Revived:
			log.Info("transmission's beacons are back")
			n.opening(e.On)
			n.silent(e.On, false)
		}
	}
	if len(events) > 0 {
		n.links.OnAir(len(n.table.OnAir()) > 0)
		n.look()
	}
}

// passStop passes an order down, with the transmissions that it ended here; it begins with the first of their events.
func (n *Node) passStop(events []onair.Event) {
	first := events[0]
	o, err := signed.Parse[signed.Stop](first.Stop)
	if err != nil { // impossible: the table has verified it
		n.refused.Add(err)
		return
	}
	s := o.Unverified()
	s.Transmissions = nil
	for _, e := range events {
		if e.Kind == onair.Stopped && string(e.Stop) == string(first.Stop) {
			s.Transmissions = append(s.Transmissions, e.On.Cert.Transmission)
		}
	}
	n.hub.Stop(first.Stop, s, first.By)
}

// silent pauses the repairs of a transmission, or lets them go on.
func (n *Node) silent(x *onair.Transmission, silent bool) {
	if r := (*n.repairs.Load())[x.Cert.SSRC]; r != nil && r.x == x {
		r.setSilent(silent)
	}
}

// forget ends the repairs of a transmission.
func (n *Node) forget(x *onair.Transmission) {
	n.changeRepairs(func(m map[uint32]*repairs) {
		if r := m[x.Cert.SSRC]; r != nil && r.x == x {
			delete(m, x.Cert.SSRC)
		}
	})
}

// positions tells an upstream that becomes active where each transmission goes on.
func (n *Node) positions() (all []wire.ResumeBody) {
	for _, x := range n.table.OnAir() {
		if x.Complete() {
			continue
		}
		r := wire.ResumeBody{SSRC: x.Cert.SSRC}
		if i, ok := x.Highest(); ok {
			r.From = i + 1
		} else {
			r.From = seq.Index(x.Cert.Index0) // the upstream sends no more than the delay's worth
		}
		all = append(all, r)
	}
	return all
}
