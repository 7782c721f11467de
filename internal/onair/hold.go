package onair

import (
	"sync"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
)

// holdAge is how long media waits for its certificate (DESIGN §4).
const holdAge = 200 * time.Millisecond

// holdSlots bounds what waits: 200 ms of eight transmissions of 40 ms packets, 35 kB. When all are taken the newest
// packet is dropped, for the oldest are the first word.
const holdSlots = 64

// hold keeps media whose certificate has not come. It allocates nothing when a packet is put.
type hold struct {
	mu    sync.Mutex // guards slots; taken only for media that nobody knows
	slots [holdSlots]heldPacket
	next  uint64
}

type heldPacket struct {
	used  bool
	order uint64
	ssrc  uint32
	from  int
	at    mediaclock.Local
	n     int
	raw   [packet.MaxLen]byte
}

// put copies a packet into a free slot. The caller holds mu.
func (h *hold) put(now mediaclock.Local, raw []byte, ssrc uint32, from int) Verdict {
	for i := range h.slots {
		s := &h.slots[i]
		if s.used {
			continue
		}
		s.used, s.order, s.ssrc, s.from, s.at = true, h.next, ssrc, from, now
		s.n = copy(s.raw[:], raw)
		h.next++
		return Held
	}
	return NoCertificate
}

// take removes and returns what waits for ssrc, in order of arrival.
func (h *hold) take(ssrc uint32) []Datagram {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []Datagram
	var orders []uint64
	for i := range h.slots {
		s := &h.slots[i]
		if !s.used || s.ssrc != ssrc {
			continue
		}
		s.used = false
		at := len(found)
		for at > 0 && orders[at-1] > s.order {
			at--
		}
		found = insert(found, at, Datagram{Raw: append([]byte(nil), s.raw[:s.n]...), From: s.from})
		orders = insert(orders, at, s.order)
	}
	return found
}

// expire frees the slots of packets that waited too long and returns how many there were.
func (h *hold) expire(now mediaclock.Local) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.slots {
		if s := &h.slots[i]; s.used && now.Sub(s.at) > holdAge {
			s.used = false
			n++
		}
	}
	return n
}

func insert[T any](list []T, at int, v T) []T {
	list = append(list, v)
	copy(list[at+1:], list[at:])
	list[at] = v
	return list
}
