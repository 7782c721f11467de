package ingest

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"dongthanh/codec"
)

// verdict says what a datagram of a line-in is.
type verdict uint8

const (
	sound     verdict = iota // RTP of the one sender
	goodbye                  // the sender's RTCP BYE (RFC 3550 §6.6)
	feedback                 // its other RTCP, of which nothing is needed
	stranger                 // from outside the networks that may send
	second                   // from another address than the sender's
	otherSSRC                // the sender's address, another source
	otherType                // another payload type than the first, or one that is not dynamic
	malformed                // neither RTP nor RTCP, or no Opus in it
	oversized                // longer than an Ethernet frame can hold
	forged                   // does not have the key, or is a replay
	verdicts
)

// String names the verdict as metrics do.
func (v verdict) String() string {
	return [verdicts]string{
		"sound", "goodbye", "feedback", "stranger", "second_source", "ssrc", "payload_type", "malformed", "oversized", "forged",
	}[v]
}

const (
	maxDatagram = 1500 // bytes; what is longer came in fragments, and is no packet of a voice

	// RFC 3551 §6: 96 to 127 are for codecs without a number of their own, as Opus is. RFC 5761 §4: with RTCP on the
	// same port, a second byte of 192 to 223 is RTCP.
	firstDynamic, lastDynamic = 96, 127
	firstRTCP, lastRTCP       = 192, 223
	typeBYE                   = 203
)

// gate decides which datagrams of a line-in are its sound. The first valid Opus packet from a permitted network makes
// its address, SSRC and payload type the only ones for good. It has no clock, lock or socket.
type gate struct {
	from []netip.Prefix
	keys *srtp.Context // nil: plain RTP

	latched bool
	source  netip.AddrPort
	ssrc    uint32
	typ     uint8

	packet rtp.Packet // the last sound, valid until the next take
	clear  []byte     // room for what was encrypted
}

// permits reports whether a datagram from that address need be looked at: what it costs to say no to a flood. RTCP may
// come from another port of the sender, since many have a socket of its own for it.
func (g *gate) permits(from netip.AddrPort) verdict {
	switch ip := from.Addr(); {
	case g.latched && ip != g.source.Addr():
		return second
	case !g.latched && !slices.ContainsFunc(g.from, func(p netip.Prefix) bool { return p.Contains(ip) }):
		return stranger
	}
	return sound
}

// take judges one datagram; of sound, g.packet holds it then. from is unmapped. Nothing of b is kept, and b is not
// changed.
func (g *gate) take(from netip.AddrPort, b []byte) verdict {
	if v := g.permits(from); v != sound {
		return v
	}
	switch {
	case len(b) > maxDatagram:
		return oversized
	case len(b) < 8 || b[0]>>6 != 2:
		return malformed
	case b[1] >= firstRTCP && b[1] <= lastRTCP:
		return g.control(b)
	case g.latched && from != g.source:
		return second
	}
	return g.media(from, b)
}

func (g *gate) media(from netip.AddrPort, b []byte) verdict {
	var header rtp.Header
	if _, err := header.Unmarshal(b); err != nil {
		return malformed
	}
	switch {
	case header.PayloadType < firstDynamic || header.PayloadType > lastDynamic:
		return otherType
	case g.latched && header.SSRC != g.ssrc:
		return otherSSRC
	case g.latched && header.PayloadType != g.typ:
		return otherType
	}
	if g.keys != nil {
		var err error
		if b, err = g.keys.DecryptRTP(g.clear[:0], b, &header); err != nil {
			return forged
		}
		g.clear = b
	}
	if err := g.packet.Unmarshal(b); err != nil {
		return malformed
	}
	if len(g.packet.Payload) == 0 && g.latched {
		return sound // padding, whose number counts
	}
	if _, err := codec.PacketSamples(g.packet.Payload); err != nil {
		return malformed
	}
	if !g.latched {
		g.latched, g.source, g.ssrc, g.typ = true, from, header.SSRC, header.PayloadType
	}
	return sound
}

// control judges RTCP: before there is sound, nobody can take leave.
func (g *gate) control(b []byte) verdict {
	if g.keys != nil {
		b = slices.Clone(b)
		var err error
		if b, err = g.keys.DecryptRTCP(nil, b, nil); err != nil {
			return forged
		}
	}
	leaves, ok := leaves(b, g.ssrc)
	switch {
	case !ok:
		return malformed
	case leaves && g.latched:
		return goodbye
	}
	return feedback
}

// leaves reports whether a compound RTCP packet (RFC 3550 §6.1) has a BYE of the source; ok is false for what is none.
func leaves(b []byte, ssrc uint32) (leaves, ok bool) {
	for len(b) > 0 {
		if len(b) < 4 || b[0]>>6 != 2 || b[1] < firstRTCP || b[1] > lastRTCP {
			return false, false
		}
		size := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if size > len(b) {
			return false, false
		}
		if b[1] == typeBYE {
			for rest, n := b[4:size], int(b[0]&0x1f); n > 0; n-- {
				if len(rest) < 4 {
					return false, false
				}
				leaves = leaves || binary.BigEndian.Uint32(rest) == ssrc
				rest = rest[4:]
			}
		}
		b = b[size:]
	}
	return leaves, true
}
