package clock

import (
	"testing"
	"testing/quick"
	"time"

	"dongthanh/internal/mediaclock"
)

func TestLine(t *testing.T) {
	const day = 24 * time.Hour
	base := mediaclock.Instant(1_800_000_000_000_000_000)
	tests := []struct {
		name string
		line Line
		at   time.Duration // since Line.Local
		want time.Duration // since Line.Instant
	}{
		{"at its origin", Line{Instant: base}, 0, 0},
		{"no skew", Line{Instant: base}, time.Hour, time.Hour},
		{"fast", Line{Instant: base, Skew: 100_000}, 10 * time.Second, 10*time.Second + time.Millisecond},
		{"slow", Line{Instant: base, Skew: -100_000}, 10 * time.Second, 10*time.Second - time.Millisecond},
		{"before its origin", Line{Instant: base, Skew: 100_000}, -10 * time.Second, -10*time.Second - time.Millisecond},
		{"a year", Line{Instant: base, Skew: 500_000}, 365 * day, 365*day + 365*day/2000},
		{"correction under way", Line{Instant: base, Correction: 500_000, Until: mediaclock.Local(4 * time.Second)}, 2 * time.Second, 2*time.Second + time.Millisecond},
		{"correction done", Line{Instant: base, Correction: 500_000, Until: mediaclock.Local(4 * time.Second)}, 8 * time.Second, 8*time.Second + 2*time.Millisecond},
		{"correction not before its origin", Line{Instant: base, Correction: 500_000, Until: mediaclock.Local(4 * time.Second)}, -time.Second, -time.Second},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.line.At(mediaclock.Local(tc.at)).Sub(base)
			if got != tc.want {
				t.Errorf("At(%s) = +%s, want +%s", tc.at, got, tc.want)
			}
			if back := tc.line.Of(base.Add(tc.want)); back.Sub(mediaclock.Local(tc.at)).Abs() > 2 {
				t.Errorf("Of(At(%s)) = %d, want %d", tc.at, back, int64(tc.at))
			}
		})
	}
}

func TestLineRises(t *testing.T) {
	rises := func(skew, correction int32, until, a uint32, step uint16) bool {
		n := Line{Instant: 1 << 60, Skew: int64(skew) % (MaxSlope / 2), Correction: int64(correction) % (MaxSlope / 2), Until: mediaclock.Local(until)}
		x := mediaclock.Local(a)
		y := x + mediaclock.Local(step) + 3000 // one ppb of 3 µs is nothing, so the roundings cannot hide a fall
		return n.At(y) > n.At(x)
	}
	if err := quick.Check(rises, &quick.Config{MaxCount: 20000}); err != nil {
		t.Error(err)
	}
}

func TestRootIgnoresTheWallClock(t *testing.T) {
	mono := mediaclock.NewMonotonic()
	wall := time.Unix(1_800_000_000, 0)
	r := NewRoot(mono, wall)
	if got := r.At(r.local); got != mediaclock.At(wall) {
		t.Errorf("at its start the root reads %d, want %d", got, mediaclock.At(wall))
	}
	if got := r.At(r.local.Add(time.Hour)); got != mediaclock.At(wall.Add(time.Hour)) {
		t.Errorf("an hour later the root reads %d, want %d", got, mediaclock.At(wall.Add(time.Hour)))
	}
	a := r.Now()
	if b := r.Now(); b < a {
		t.Errorf("the root went back from %d to %d", a, b)
	}
	if got, want := r.Line().At(r.local.Add(time.Minute)), r.At(r.local.Add(time.Minute)); got != want {
		t.Errorf("Line().At = %d, want %d", got, want)
	}
}

func TestNanoseconds(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want uint32
	}{{-1, 0}, {0, 0}, {time.Millisecond, 1e6}, {time.Hour, 1<<32 - 1}} {
		if got := Nanoseconds(tc.d); got != tc.want {
			t.Errorf("Nanoseconds(%s) = %d, want %d", tc.d, got, tc.want)
		}
	}
}
