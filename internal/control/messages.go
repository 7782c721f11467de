// Package control is the control channel: one mutually authenticated WebSocket (TLS 1.3) from each node to each of
// its upstreams. Orders that matter travel on it as signed objects, so the channel itself need not be trusted with
// them. Media never waits for it (docs/protocol.md §6).
package control

import "dongthanh/internal/zone"

// Limits of the channel.
const (
	FirstMessage = 4 << 10  // bytes of the first message a node may send
	MaxMessage   = 64 << 10 // bytes of every later one
	QueueLen     = 64       // messages that wait to be written; one more ends the connection
)

// Paths on the control port.
const (
	PathControl = "/control/v1" // WebSocket, client certificate required
	PathEnrol   = "/enrol/v1"   // POST, no client certificate: a token is the authority
)

// Exporter is the TLS exporter label (RFC 8446 §7.5) of a flow's key; the context is the flow id. Nothing secret is
// ever sent.
const Exporter = "EXPORTER-dongthanh-flow"

// Message is one JSON text message: an object with exactly one member. An unknown member is ignored, so that
// neighbours of different versions live together.
type Message struct {
	Join        *Join        `json:"join,omitempty"`        // up, first
	Welcome     *Welcome     `json:"welcome,omitempty"`     // down, first
	Refuse      *Refuse      `json:"refuse,omitempty"`      // down, then the connection ends
	Path        *Path        `json:"path,omitempty"`        // down, when the upstream's own path changed
	Session     *Session     `json:"session,omitempty"`     // down
	Stop        *Stop        `json:"stop,omitempty"`        // down
	Keys        *Keys        `json:"keys,omitempty"`        // down, for one node
	Order       *Order       `json:"order,omitempty"`       // down, for one node
	Certificate *Certificate `json:"certificate,omitempty"` // down, for one node
	Revoked     *Revoked     `json:"revoked,omitempty"`     // down, to relays
	Changes     *Changes     `json:"changes,omitempty"`     // up
	Digest      *Digest      `json:"digest,omitempty"`      // up, every 30 s
	Resync      *Resync      `json:"resync,omitempty"`      // down: send all members again
	Reports     *Reports     `json:"reports,omitempty"`     // up
	Enrol       *Enrol       `json:"enrol,omitempty"`       // up, forwarded
	EnrolReply  *EnrolReply  `json:"enrol_reply,omitempty"` // down, its answer
}

// Join is a node's first message. Who it is stands in its certificate.
type Join struct {
	Version string `json:"version"` // of the software
	Standby bool   `json:"standby"` // this upstream is not the one it listens to
	Boot    uint32 `json:"boot"`    // persisted boot count, upper part of its datagram counters
}

// Welcome answers a Join that is accepted.
type Welcome struct {
	Flow  []byte   `json:"flow"`  // 8 bytes; the flow key comes from the TLS exporter
	Media string   `json:"media"` // host:port for datagrams; an empty host means the control connection's
	Path  []string `json:"path"`  // node ids from the streamer down to this upstream itself
}

// Refuse says why a node is not served.
type Refuse struct {
	Code   string `json:"code"` // "loop", "revoked", "zone", "version", "busy"
	Reason string `json:"reason"`
}

// Path is the hop list of an upstream. A node that finds itself in it has made a loop and leaves; 16 hops at most.
type Path struct {
	Nodes []string `json:"nodes"`
}

// Session announces a transmission: its signed certificate and the issuer's.
type Session struct {
	Cert   []byte `json:"cert"`   // signed.SessionCert
	Issuer []byte `json:"issuer"` // X.509 DER
}

// Stop carries a signed.Stop and the issuer's certificate.
type Stop struct {
	Order  []byte `json:"order"`
	Issuer []byte `json:"issuer"`
}

// Keys carries signed.ZoneKey envelopes to the node they are sealed for.
type Keys struct {
	Node      string   `json:"node"`
	Envelopes [][]byte `json:"envelopes"`
	Issuer    []byte   `json:"issuer"`
}

// Order carries a signed.Order to the loudspeaker that it is for.
type Order struct {
	Node   string `json:"node"`
	Order  []byte `json:"order"`
	Issuer []byte `json:"issuer"`
}

// Certificate carries a new certificate chain to the node whose keys it is for.
type Certificate struct {
	Node  string   `json:"node"`
	Chain [][]byte `json:"chain"` // DER: node, issuer, root
}

// Revoked carries signed.Revocation objects to every relay.
type Revoked struct {
	Orders [][]byte `json:"orders"` // at most MaxRevocations
	Issuer []byte   `json:"issuer"`
}

// Member is a node as its upstream sees it.
type Member struct {
	Node    string    `json:"node"`
	Via     string    `json:"via"`  // id of the node it is connected to
	Kind    string    `json:"kind"` // "relay" or "client"
	Zone    zone.Zone `json:"zone"`
	Version string    `json:"version,omitempty"`
	Address string    `json:"address,omitempty"` // as Via sees it
	Standby bool      `json:"standby,omitempty"`
	Since   int64     `json:"since,omitempty"`  // Unix ms, when it joined Via
	Gone    bool      `json:"gone,omitempty"`   // it left, or fell silent
	Serial  string    `json:"serial,omitempty"` // of the certificate that it shows, hex; empty: Via is of an earlier version
}

// Changes lists what changed beneath the sender. Full starts anew: members not named are gone.
type Changes struct {
	Full    bool     `json:"full,omitempty"`
	Members []Member `json:"members"`
}

// Digest lets the upstream find that the two pictures differ: count, and XOR of the first 8 bytes of SHA-256 over
// "node\x00via\x00zone\x00standby(0|1)" of each member.
type Digest struct {
	Count int    `json:"count"`
	Sum   uint64 `json:"sum,string"`
}

// Resync asks for Changes with Full set.
type Resync struct{}

// Reports carries signed.Report objects, unaltered.
type Reports struct {
	Reports [][]byte `json:"reports"`
}

// Enrol carries a request for a certificate towards the issuer. Ref is the forwarding node's own number.
type Enrol struct {
	Ref     uint64       `json:"ref"`
	Request EnrolRequest `json:"request"`
}

// EnrolReply answers the Enrol with the same Ref.
type EnrolReply struct {
	Ref   uint64         `json:"ref"`
	Reply *EnrolResponse `json:"reply,omitempty"`
	Error string         `json:"error,omitempty"` // one English sentence
	Code  string         `json:"code,omitempty"`  // "used", "expired", "unknown", "kind", "busy", "malformed"
}

// EnrolRequest is the body of POST PathEnrol.
type EnrolRequest struct {
	Token string `json:"token"`
	Kind  string `json:"kind"` // "relay" or "client"
	CSR   []byte `json:"csr"`  // PKCS #10, DER, made with the node's own key
}

// EnrolResponse is the new node's certificate with its issuer and root.
type EnrolResponse struct {
	Chain [][]byte `json:"chain"` // DER: node, issuer, root
	Roots [][]byte `json:"roots"` // DER: the one or two roots to pin
}
