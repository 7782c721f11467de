package seq

// WindowSize is how far behind the newest packet an older one is still accepted: 1024 packets are 41 s at 25
// packets a second, more than any repair takes.
const WindowSize = 1024

const windowWords = WindowSize / 64

// Window refuses a packet that was accepted before (RFC 3711 §3.3.2). The zero value accepts everything once.
// Asking and marking are two steps, so that a packet whose tag or signature fails never moves the window.
// Not safe for concurrent use.
type Window struct {
	top  Index // one past the highest index marked; 0: nothing yet
	bits [windowWords]uint64
}

// Fresh reports whether i was neither marked before nor lies behind the window. It changes nothing.
func (w *Window) Fresh(i Index) bool {
	if i >= w.top {
		return i <= MaxIndex
	}
	if w.top-i > WindowSize {
		return false
	}
	return w.bits[i/64%windowWords]&(1<<(i%64)) == 0
}

// Mark records i as seen. Call it only for a packet that passed every check; an index behind the window is ignored.
func (w *Window) Mark(i Index) {
	if i > MaxIndex || (i < w.top && w.top-i > WindowSize) {
		return
	}
	if i >= w.top {
		w.clear(i)
		w.top = i + 1
	}
	w.bits[i/64%windowWords] |= 1 << (i % 64)
}

// clear forgets the slots that the step from the old top to i reuses.
func (w *Window) clear(i Index) {
	if i-w.top >= WindowSize {
		w.bits = [windowWords]uint64{}
		return
	}
	for k := w.top; k <= i; k++ {
		w.bits[k/64%windowWords] &^= 1 << (k % 64)
	}
}

// Highest returns the highest index marked; ok is false while there is none.
func (w *Window) Highest() (i Index, ok bool) { return w.top - 1, w.top > 0 }
