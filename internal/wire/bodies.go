package wire

import (
	"encoding/binary"
	"net/netip"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

// PingBody is what a node sends up, every second while on air and every 15 s idle.
type PingBody struct {
	T1     int64 // sender's own clock in ns; comes back unread
	Active bool  // false: this flow stands by, send beacons only
}

// Append appends the body to dst.
func (p PingBody) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.T1))
	return append(dst, flag(p.Active))
}

// ParsePing reads a ping's body, padding and all.
func ParsePing(b []byte) (PingBody, error) {
	if len(b) < 9 {
		return PingBody{}, ErrMalformed
	}
	return PingBody{T1: int64(binary.BigEndian.Uint64(b)), Active: b[8]&1 != 0}, nil
}

// PongBody answers a ping: the four timestamps of network time and the address the ping came from.
type PongBody struct {
	T1       int64              // from the ping
	T2       mediaclock.Instant // upstream's network time when the ping came
	T3       mediaclock.Instant // and when the pong left
	Synced   bool               // the upstream has network time itself
	Bound    bool               // media is sent to the address the ping came from
	ErrorNS  uint32             // upstream's estimate of its own error
	Observed netip.AddrPort
}

const pongLen = 8 + 8 + 8 + 1 + 4 + 16 + 2

// Append appends the body to dst.
func (p PongBody) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.T1))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.T2))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.T3))
	dst = append(dst, flag(p.Synced)|flag(p.Bound)<<1)
	dst = binary.BigEndian.AppendUint32(dst, p.ErrorNS)
	a := p.Observed.Addr().As16()
	dst = append(dst, a[:]...)
	return binary.BigEndian.AppendUint16(dst, p.Observed.Port())
}

// ParsePong reads a pong's body.
func ParsePong(b []byte) (PongBody, error) {
	if len(b) != pongLen {
		return PongBody{}, ErrMalformed
	}
	return PongBody{
		T1:       int64(binary.BigEndian.Uint64(b)),
		T2:       mediaclock.Instant(binary.BigEndian.Uint64(b[8:])),
		T3:       mediaclock.Instant(binary.BigEndian.Uint64(b[16:])),
		Synced:   b[24]&1 != 0,
		Bound:    b[24]&2 != 0,
		ErrorNS:  binary.BigEndian.Uint32(b[25:]),
		Observed: netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[29:45])).Unmap(), binary.BigEndian.Uint16(b[45:])),
	}, nil
}

// Cookie is the body of a CHALLENGE, and of its echo: random bytes that only the holder of the address can know.
type Cookie [16]byte

// ParseCookie reads a challenge's body.
func ParseCookie(b []byte) (Cookie, error) {
	if len(b) != len(Cookie{}) {
		return Cookie{}, ErrMalformed
	}
	return Cookie(b), nil
}

// Reason tells why a packet is asked for again.
type Reason uint8

// Reasons of a NACK.
const (
	Missing Reason = 0
	BadTag  Reason = 1 // its signature held but its tag did not: the upstream's copy is altered
)

// NackBody asks for packets again: bit n of Bitmap is the packet with index Base + n.
type NackBody struct {
	SSRC   uint32
	Base   seq.Index
	Bitmap uint64
	Reason Reason
}

// Append appends the body to dst.
func (n NackBody) Append(dst []byte) []byte {
	dst = appendFrom(dst, n.SSRC, n.Base)
	dst = binary.BigEndian.AppendUint64(dst, n.Bitmap)
	return append(dst, byte(n.Reason))
}

// ParseNack reads a NACK's body.
func ParseNack(b []byte) (NackBody, error) {
	if len(b) != 19 {
		return NackBody{}, ErrMalformed
	}
	n := NackBody{Bitmap: binary.BigEndian.Uint64(b[10:]), Reason: Reason(b[18])}
	n.SSRC, n.Base = parseFrom(b)
	if n.Bitmap == 0 || n.Base > seq.MaxIndex-63 || n.Reason > BadTag {
		return NackBody{}, ErrMalformed
	}
	return n, nil
}

// ResumeBody makes the flow active and asks for all packets of a transmission from an index on.
type ResumeBody struct {
	SSRC uint32
	From seq.Index
}

// Append appends the body to dst.
func (r ResumeBody) Append(dst []byte) []byte { return appendFrom(dst, r.SSRC, r.From) }

// ParseResume reads a RESUME's body.
func ParseResume(b []byte) (ResumeBody, error) {
	if len(b) != 10 {
		return ResumeBody{}, ErrMalformed
	}
	var r ResumeBody
	r.SSRC, r.From = parseFrom(b)
	return r, nil
}

// MuteBody makes the flow stand by (On) or active again, for one SSRC or, with SSRC 0, for all.
type MuteBody struct {
	SSRC uint32
	On   bool
}

// Append appends the body to dst.
func (m MuteBody) Append(dst []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, m.SSRC), flag(m.On))
}

// ParseMute reads a MUTE's body.
func ParseMute(b []byte) (MuteBody, error) {
	if len(b) != 5 {
		return MuteBody{}, ErrMalformed
	}
	return MuteBody{SSRC: binary.BigEndian.Uint32(b), On: b[4]&1 != 0}, nil
}

func appendFrom(dst []byte, ssrc uint32, i seq.Index) []byte {
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	dst = binary.BigEndian.AppendUint16(dst, uint16(i>>32))
	return binary.BigEndian.AppendUint32(dst, uint32(i))
}

func parseFrom(b []byte) (uint32, seq.Index) {
	return binary.BigEndian.Uint32(b), seq.Index(binary.BigEndian.Uint16(b[4:]))<<32 | seq.Index(binary.BigEndian.Uint32(b[6:]))
}

func flag(on bool) byte {
	if on {
		return 1
	}
	return 0
}
