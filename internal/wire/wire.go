// Package wire holds the datagrams that travel beside the media between a node and its upstream, each authenticated
// by the flow's key: PING, PONG, CHALLENGE, NACK, RESUME, MUTE, REPORT, BEACON and STOP (docs/protocol.md §5). It
// only formats and parses; who answers what is decided in packages udp, link and cluster.
package wire

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
)

// Magic is the first byte of each of our datagrams. It collides with none of RTP and RTCP (128–191), STUN (0–3),
// DTLS (20–63) and TURN channels (64–79), RFC 7983.
const Magic = 0x50

// version stands in the upper half of the second byte, the type in the lower.
const version = 1

// Type tells one datagram from another.
type Type uint8

// The datagrams. "Up" goes towards the streamer, "down" towards the loudspeakers.
const (
	Ping      Type = 1 // up: keeps the binding, asks the time
	Pong      Type = 2 // down: never larger than the ping
	Challenge Type = 3 // down: proves the address; up: its echo
	Nack      Type = 4 // up: packets that are missing
	Resume    Type = 5 // up: send again from an index on, and go on sending
	Mute      Type = 6 // up: this flow stands by (or no longer)
	Report    Type = 7 // up: a signed.Report
	Beacon    Type = 8 // down: streamer's signed time and one signed object
	Stop      Type = 9 // down: a signed.Stop
)

// Sizes in bytes.
const (
	headerLen = 18 // magic, version ‖ type, flow id (8), counter (8)
	tagLen    = 8
	Overhead  = headerLen + tagLen
	MaxLen    = 548
	MaxBody   = MaxLen - Overhead
	PingLen   = 200 // whole datagram, so that no answer is larger
	KeyLen    = 32
)

// Errors, one value each: they happen at the rate a stranger chooses.
var (
	ErrMalformed = errors.New("not one of our datagrams")
	ErrTag       = errors.New("datagram tag does not hold")
)

// FlowID names a flow at the upstream that gave it out: 8 random bytes.
type FlowID [8]byte

// Counter orders one sender's datagrams in a flow: boot count (24 bits) ‖ datagrams since (40 bits), so that it rises
// across a reboot without a write per datagram.
type Counter uint64

// MakeCounter joins a persisted boot count and a running number.
func MakeCounter(boot uint32, n uint64) Counter {
	return Counter(boot&0xffffff)<<40 | Counter(n&(1<<40-1))
}

// Header is the part all datagrams share.
type Header struct {
	Type    Type
	Flow    FlowID
	Counter Counter
}

// Direction separates the two keys of a flow, so that a datagram cannot be reflected to its sender.
type Direction string

// The two directions of a flow.
const (
	Up   Direction = "up"
	Down Direction = "down"
)

// Key authenticates one direction of one flow. Safe for concurrent use.
type Key struct {
	mu  sync.Mutex // guards what follows
	mac hash.Hash
	sum [sha256.Size]byte // kept here so that a tag allocates nothing
}

// NewKey derives a direction's key from the 32-byte flow key: HKDF-Expand(flow key, "dongthanh flow v1 up|down").
func NewKey(flowKey [KeyLen]byte, d Direction) *Key {
	k, err := hkdf.Expand(sha256.New, flowKey[:], "dongthanh flow v1 "+string(d), KeyLen)
	if err != nil {
		panic(fmt.Sprintf("derive 32 bytes by HKDF: %v", err)) // impossible: 32 ≤ 255 hashes
	}
	return &Key{mac: hmac.New(sha256.New, k)}
}

// tag returns the first 64 bits of HMAC-SHA-256 over b.
func (k *Key) tag(b []byte) (t [tagLen]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mac.Reset()
	k.mac.Write(b)
	copy(t[:], k.mac.Sum(k.sum[:0]))
	return t
}

// Append appends a whole datagram to dst. body is at most MaxBody bytes; a ping's is filled up to PingLen.
func (k *Key) Append(dst []byte, h Header, body []byte) []byte {
	start := len(dst)
	dst = append(dst, Magic, version<<4|byte(h.Type))
	dst = append(dst, h.Flow[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Counter))
	dst = append(dst, body...)
	if h.Type == Ping {
		for len(dst)-start < PingLen-tagLen {
			dst = append(dst, 0)
		}
	}
	t := k.tag(dst[start:])
	return append(dst, t[:]...)
}

// Datagram is a parsed datagram: a view on the bytes received.
type Datagram struct {
	Header
	Body []byte
	raw  []byte
}

// Parse reads the header of one of our datagrams; Verify with the flow's key must follow. The error is ErrMalformed.
// An unknown type is no error: with a tag that holds it is ignored, for nodes of different versions live together.
func Parse(b []byte) (Datagram, error) {
	if len(b) < Overhead || len(b) > MaxLen || b[0] != Magic || b[1]>>4 != version {
		return Datagram{}, ErrMalformed
	}
	d := Datagram{raw: b, Body: b[headerLen : len(b)-tagLen]}
	d.Type = Type(b[1] & 0xf)
	d.Flow = FlowID(b[2:10])
	d.Counter = Counter(binary.BigEndian.Uint64(b[10:]))
	if d.Type == Ping && len(b) != PingLen {
		return Datagram{}, ErrMalformed
	}
	return d, nil
}

// Verify checks the datagram's tag. The error is ErrTag.
func (d Datagram) Verify(k *Key) error {
	t := k.tag(d.raw[:len(d.raw)-tagLen])
	if !hmac.Equal(t[:], d.raw[len(d.raw)-tagLen:]) {
		return ErrTag
	}
	return nil
}
