package ingest

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestSeat plays what may happen to successive microphones. Each line is an act at a second, and what holds after it.
func TestSeat(t *testing.T) {
	const quick = 20 * time.Millisecond
	begun := time.Date(2026, 11, 25, 5, 0, 0, 0, time.UTC)
	at := func(s float64) time.Time { return begun.Add(time.Duration(s * float64(time.Second))) }
	come := func(s float64, who int) func(*seat) (int, error) {
		return func(x *seat) (int, error) { return x.come(at(s), who, false, quick) }
	}
	politely := func(s float64, who int, quiet time.Duration) func(*seat) (int, error) {
		return func(x *seat) (int, error) { return x.come(at(s), who, true, quiet) }
	}
	start := func(who int) func(*seat) (int, error) {
		return func(x *seat) (int, error) { return x.start(who), nil }
	}
	fail := func(who int) func(*seat) (int, error) {
		return func(x *seat) (int, error) { return x.fail(who), nil }
	}
	hear := func(s float64, quiet time.Duration) func(*seat) (int, error) {
		return func(x *seat) (int, error) { x.hear(at(s), quiet); return 0, nil }
	}
	broken := func(s float64, who int) func(*seat) (int, error) {
		return func(x *seat) (int, error) { return x.broken(at(s), who, quick), nil }
	}
	leave := func(s float64, who int) func(*seat) (int, error) {
		return func(x *seat) (int, error) { return x.leave(at(s), who), nil }
	}
	hold := func(x *seat) (int, error) { x.hold(); return 0, nil }
	expire := func(s float64) func(*seat) (int, error) {
		return func(x *seat) (int, error) { x.expire(at(s)); return 0, nil }
	}
	type step struct {
		act     string
		do      func(*seat) (useless int, err error)
		useless int
		err     error
		until   float64 // second at which it is given up; 0: it is not lost
		over    bool
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"one speaks", []step{
			{"it comes", come(0, 1), 0, nil, 0, false},
			{"it starts", start(1), 0, nil, 0, false},
			{"a pause of DTX", hear(1, 400*time.Millisecond), 0, nil, 0, false},
			{"much later", expire(9999), 0, nil, 0, false},
		}},
		{"the first never has sound", []step{
			{"it comes", come(0, 1), 0, nil, 0, false},
			{"it fails", fail(1), 1, nil, 0, true},
		}},
		{"the first gives way before it has sound", []step{
			{"it comes", come(0, 1), 0, nil, 0, false},
			{"a second one comes", come(1, 2), 1, nil, 0, false},
			{"the first fails", fail(1), 1, nil, 0, false},
			{"the second starts", start(2), 0, nil, 0, false},
		}},
		{"nothing comes for a while", []step{
			{"it comes", come(0, 1), 0, nil, 0, false},
			{"it starts", start(1), 0, nil, 0, false},
			{"1.5 s of nothing", hear(10, 1500*time.Millisecond), 0, nil, 38.5, false},
			{"more of it", hear(12, 3500*time.Millisecond), 0, nil, 38.5, false},
			{"it is back", hear(13, quick), 0, nil, 0, false},
			{"nothing again", hear(60, 2*time.Second), 0, nil, 88, false},
			{"just before the end", expire(87.9), 0, nil, 88, false},
			{"the end", expire(88), 0, nil, 88, true},
		}},
		{"the connection fails and another one takes its place", []step{
			{"it comes", come(0, 1), 0, nil, 0, false},
			{"it starts", start(1), 0, nil, 0, false},
			{"it is quiet", hear(10, 2*time.Second), 0, nil, 38, false},
			{"it breaks", broken(15, 1), 1, nil, 38, false},
			{"another comes", come(16, 2), 0, nil, 38, false},
			{"it fails", fail(2), 2, nil, 38, false},
			{"yet another comes", come(18, 3), 0, nil, 38, false},
			{"it starts", start(3), 0, nil, 0, false},
			{"what was told of the first is late", broken(19, 1), 0, nil, 0, false},
			{"so is its page's goodbye", leave(19, 1), 0, nil, 0, false},
		}},
		{"another one takes the place of one that speaks", []step{
			{"it comes", come(0, 1), 0, nil, 0, false},
			{"it starts", start(1), 0, nil, 0, false},
			{"another comes", come(5, 2), 0, nil, 0, false},
			{"the first one's page is closed by itself", leave(5, 1), 0, nil, 0, false},
			{"the other starts", start(2), 1, nil, 0, false},
		}},
		{"a page is closed", []step{
			{"it comes", come(0, 1), 0, nil, 0, false},
			{"it starts", start(1), 0, nil, 0, false},
			{"goodbye", leave(5, 1), 1, nil, 13, false},
			{"a second goodbye", leave(6, 1), 0, nil, 13, false},
			{"the end", expire(13), 0, nil, 13, true},
		}},
		{"a page is closed whose connection ended first", []step{
			{"it comes", come(0, 1), 0, nil, 0, false},
			{"it starts", start(1), 0, nil, 0, false},
			{"the connection ends", broken(5, 1), 1, nil, 34.98, false},
			{"goodbye", leave(5, 1), 0, nil, 13, false},
		}},
		{"a page is loaded again", []step{
			{"it comes", come(0, 1), 0, nil, 0, false},
			{"it starts", start(1), 0, nil, 0, false},
			{"goodbye", leave(5, 1), 1, nil, 13, false},
			{"it is back", hold, 0, nil, 35, false},
			{"it speaks again", come(20, 2), 0, nil, 35, false},
			{"with sound", start(2), 0, nil, 0, false},
		}},
		{"a page is closed before it has sound", []step{
			{"it comes", come(0, 1), 0, nil, 0, false},
			{"goodbye", leave(1, 1), 1, nil, 0, true},
		}},
		{"one that yields", []step{
			{"it comes", politely(0, 1, 0), 0, nil, 0, false},
			{"another, at once", politely(0, 2, 0), 0, ErrTaken, 0, false},
			{"it starts", start(1), 0, nil, 0, false},
			{"another, while it speaks", politely(9, 2, quick), 0, ErrTaken, 0, false},
			{"another, while nothing comes", politely(19, 2, 2*time.Second), 0, nil, 0, false},
			{"yet another, before that has sound", politely(20, 3, 3*time.Second), 0, ErrTaken, 0, false},
			{"and when that seems to have failed", politely(24, 4, 7*time.Second), 2, nil, 0, false},
			{"which starts", start(4), 1, nil, 0, false},
			{"the failed one starts late", start(2), 2, nil, 0, false},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := seat{gaps: Gaps{Lost: 30 * time.Second, Left: 8 * time.Second}}
			for _, s := range c.steps {
				useless, err := s.do(&x)
				until := 0.0
				if !x.lostAt.IsZero() {
					until = x.until.Sub(begun).Seconds()
				}
				got, want := fmt.Sprint(useless, until, x.over), fmt.Sprint(s.useless, s.until, s.over)
				if got != want || !errors.Is(err, s.err) {
					t.Errorf("%s: useless, until, over = %s, %v; want %s, %v", s.act, got, err, want, s.err)
				}
			}
		})
	}
}
