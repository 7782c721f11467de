// Package seq holds the numbers that order packets: the 16-bit RTP sequence number, the 48-bit packet index that
// never wraps, and the window that refuses a packet the second time. It knows no clock and no packet.
package seq

// Seq is an RTP sequence number (RFC 3550 §5.1): modulo 2^16, one step a packet.
type Seq uint16

// Before reports whether s precedes t, across the wrap; true only within half the space.
func (s Seq) Before(t Seq) bool { return int16(s-t) < 0 }

// Index is the packet index of SRTP (RFC 3711 §3.3.1): roll-over counter (32 bits) ‖ sequence number (16 bits).
// Each media packet carries it whole, so that no receiver ever has to guess the roll-over counter.
type Index uint64

// MaxIndex is the last index a transmission may use: 2^48 − 1, four hundred thousand years at 25 packets a second.
const MaxIndex Index = 1<<48 - 1

// MakeIndex joins a roll-over counter and a sequence number.
func MakeIndex(roc uint32, s Seq) Index { return Index(roc)<<16 | Index(s) }

// Seq returns the low 16 bits, the RTP sequence number.
func (i Index) Seq() Seq { return Seq(i) }

// ROC returns the roll-over counter, the upper 32 of the 48 bits.
func (i Index) ROC() uint32 { return uint32(i >> 16) }
