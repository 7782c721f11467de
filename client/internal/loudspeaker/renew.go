package loudspeaker

import (
	"dongthanh/internal/control"
	"dongthanh/internal/onair"
)

// certificate takes a new chain from the control channel.
func (l *Loudspeaker) certificate(m control.Certificate, _ int) {
	l.post(control.Message{Certificate: &m})
}

// renew takes a new certificate into use. Where it says another zone, what is on air for that one is listened to from
// now on, and what was for the old one no more.
func (l *Loudspeaker) renew(m control.Certificate) {
	if m.Node != l.node().ID {
		return
	}
	changed, err := l.wallet.Renew(m.Chain, l.time())
	switch {
	case err != nil && !changed: // whoever is upstream can send them without end
		l.refused.Add(err)
		return
	case err != nil:
		l.log.Error("new certificate", "error", err)
	}
	c := l.wallet.Credentials()
	if changed {
		l.log.Info("new certificate", "name", c.Node.Name, "zone", c.Node.Zone, "until", c.Chain[0].NotAfter)
		l.ring.Move(c.Node)
		l.rezone()
	}
	l.links.SetCredentials(c)
}

// rezone listens to what is on air for the zone in force, and to nothing else.
func (l *Loudspeaker) rezone() {
	known := l.listening()
	for x, e := range known {
		if !l.meant(x) {
			l.mail.put(command{stop, e})
		}
	}
	for _, x := range l.table.OnAir() {
		if known[x] == nil {
			l.handle([]onair.Event{{Kind: onair.Revived, On: x}}) // opens it if it is meant for this loudspeaker
		}
	}
}
