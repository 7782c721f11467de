package mediaclock

import (
	"testing"
	"time"
)

func TestSamplesAndDurations(t *testing.T) {
	for _, c := range []struct {
		n Samples
		d time.Duration
	}{{960, 20 * time.Millisecond}, {48000, time.Second}, {48000 * 3600 * 24 * 365, 8760 * time.Hour}, {-1920, -40 * time.Millisecond}} {
		if got := c.n.Duration(); got != c.d {
			t.Errorf("%d samples last %v, want %v", c.n, got, c.d)
		}
		if got := SamplesIn(c.d); got != c.n {
			t.Errorf("SamplesIn(%v) = %d, want %d", c.d, got, c.n)
		}
	}
}

func TestMapAcrossTheWrap(t *testing.T) {
	m := Map{TS0: 0xffffff00, T0: 1_000_000_000}
	var ts Timestamp = 0xffffff00
	ts += 48000
	if got, want := m.At(ts), Instant(2_000_000_000); got != want {
		t.Errorf("At = %d, want %d", got, want)
	}
	if got := Timestamp(5).Sub(0xffffffff); got != 6 {
		t.Errorf("5 − (2^32−1) = %d samples, want 6", got)
	}
}

func TestMonotonicRises(t *testing.T) {
	m := NewMonotonic()
	a := m.Now()
	if b := m.Now(); b < a {
		t.Errorf("clock went from %d back to %d", a, b)
	}
}
