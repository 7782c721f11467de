package fanout

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
	"time"

	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
)

// RingSpan is how much of a transmission is kept: more than the longest delay, so that whatever could still sound can
// be had.
const RingSpan = 4 * time.Second

const words = (packet.MaxLen + 7) / 8

// Ring holds the last packets of one transmission by index, byte for byte as they came. One goroutine at a time puts;
// any number read meanwhile, and neither waits for the other: a reader that meets the writer tries again.
type Ring struct {
	slots  []slot
	newest atomic.Uint64 // index + 1; 0: nothing yet
}

// slot is one packet. Its version is odd while it is written. The bytes are atomic words, so that a reader that loses
// the race reads rubbish which it then throws away, but never races in the sense of the memory model.
type slot struct {
	version  atomic.Uint64
	index    atomic.Uint64 // + 1; 0: empty
	length   atomic.Uint32
	suspect  atomic.Bool // a copy with other bytes may take its place
	replaced atomic.Bool // and one has
	words    [words]atomic.Uint64
}

// NewRing returns an empty ring that holds span of packets, of which each lasts each.
func NewRing(span, each time.Duration) *Ring {
	return &Ring{slots: make([]slot, max(1, (span+each-1)/each))}
}

// Len is how many packets the ring holds at most.
func (r *Ring) Len() int { return len(r.slots) }

// Outcome is what became of a packet that was put into the ring.
type Outcome uint8

// The outcomes. Only a Fresh packet is worth sending on.
const (
	Fresh     Outcome = iota // it is in the ring now
	Duplicate                // the ring has a packet of this index already
	Stale                    // it is older than what the ring holds
)

// Put stores a copy of a packet. A packet of the same index with other bytes (its signature covers all but the tag)
// replaces the one held only if that was marked suspect.
func (r *Ring) Put(i seq.Index, b []byte) Outcome {
	if len(b) > packet.MaxLen {
		return Stale // cannot be one of our packets
	}
	s := &r.slots[uint64(i)%uint64(len(r.slots))]
	held := s.index.Load()
	switch {
	case uint64(i)+uint64(len(r.slots)) < r.newest.Load():
		return Stale
	case held == uint64(i)+1 && (!s.suspect.Load() || s.equal(b)):
		return Duplicate
	}
	s.version.Add(1)
	s.index.Store(uint64(i) + 1)
	s.length.Store(uint32(len(b)))
	s.suspect.Store(false)
	s.replaced.Store(held == uint64(i)+1)
	for w := range (len(b) + 7) / 8 {
		s.words[w].Store(word(b, w))
	}
	s.version.Add(1)
	if uint64(i)+1 > r.newest.Load() {
		r.newest.Store(uint64(i) + 1)
	}
	return Fresh
}

// word returns the eight bytes of b at word w, zeros beyond its end.
func word(b []byte, w int) uint64 {
	if rest := b[w*8:]; len(rest) >= 8 {
		return binary.LittleEndian.Uint64(rest)
	}
	var last [8]byte
	copy(last[:], b[w*8:])
	return binary.LittleEndian.Uint64(last[:])
}

// equal compares the slot with b; only the writer may call it.
func (s *slot) equal(b []byte) bool {
	var held [packet.MaxLen]byte
	return bytes.Equal(s.read(held[:0]), b)
}

func (s *slot) read(dst []byte) []byte {
	n := min(int(s.length.Load()), packet.MaxLen)
	for w := range n / 8 {
		dst = binary.LittleEndian.AppendUint64(dst, s.words[w].Load())
	}
	if n%8 == 0 {
		return dst
	}
	var last [8]byte
	binary.LittleEndian.PutUint64(last[:], s.words[n/8].Load())
	return append(dst, last[:n%8]...)
}

// Append appends the packet with index i to dst. ok is false, and dst unchanged, if the ring does not hold it.
func (r *Ring) Append(dst []byte, i seq.Index) (_ []byte, ok bool) {
	s := &r.slots[uint64(i)%uint64(len(r.slots))]
	for range 8 { // the writer comes back to a slot after 4 s, so a second try finds it whole
		v := s.version.Load()
		if v%2 != 0 {
			continue
		}
		if s.index.Load() != uint64(i)+1 {
			return dst, false
		}
		out := s.read(dst)
		if s.version.Load() == v {
			return out, true
		}
	}
	return dst, false
}

// Newest returns the highest index that was put; ok is false while there is none.
func (r *Ring) Newest() (i seq.Index, ok bool) {
	n := r.newest.Load()
	return seq.Index(n - 1), n > 0
}

// Suspect marks the packet with index i: a loudspeaker found its signature right and its tag wrong, so somebody on the
// way altered it. It stays until one with other bytes comes, since a loudspeaker that lies must not be able to
// empty the ring. replaced reports whether the copy held now is one that came in the place of another, so that it is
// worth sending to whoever complained of the first.
func (r *Ring) Suspect(i seq.Index) (replaced bool) {
	s := &r.slots[uint64(i)%uint64(len(r.slots))]
	if s.index.Load() != uint64(i)+1 {
		return false
	}
	s.suspect.Store(true)
	return s.replaced.Load()
}
