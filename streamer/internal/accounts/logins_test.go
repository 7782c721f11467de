package accounts_test

import (
	"errors"
	"testing"
	"time"

	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/store"
)

func TestIdleAndAbsoluteEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		use  time.Duration // between uses; 0 none
		now  time.Duration
		in   bool
	}{
		{"fresh", 0, time.Minute, true},
		{"just before idle", 0, 15*time.Minute - time.Second, true},
		{"idle", 0, 15 * time.Minute, false},
		{"open microphone", 5 * time.Minute, 7*time.Hour + 55*time.Minute, true},
		{"slow but not idle", 14*time.Minute + 59*time.Second, 2 * time.Hour, true},
		{"absolute", 5 * time.Minute, 8 * time.Hour, false},
	} {
		for _, restarts := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				inTime(t, func(t *testing.T, x *fixture) {
					in := x.signIn()
					end := time.Now().Add(c.now)
					for c.use > 0 && time.Now().Add(c.use).Before(end) {
						time.Sleep(c.use)
						if err := x.Touch(t.Context(), in.Token); err != nil {
							t.Fatal(err)
						}
					}
					if restarts {
						x.restart() // the database remembers
					}
					time.Sleep(time.Until(end))
					x.wantSignedIn(in.Token, c.in)
					_, err := x.store.Login(t.Context(), store.HashOf(in.Token))
					if kept := err == nil; kept != c.in {
						t.Errorf("kept in the database: %v, want %v", kept, c.in)
					}
				})
			})
		}
	}
}

func TestUseIsStoredOnceAMinute(t *testing.T) {
	inTime(t, func(t *testing.T, x *fixture) {
		in := x.signIn()
		began := time.Now()
		for range 59 {
			time.Sleep(time.Second)
			x.wantSignedIn(in.Token, true)
		}
		if l, _ := x.store.Login(t.Context(), store.HashOf(in.Token)); !l.Seen.Equal(began) {
			t.Errorf("stored use at +%v, want none within a minute", l.Seen.Sub(began))
		}
		time.Sleep(time.Second)
		x.wantSignedIn(in.Token, true)
		if l, _ := x.store.Login(t.Context(), store.HashOf(in.Token)); !l.Seen.Equal(began.Add(time.Minute)) {
			t.Errorf("stored use at +%v, want +1m", l.Seen.Sub(began))
		}
	})
}

func TestPasswordChangeAndDisablingSignOut(t *testing.T) {
	for name, end := range map[string]func(x *fixture, id string) error{
		"password": func(x *fixture, id string) error { return x.SetPassword(x.t.Context(), id, wrong) },
		"disabled": func(x *fixture, id string) error { return x.Disable(x.t.Context(), id) },
		"all":      func(x *fixture, id string) error { return x.SignOutEverywhere(x.t.Context(), id) },
		"by another program": func(x *fixture, id string) error {
			return x.store.SetPassword(x.t.Context(), id, "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2Fs$a2V5a2V5a2V5a2V5a2V5aw")
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, diskFull := range []bool{false, true} {
				inTime(t, func(t *testing.T, x *fixture) {
					x.add("an", accounts.Officer)
					if diskFull {
						x.store.writes = store.ErrFull
					}
					a, b := x.signIn(), x.signIn()
					other, err := x.SignIn(t.Context(), "an", good, office)
					if err != nil {
						t.Fatal(err)
					}
					if err := end(x, a.ID); err != nil {
						t.Fatal(err)
					}
					x.wantSignedIn(a.Token, false)
					x.wantSignedIn(b.Token, false)
					x.wantSignedIn(other.Token, true)
				})
			}
		})
	}
}

// What must never happen: a failed disk keeps the officer on duty from speaking (DESIGN §12).
func TestFailingDatabase(t *testing.T) {
	inTime(t, func(t *testing.T, x *fixture) {
		x.store.writes = store.ErrFull
		in := x.signIn()
		for range 3 {
			time.Sleep(10 * time.Minute)
			x.wantSignedIn(in.Token, true)
		}
		if err := x.SignOut(t.Context(), in.Token); err != nil {
			t.Fatal(err)
		}
		x.wantSignedIn(in.Token, false)
		in = x.signIn()
		time.Sleep(15 * time.Minute)
		x.wantSignedIn(in.Token, false) // idle holds in memory too

		x.store.writes = nil
		in = x.signIn()
		x.store.writes, x.store.reads = store.ErrFull, errors.New("disk I/O error")
		for range 3 {
			time.Sleep(10 * time.Minute)
			if p, err := x.ByToken(t.Context(), in.Token); err != nil || p != in.Principal {
				t.Errorf("ByToken = %+v, %v, want signed in though nothing can be read", p, err)
			}
		}
		if _, err := x.ByToken(t.Context(), "unknown"); err == nil || errors.Is(err, accounts.ErrSignedOut) {
			t.Errorf("ByToken of a token unknown to memory: %v, want the database's error", err)
		}
		_, err := x.SignIn(t.Context(), "lan", good, office)
		if err == nil || errors.Is(err, accounts.ErrCredentials) {
			t.Errorf("SignIn: %v, want the database's error", err)
		}
		for range 20 { // the database's fault is not counted against the person
			_, _ = x.SignIn(t.Context(), "lan", good, office)
		}
		x.store.writes, x.store.reads = nil, nil
		x.signIn()
	})
}

// A request that is under way while its login is ended does not bring the login back.
func TestSignOutDuringARequest(t *testing.T) {
	for _, diskFull := range []bool{false, true} {
		inTime(t, func(t *testing.T, x *fixture) {
			if diskFull {
				x.store.writes = store.ErrFull
			}
			in := x.signIn()
			time.Sleep(2 * time.Minute)
			x.store.writes = nil
			x.store.onUser = func() {
				if err := x.SignOut(t.Context(), in.Token); err != nil {
					t.Error(err)
				}
			}
			x.wantSignedIn(in.Token, false)
			x.wantSignedIn(in.Token, false)
		})
	}
}
