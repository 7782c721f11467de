// Package identity knows who is who: nodes, their keys and certificates, the pinned roots, and whose signature gives
// the right to speak. It makes node keys, keeps credentials on disk, builds TLS configurations that trust the pinned
// roots and nothing else, and verifies signed objects. It opens no connection and decides nobody's rights (that is the
// streamer's room issuer); packages control, link, cluster and the programs call it (docs/protocol.md §3).
package identity

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/x509"
	"time"

	"dongthanh/internal/zone"
)

// Kind is what a node is for.
type Kind string

// The kinds of a node.
const (
	Streamer Kind = "streamer"
	Relay    Kind = "relay"
	Client   Kind = "client"
)

// Serves reports whether nodes of this kind accept connections from others.
func (k Kind) Serves() bool { return k == Streamer || k == Relay }

func (k Kind) valid() bool { return k == Streamer || k == Relay || k == Client }

// Node is who a certificate says that its holder is.
type Node struct {
	ID   string // chosen by the issuer, 1 to signed.MaxNodeID letters, digits, - and _
	Kind Kind
	Zone zone.Zone
	Name string // for people; nothing is decided by it
}

// Credentials are a node's own keys, certificate and pinned roots. They are read only after Load; safe for concurrent
// use.
type Credentials struct {
	Node  Node
	Key   ed25519.PrivateKey // signs TLS handshakes and reports
	HPKE  *ecdh.PrivateKey   // X25519; opens zone-key envelopes
	Chain []*x509.Certificate
	Roots *Roots

	// Now is the clock that certificates are judged by; nil is time.Now. A zero time says that the clock is not set (a
	// loudspeaker after a power cut): validity is then not judged, all the rest is.
	Now func() time.Time
}
