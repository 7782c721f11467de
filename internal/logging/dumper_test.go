package logging

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// step is a moment, counted from the start, at which errors are added.
type step struct {
	at     time.Duration
	errors int
}

func TestDumper(t *testing.T) {
	tests := []struct {
		name  string
		steps []step
		stop  time.Duration
		want  []string // "moment count last"
	}{
		{name: "nothing", stop: 5 * time.Second},
		{
			name:  "one error is logged at once and not again",
			steps: []step{{0, 1}}, stop: 5 * time.Second,
			want: []string{"0s 1 #1"},
		},
		{
			name:  "a burst becomes two lines",
			steps: []step{{0, 1}, {time.Millisecond, 499}}, stop: 5 * time.Second,
			want: []string{"0s 1 #1", "1s 499 #500"},
		},
		{
			name:  "a steady flood becomes a line a second",
			steps: flood(0, 3*time.Second, 30*time.Millisecond), stop: 10 * time.Second,
			want: []string{"0s 1 #1", "1s 33 #34", "2s 33 #67", "3s 33 #100"},
		},
		{
			name:  "an error after a quiet time is logged at once",
			steps: []step{{0, 1}, {10 * time.Second, 1}}, stop: 20 * time.Second,
			want: []string{"0s 1 #1", "10s 1 #2"},
		},
		{
			name:  "an error within the second after a line waits for its end",
			steps: []step{{0, 1}, {500 * time.Millisecond, 1}, {1500 * time.Millisecond, 1}}, stop: 9 * time.Second,
			want: []string{"0s 1 #1", "1s 1 #2", "2s 1 #3"},
		},
		{
			name:  "stop reports the last window",
			steps: []step{{0, 1}, {100 * time.Millisecond, 7}}, stop: 200 * time.Millisecond,
			want: []string{"0s 1 #1", "200ms 7 #8"},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var lines recorder
				d := NewDumper(slog.New(slog.NewTextHandler(&lines, stripped(start))), "datagrams refused", time.Now)
				var n int
				for _, s := range tc.steps {
					time.Sleep(s.at - time.Since(start))
					for range s.errors {
						n++
						d.Add(fmt.Errorf("#%d", n))
					}
					synctest.Wait()
				}
				time.Sleep(tc.stop - time.Since(start))
				d.Stop()
				d.Add(errors.New("after stop"))
				d.Stop()
				time.Sleep(time.Minute)
				if got := lines.all(); strings.Join(got, "|") != strings.Join(tc.want, "|") {
					t.Errorf("lines = %q, want %q", got, tc.want)
				}
				if got := d.Total(); got != uint64(n)+1 {
					t.Errorf("Total() = %d, want %d", got, n+1)
				}
			})
		})
	}
}

// TestDumperNeverWaitsForTheLog holds the log's writer and adds on: a packet must not wait for a disk.
func TestDumperNeverWaitsForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := stuckWriter{free: make(chan struct{})}
		d := NewDumper(New(stuck, slog.LevelInfo), "datagrams refused", time.Now)
		d.Add(errors.New("first"))
		synctest.Wait() // the line is being written and does not end
		start := time.Now()
		for range 1000 {
			d.Add(errors.New("more"))
		}
		if waited := time.Since(start); waited > 0 {
			t.Errorf("Add waited %v for a stuck log, want 0", waited)
		}
		close(stuck.free)
		d.Stop()
	})
}

func TestDumperManyGoroutines(t *testing.T) {
	var lines recorder
	d := NewDumper(slog.New(slog.NewTextHandler(&lines, stripped(time.Now()))), "datagrams refused", time.Now)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				d.Add(fmt.Errorf("#%d", i))
			}
		})
	}
	wg.Wait()
	d.Stop()
	if sum := counted(t, lines.all()); sum != 8000 {
		t.Errorf("lines count %d errors, want 8000", sum)
	}
}

func TestDumperAddAllocs(t *testing.T) {
	d := NewDumper(slog.New(slog.DiscardHandler), "datagrams refused", time.Now)
	defer d.Stop()
	err := errors.New("refused")
	d.Add(err)
	if got := testing.AllocsPerRun(1000, func() { d.Add(err) }); got != 0 {
		t.Errorf("Add allocates %v times, want 0", got)
	}
}

// counted returns how many errors the lines report together.
func counted(t *testing.T, lines []string) (sum int) {
	t.Helper()
	for _, line := range lines {
		var at, last string
		var count int
		if _, err := fmt.Sscan(line, &at, &count, &last); err != nil {
			t.Fatalf("read line %q: %v", line, err)
		}
		sum += count
	}
	return sum
}

// flood returns one error every step from start up to and without end.
func flood(start, end, every time.Duration) (steps []step) {
	for at := start; at < end; at += every {
		steps = append(steps, step{at, 1})
	}
	return steps
}

// stripped makes records read "time count last" with the time counted from start.
func stripped(start time.Time) *slog.HandlerOptions {
	return &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey:
			return slog.String("", a.Value.Time().Sub(start).Round(time.Millisecond).String())
		case slog.LevelKey, slog.MessageKey:
			return slog.Attr{}
		}
		return slog.Attr{Key: "", Value: a.Value}
	}}
}

// recorder keeps the lines written to it, without the = signs that empty keys leave.
type recorder struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := strings.NewReplacer("=", "", `"`, "").Replace(r.buf.String())
	return strings.FieldsFunc(text, func(c rune) bool { return c == '\n' })
}

// stuckWriter blocks until free is closed.
type stuckWriter struct{ free chan struct{} }

func (w stuckWriter) Write(p []byte) (int, error) {
	<-w.free
	return len(p), nil
}
