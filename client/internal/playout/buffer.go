package playout

import (
	"math/bits"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
)

// slot holds one Opus packet.
type slot struct {
	number   int64 // of the packet, from the transmission's first
	used     bool
	repaired bool
	size     int
	payload  [packet.MaxPayload]byte
}

func (s *slot) bytes() []byte { return s.payload[:s.size] }

// buffer is the jitter buffer: packets in a ring, each at the place of its number, so that they come out in order
// whatever the order they came in. It is allocated once, for the transmission's delay; a packet too far ahead is
// refused rather than pushing out one that is due before it.
type buffer struct {
	slots []slot
	mask  int64
}

// slack is how much earlier than the delay allows a packet may come: relays' and own clock errors.
const slack = time.Second

// preroll is how many packets behind the playing one are kept: the decoder is warmed up with them when sound resumes
// (RFC 7845 §4.6 asks for 80 ms).
const preroll = 2

func newBuffer(delay time.Duration, packetSamples int64) buffer {
	n := int64(mediaclock.SamplesIn(delay+slack))/packetSamples + preroll + 2
	size := int64(1) << bits.Len64(uint64(n-1))
	return buffer{slots: make([]slot, size), mask: size - 1}
}

// room is how many packets from the playing one on find a place.
func (b *buffer) room() int64 { return int64(len(b.slots)) - preroll - 1 }

// put stores a copy of payload; false if that packet is here already or payload is too large.
func (b *buffer) put(k int64, payload []byte, repaired bool) bool {
	s := &b.slots[k&b.mask]
	if s.used && s.number >= k || len(payload) > len(s.payload) {
		return false
	}
	s.number, s.used, s.repaired = k, true, repaired
	s.size = copy(s.payload[:], payload)
	return true
}

// get returns packet k, nil if it is not here. The slot belongs to the buffer and holds until another takes its place.
func (b *buffer) get(k int64) *slot {
	if k < 0 {
		return nil
	}
	if s := &b.slots[k&b.mask]; s.used && s.number == k {
		return s
	}
	return nil
}

// lowest returns the lowest packet from k on.
func (b *buffer) lowest(k int64) (n int64, ok bool) {
	for i := range b.slots {
		if s := &b.slots[i]; s.used && s.number >= k && (!ok || s.number < n) {
			n, ok = s.number, true
		}
	}
	return n, ok
}
