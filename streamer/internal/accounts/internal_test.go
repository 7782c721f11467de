package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The real cost, once: 64 MiB, three passes, one lane.
func TestDefaultCost(t *testing.T) {
	h := newHasher(DefaultCost())
	s, err := h.hash(t.Context(), []byte("bốn con trâu đỏ"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s, "$argon2id$v=19$m=65536,t=3,p=1$") {
		t.Errorf("hash = %q", s)
	}
	for password, want := range map[string]bool{"bốn con trâu đỏ": true, "bốn con trâu": false} {
		if ok, old, err := h.verify(t.Context(), s, []byte(password)); ok != want || old || err != nil {
			t.Errorf("verify(%q) = %v, %v, %v, want %v", password, ok, old, err, want)
		}
	}
	if ok, _, err := h.verify(t.Context(), "", nil); ok || err != nil {
		t.Errorf("verify against nobody = %v, %v", ok, err)
	}
}

// The reference implementation's own answer (phc-winner-argon2, test.c, version 0x13, argon2id).
func TestReferenceVector(t *testing.T) {
	const s = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	h := newHasher(DefaultCost())
	if ok, old, err := h.verify(t.Context(), s, []byte("password")); !ok || !old || err != nil {
		t.Errorf("verify = %v, %v, %v, want true and old", ok, old, err)
	}
}

func TestParsePHCRefuses(t *testing.T) {
	const salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for _, s := range []string{
		"", "x", "$argon2id$", "password", "$2a$10$abcdefghijklmnopqrstuv",
		"$argon2i$v=19$m=65536,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=16$m=65536,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=4294967295,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=4294967295,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=255$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=0,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=065536,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=1,x=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$",
		"$argon2id$v=19$m=65536,t=2,p=1$$" + key,
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + key + "=",
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + strings.Repeat(key, 4),
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + key + "$",
	} {
		if p, err := parsePHC(s); err == nil {
			t.Errorf("parsePHC(%q) = %+v, want an error", s, p)
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$argon2id$v=19$m=,t=,p=$$")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err == nil && (p.String() != s || p.cost.validate() != nil) {
			t.Errorf("parsePHC(%q) = %+v", s, p)
		}
	})
}

func FuzzCheckPassword(f *testing.F) {
	f.Add("Mật khẩu 123456", "lan")
	f.Add("P@ssw0rd", "\xff")
	f.Fuzz(func(t *testing.T, password, name string) {
		if CheckPassword(password, name) == nil {
			if text, err := prepare(password); err != nil || len([]rune(string(text))) < minPassword {
				t.Errorf("CheckPassword(%q) accepts what cannot be hashed: %v", password, err)
			}
		}
	})
}

// Only two hash at once, some wait, the rest are told so; whoever gives up leaves the queue.
func TestHasherIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(Cost{MemoryKiB: 64, Passes: 1, Lanes: 1})
		for range slots {
			if err := h.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, waiting)
		for range waiting {
			go func() { gaveUp <- h.enter(ctx) }()
		}
		synctest.Wait()
		if _, err := h.hash(t.Context(), []byte("x")); !errors.Is(err, ErrBusy) {
			t.Errorf("hash with a full queue: %v, want ErrBusy", err)
		}
		if _, _, err := h.verify(t.Context(), "", []byte("x")); !errors.Is(err, ErrBusy) {
			t.Errorf("verify with a full queue: %v, want ErrBusy", err)
		}
		cancel()
		for range waiting {
			if err := <-gaveUp; !errors.Is(err, context.Canceled) {
				t.Errorf("waiting caller got %v, want Canceled", err)
			}
		}
		h.leave()
		if _, err := h.hash(t.Context(), []byte("x")); err != nil {
			t.Errorf("hash with a free slot: %v", err)
		}
		h.leave()
		if len(h.queue) != 0 || len(h.slots) != 0 {
			t.Errorf("%d in the queue and %d in slots at the end, want none", len(h.queue), len(h.slots))
		}
	})
}

// Somebody who tries from ever new addresses cannot fill the memory, and the newest failures are what is kept.
func TestThrottleIsBounded(t *testing.T) {
	th := newThrottle()
	now := time.Unix(1e9, 0)
	for i := 0; i < most+50; i++ {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if wait := th.begin(now.Add(time.Duration(i)), pair{name: fmt.Sprint(i), addr: network(a)}); wait != 0 {
			t.Fatalf("attempt %d waits %v", i, wait)
		}
		if len(th.addrs) > most || len(th.pairs) > most {
			t.Fatalf("%d addresses, %d names, want at most %d", len(th.addrs), len(th.pairs), most)
		}
	}
	if _, kept := th.pairs[pair{name: "0", addr: network(netip.MustParseAddr("10.0.0.0"))}]; kept {
		t.Error("the oldest was kept")
	}
	later := now.Add(pairWindow + time.Minute)
	th.begin(later, pair{name: "x", addr: network(netip.MustParseAddr("10.0.0.1"))})
	if len(th.addrs) != 1 || len(th.pairs) != 1 {
		t.Errorf("%d addresses and %d names after all have expired, want one", len(th.addrs), len(th.pairs))
	}
	for range 200 {
		later = later.Add(maxWait)
		th.begin(later, pair{name: "y"})
	}
	if n := len(th.pairs[pair{name: "y"}]); n > longest {
		t.Errorf("%d failures are kept of one name, want at most %d", n, longest)
	}
}

func TestThrottleForgivesOnlyOne(t *testing.T) {
	th := newThrottle()
	p := pair{name: "lan", addr: network(netip.MustParseAddr("192.0.2.1"))}
	now := time.Unix(1e9, 0)
	for i := range 3 {
		th.begin(now.Add(time.Duration(i)*time.Second), p)
	}
	th.forgive(now.Add(time.Second), p)
	want := []time.Time{now, now.Add(2 * time.Second)}
	if !slices.Equal(th.pairs[p], want) || !slices.Equal(th.addrs[p.addr], want) {
		t.Errorf("failures = %v, %v, want %v", th.pairs[p], th.addrs[p.addr], want)
	}
	th.succeed(now, p)
	if len(th.pairs) != 0 || !slices.Equal(th.addrs[p.addr], want[1:]) {
		t.Errorf("after success: %v, %v, want the address to keep what others failed", th.pairs, th.addrs)
	}
	if network(netip.Addr{}).IsValid() {
		t.Error("the unknown address is a network")
	}
}
