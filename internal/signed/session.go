package signed

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/zone"
)

// Kind tells what a transmission is for. A drill can never sound as live.
type Kind uint8

// The kinds of a transmission.
const (
	KindLive Kind = iota
	KindScheduled
	KindDrill
	KindTest
)

// Class is the legal class of a bulletin (bản tin thông thường, ưu tiên, khẩn cấp); a higher one goes first.
type Class uint8

// The classes, in rising order.
const (
	ClassNormal Class = iota
	ClassPriority
	ClassEmergency
)

// Bounds of a session certificate.
const (
	MaxZones      = 32
	MaxValidity   = 4 * time.Hour
	maxAssertions = 8
	maxDelay      = 10 * time.Second
)

// SessionCert is the right of one transmission to speak: which zones, which key, how long, and how its samples lie in
// time. An issuer signs it. Field numbers are final (docs/protocol.md §4).
type SessionCert struct {
	Version      uint8                `cbor:"1,keyasint"`
	Transmission [16]byte             `cbor:"2,keyasint"`
	Session      [16]byte             `cbor:"3,keyasint"` // UUID; outlives the streamer
	SSRC         uint32               `cbor:"4,keyasint"`
	PublicKey    []byte               `cbor:"5,keyasint"` // Ed25519, 32 bytes; the private half never leaves memory
	Zones        []zone.Zone          `cbor:"6,keyasint"` // 1 to MaxZones
	KeyZone      zone.Zone            `cbor:"7,keyasint"` // deepest zone that contains Zones
	Kind         Kind                 `cbor:"8,keyasint"`
	Class        Class                `cbor:"9,keyasint"`
	Level        uint8                `cbor:"10,keyasint"` // administrative level of who speaks: 0 country, 1 province, 2 commune …; the lower number goes first
	Fence        uint64               `cbor:"11,keyasint"` // orders transmissions of one class
	NotBefore    int64                `cbor:"12,keyasint"` // Unix seconds
	NotAfter     int64                `cbor:"13,keyasint"` // Unix seconds, at most MaxValidity later
	DelayMS      uint32               `cbor:"14,keyasint"` // from a sample's entry into the encoder to its sound
	TS0          mediaclock.Timestamp `cbor:"15,keyasint"` // timestamp of the packet with index Index0
	T0           mediaclock.Instant   `cbor:"16,keyasint"` // when that packet's first sample entered the encoder
	Index0       uint64               `cbor:"17,keyasint"`
	Packet       uint16               `cbor:"18,keyasint"`           // samples in each packet: 960, 1920 or 2880
	Assertions   [][]byte             `cbor:"19,keyasint,omitempty"` // SHA-256 of further objects a receiver must have verified
	Critical     []int                `cbor:"20,keyasint,omitempty"` // fields a receiver must understand
}

func (SessionCert) context() string        { return "dongthanh session v1" }
func (c SessionCert) fields() (int, []int) { return 20, c.Critical }

// Delay is the time from a sample's entry into the encoder to its sound.
func (c SessionCert) Delay() time.Duration { return time.Duration(c.DelayMS) * time.Millisecond }

// Key is the key that the transmission's packets and beacons are signed with. It shares the certificate's memory.
func (c SessionCert) Key() ed25519.PublicKey { return c.PublicKey }

// PlayAt returns the network time at which the first sample of the packet with the given index is due at every
// loudspeaker. The time map holds for the whole transmission, so missing packets have an instant too.
func (c SessionCert) PlayAt(index uint64) mediaclock.Instant {
	n := mediaclock.Samples(int64(index-c.Index0)) * mediaclock.Samples(c.Packet)
	return c.T0.Add(n.Duration() + c.Delay())
}

// Timestamp returns the RTP timestamp that the packet with the given index must carry.
func (c SessionCert) Timestamp(index uint64) mediaclock.Timestamp {
	return c.TS0 + mediaclock.Timestamp(uint32(index-c.Index0)*uint32(c.Packet))
}

// ValidAt reports whether now lies within the certificate's validity.
func (c SessionCert) ValidAt(now mediaclock.Instant) bool {
	s := int64(now) / int64(time.Second)
	return c.NotBefore <= s && s <= c.NotAfter
}

// Outranks reports whether c goes before d where both are authentic: class, then level, then live over scheduled,
// then fence. The order is total for two transmissions of one issuer, so every loudspeaker picks the same winner.
func (c SessionCert) Outranks(d SessionCert) bool {
	switch {
	case c.Class != d.Class:
		return c.Class > d.Class
	case c.Level != d.Level:
		return c.Level < d.Level
	case (c.Kind == KindLive) != (d.Kind == KindLive):
		return c.Kind == KindLive
	case c.Fence != d.Fence:
		return c.Fence > d.Fence
	}
	return string(c.Transmission[:]) > string(d.Transmission[:])
}

func (c SessionCert) check() error {
	var none [16]byte
	switch {
	case c.Version != 1:
		return fmt.Errorf("version %d, want 1", c.Version)
	case c.Transmission == none || c.Session == none:
		return errors.New("no transmission or session id")
	case len(c.PublicKey) != ed25519.PublicKeySize:
		return fmt.Errorf("public key of %d bytes", len(c.PublicKey))
	case len(c.Zones) < 1 || len(c.Zones) > MaxZones:
		return fmt.Errorf("%d zones, want 1 to %d", len(c.Zones), MaxZones)
	case c.Kind > KindTest || c.Class > ClassEmergency:
		return fmt.Errorf("kind %d, class %d", c.Kind, c.Class)
	case c.NotAfter < c.NotBefore || c.NotAfter-c.NotBefore > int64(MaxValidity/time.Second):
		return errors.New("validity is negative or longer than 4 h")
	case c.Delay() > maxDelay:
		return fmt.Errorf("delay %s, want at most %s", c.Delay(), maxDelay)
	case c.Packet != 960 && c.Packet != 1920 && c.Packet != 2880:
		return fmt.Errorf("%d samples a packet", c.Packet)
	case c.Index0 >= 1<<32:
		return errors.New("first index above 2^32")
	case len(c.Assertions) > maxAssertions:
		return fmt.Errorf("%d assertions, want at most %d", len(c.Assertions), maxAssertions)
	}
	for _, z := range append([]zone.Zone{c.KeyZone}, c.Zones...) {
		if _, err := zone.Parse(string(z)); err != nil {
			return err
		}
		if !c.KeyZone.Contains(z) {
			return fmt.Errorf("zone %q lies outside the key zone %q", z, c.KeyZone)
		}
	}
	for _, a := range c.Assertions {
		if len(a) != len(ID{}) {
			return fmt.Errorf("assertion hash of %d bytes", len(a))
		}
	}
	return nil
}
