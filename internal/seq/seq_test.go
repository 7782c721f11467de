package seq

import (
	"math/rand/v2"
	"testing"
)

func TestBefore(t *testing.T) {
	for _, c := range []struct {
		s, t Seq
		want bool
	}{
		{1, 2, true}, {2, 1, false}, {3, 3, false},
		{65535, 0, true}, {0, 65535, false}, // across the wrap
		{0, 32767, true}, {0, 32769, false}, // within half the space only
	} {
		if got := c.s.Before(c.t); got != c.want {
			t.Errorf("Before(%d, %d) = %v, want %v", c.s, c.t, got, c.want)
		}
	}
}

func TestIndexParts(t *testing.T) {
	for _, i := range []Index{0, 1, 1<<16 - 1, 1 << 16, MaxIndex} {
		if got := MakeIndex(i.ROC(), i.Seq()); got != i {
			t.Errorf("MakeIndex(%d, %d) = %d, want %d", i.ROC(), i.Seq(), got, i)
		}
	}
}

func TestWindowRefusesTheSecondTime(t *testing.T) {
	var w Window
	for _, step := range []struct {
		name  string
		index Index
		want  bool
	}{
		{"first", 100, true},
		{"again", 100, false},
		{"older", 99, true},
		{"older again", 99, false},
		{"far ahead", 100 + WindowSize, true},
		{"just inside", 101, true},
		{"just behind", 100, false},
		{"at the end", MaxIndex, true},
		{"past the end", MaxIndex + 1, false},
	} {
		got := w.Fresh(step.index)
		if got != step.want {
			t.Errorf("%s: Fresh(%d) = %v, want %v", step.name, step.index, got, step.want)
		}
		if got {
			w.Mark(step.index)
		}
	}
}

func TestWindowIgnoresWhatIsOnlyAsked(t *testing.T) {
	var w Window
	w.Mark(5)
	w.Fresh(5000)
	if !w.Fresh(4) {
		t.Error("Fresh(4) = false after a mere question about 5000, want true")
	}
	if h, ok := w.Highest(); h != 5 || !ok {
		t.Errorf("Highest() = %d, %v, want 5, true", h, ok)
	}
}

// FuzzReplayWindow holds the window to a plain map.
func FuzzReplayWindow(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		r := rand.New(rand.NewPCG(a, b))
		var w Window
		seen := map[Index]bool{}
		top := Index(0)
		at := Index(r.Uint64()) & MaxIndex
		for range 5000 {
			switch r.IntN(20) {
			case 0:
				at += Index(r.IntN(3 * WindowSize))
			case 1:
				at -= Index(r.IntN(2 * WindowSize))
			default:
				at += Index(r.IntN(5)) - 2
			}
			at &= MaxIndex
			want := !seen[at] && (at >= top || top-at <= WindowSize)
			if got := w.Fresh(at); got != want {
				t.Fatalf("Fresh(%d) = %v, want %v (top %d)", at, got, want, top)
			}
			if want && r.IntN(3) > 0 {
				w.Mark(at)
				seen[at] = true
				top = max(top, at+1)
			}
		}
	})
}
