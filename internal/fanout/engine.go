// Package fanout copies one packet to many subscribers and keeps the last seconds of each transmission for those who
// missed some. It knows addresses and bytes: neither what is in a packet nor who a subscriber is.
//
// Sending is on the path of a frame: it allocates nothing, logs nothing and takes no lock. Who subscribes changes
// rarely, so the rare side pays: a List never changes, a new one replaces it.
package fanout

import (
	"errors"
	"net/netip"
	"syscall"
	"time"
)

// Destination is where a subscriber is, and which of our own addresses it must hear from, or its NAT drops it.
type Destination struct {
	Remote netip.AddrPort
	Local  netip.Addr // invalid: the system chooses
}

// Engine is one way to put copies of a packet on the wire. Which one a node has is decided at its start by what the
// machine grants; every engine passes the suite in this package's tests.
type Engine interface {
	// Name is for logs and benchmarks.
	Name() string
	// Prepare builds a List of the destinations, the costly part. The engine keeps nothing of to. Control code calls
	// it; a List that nobody uses any more is garbage, and an engine with memory outside the heap frees it by
	// runtime.AddCleanup.
	Prepare(to []Destination) List
}

// List is a prepared set of subscribers that never changes: whoever joins or leaves makes a new one. Transports other
// than UDP are Lists too.
type List interface {
	// Send sends one copy of packet, which stays the caller's, to every subscriber, in an order of its choice. One
	// goroutine at a time may call it.
	Send(packet []byte) Result
	// Len is the number of subscribers.
	Len() int
}

// Result counts what became of a packet's copies. They add up to the List's length.
type Result struct {
	Sent   int
	Late   int // there was no room in the socket's buffer for so long that the rest of the copies was dropped
	Failed int // the system refused this destination, which disturbs no other
}

// Writer sends single datagrams; udp.Socket is one.
type Writer interface {
	// WriteTo sends b from local to remote at once or not at all. If the socket's buffer has no room, the error is
	// syscall.EAGAIN.
	WriteTo(b []byte, remote netip.AddrPort, local netip.Addr) error
	// Room waits until there may be room for a datagram to remote, but not beyond t.
	Room(remote netip.AddrPort, t time.Time)
}

// Patience is how long the copies of one packet may wait for room in the socket's buffer, all together: one frame. What
// is not sent by then would delay the next packet for everyone. The time that sending itself takes does not count, nor
// that in which the process has no processor: neither is cured by dropping.
const Patience = 20 * time.Millisecond

// Portable sends one datagram a call. It runs everywhere and costs 1.45 times a batched engine (perf.md §2).
type Portable struct{ w Writer }

// NewPortable returns an engine that sends through w.
func NewPortable(w Writer) *Portable { return &Portable{w: w} }

// Name is "portable".
func (*Portable) Name() string { return "portable" }

// Prepare copies to.
func (p *Portable) Prepare(to []Destination) List {
	return &portableList{w: p.w, to: append([]Destination(nil), to...)}
}

type portableList struct {
	w     Writer
	to    []Destination
	first int // turns with each packet, so that the same subscribers are not always the last
}

func (l *portableList) Len() int { return len(l.to) }

func (l *portableList) Send(packet []byte) (r Result) {
	n := len(l.to)
	if n == 0 {
		return r
	}
	patience := Patience
	l.first = (l.first + 1) % n
	for i := 0; i < n; {
		d := &l.to[(l.first+i)%n]
		err := l.w.WriteTo(packet, d.Remote, d.Local)
		switch {
		case err == nil:
			r.Sent++
		case !errors.Is(err, syscall.EAGAIN):
			r.Failed++
		case patience <= 0:
			r.Late = n - i
			return r
		default:
			began := time.Now()
			l.w.Room(d.Remote, began.Add(patience))
			patience -= time.Since(began)
			continue
		}
		i++
	}
	return r
}
