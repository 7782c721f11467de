package jitter

import (
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

const (
	// shelfSlots bounds the packets that wait: 2.5 s of 20 ms each. Beyond the delay bound only a consumer that does
	// not pull lets it fill up; then the oldest is given up.
	shelfSlots = 128

	// A sequence number that is off by more than this is believed only if its successor comes next (RFC 3550 A.1).
	maxSeqStep = 1000

	// maxReorder is how far back the timestamp of an old packet may lie: 10 s, longer than any network holds one.
	maxReorder = 10 * mediaclock.Rate

	firstSeq   = 1 << 20 // what the first number is extended to: others that were overtaken are still positive
	maxPayload = 1500    // bytes; no packet from a browser is longer than an Ethernet frame
)

type slotState uint8

const (
	slotEmpty   slotState = iota
	slotPadding           // came without sound: neither lost nor to be played
	slotSound
)

// slot holds one packet. Its payload's memory is used again and again.
type slot struct {
	state   slotState
	seq     int64
	start   mediaclock.Samples // its first sample's place in the content
	samples mediaclock.Samples
	payload []byte
}

func (s *slot) end() mediaclock.Samples { return s.start + s.samples }

// place is where a packet belongs.
type place struct {
	seq   int64              // its sequence number, extended so that it never wraps
	start mediaclock.Samples // its first sample
	newer bool               // it is the newest so far
}

// shelf puts packets in order of their sequence numbers and gives them a place in the content: a line of samples that
// only moves forward, whatever the sender's timestamps do.
type shelf struct {
	slots [shelfSlots]slot

	begun bool
	first int64 // the lowest number seen
	low   int64 // what lies below was played or given up
	high  int64 // the highest number seen

	highRaw   seq.Seq // high as it stood in the packet
	highTS    mediaclock.Timestamp
	highStart mediaclock.Samples // where in the content highTS lies
	end       mediaclock.Samples // end of the newest sound received

	doubted seq.Seq // the number that would confirm a jump, if inDoubt
	inDoubt bool
}

// locate finds the place of a packet without changing what is there. ok is false for a number that nothing confirms
// yet, and for an old packet whose timestamp contradicts its number.
func (s *shelf) locate(n seq.Seq, ts mediaclock.Timestamp) (p place, ok bool) {
	if !s.begun {
		return place{seq: firstSeq, newer: true}, true
	}
	step := int64(int16(n - s.highRaw))
	if step > maxSeqStep || step < -maxSeqStep {
		if !s.inDoubt || s.doubted != n {
			s.doubted, s.inDoubt = n+1, true
			return place{}, false
		}
		step = 1 // the sender counts anew; go on behind what there is
	}
	s.inDoubt = false
	p = place{seq: s.high + step, start: s.highStart + ts.Sub(s.highTS), newer: step > 0}
	if !p.newer && (p.start > s.highStart || p.start < s.highStart-maxReorder) {
		return place{}, false
	}
	return p, true
}

// advance notes that p is the newest packet, and gives up the oldest slots if it would not fit otherwise. It returns
// how many packets with sound were given up.
func (s *shelf) advance(p place, n seq.Seq, ts mediaclock.Timestamp) (dropped int) {
	if !s.begun {
		s.begun = true
		s.first, s.low = p.seq, p.seq
	}
	s.high, s.highRaw, s.highTS, s.highStart = p.seq, n, ts, p.start
	for ; s.low <= s.high-shelfSlots; s.low++ {
		if v := s.at(s.low); v != nil && v.state == slotSound {
			dropped++
		}
	}
	return dropped
}

// at returns the slot that holds the packet numbered n, or nil.
func (s *shelf) at(n int64) *slot {
	v := &s.slots[n&(shelfSlots-1)]
	if v.state == slotEmpty || v.seq != n {
		return nil
	}
	return v
}

// put keeps a packet; its payload is copied. The caller has made sure that p.seq is within the shelf and free.
func (s *shelf) put(p place, state slotState, samples mediaclock.Samples, payload []byte) {
	v := &s.slots[p.seq&(shelfSlots-1)]
	*v = slot{state: state, seq: p.seq, start: p.start, samples: samples, payload: append(v.payload[:0], payload...)}
	if state == slotSound {
		s.end = max(s.end, v.end())
	}
}

// head returns the oldest packet with sound and how many numbers before it never came. nil: there is none.
func (s *shelf) head() (v *slot, missing int) {
	if !s.begun {
		return nil, 0
	}
	for n := s.low; n <= s.high; n++ {
		switch v := s.at(n); {
		case v == nil:
			missing++
		case v.state == slotSound:
			return v, missing
		}
	}
	return nil, missing
}

// take removes what head returned, and all before it. The slot's content stays valid until the next put.
func (s *shelf) take(v *slot) {
	s.low = v.seq + 1
	v.state = slotEmpty
}
