package accounts_test

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"dongthanh/streamer/internal/accounts"
)

func TestThrottleByAddress(t *testing.T) {
	inTime(t, func(t *testing.T, x *fixture) {
		try := func(name, password string, from string) error {
			_, err := x.Authenticate(t.Context(), name, password, netip.MustParseAddr(from))
			return err
		}
		for i := range 10 {
			if err := try(string(rune('a'+i)), wrong, "2001:db8::1"); !errors.Is(err, accounts.ErrCredentials) {
				t.Fatalf("attempt %d: %v", i, err)
			}
			time.Sleep(time.Second)
		}
		var slow *accounts.Throttled
		if err := try("lan", good, "2001:db8::ffff"); !errors.As(err, &slow) || slow.RetryAfter != 50*time.Second {
			t.Errorf("from the same /64: %v, want to wait 50 s", err)
		}
		if !strings.Contains(slow.Message(), "50 giây") {
			t.Errorf("Message = %q", slow.Message())
		}
		if err := try("lan", good, "2001:db8:0:1::1"); err != nil {
			t.Errorf("from elsewhere: %v", err)
		}
		time.Sleep(slow.RetryAfter)
		if err := try("lan", good, "2001:db8::1"); err != nil {
			t.Errorf("after waiting as told: %v", err)
		}
		// Success costs nothing: an office behind one address signs in as often as it likes.
		for range 50 {
			if err := try("lan", good, "::ffff:198.51.100.7"); err != nil {
				t.Fatal(err)
			}
		}
		if n := testutil.ToFloat64(collector(t, x, "throttled")); n != 1 {
			t.Errorf("throttled = %v, want 1", n)
		}
	})
}

func TestThrottleByNameGrowsWithoutLockOut(t *testing.T) {
	inTime(t, func(t *testing.T, x *fixture) {
		try := func(name, password string, from netip.Addr) error {
			_, err := x.Authenticate(t.Context(), name, password, from)
			return err
		}
		for i := range 10 {
			if err := try("lan", wrong, office); !errors.Is(err, accounts.ErrCredentials) {
				t.Fatalf("attempt %d: %v", i, err)
			}
			time.Sleep(7 * time.Second) // slower than the limit of the address
		}
		time.Sleep(50 * time.Second)
		var waits []time.Duration
		for range 9 {
			if err := try("lan", wrong, office); !errors.Is(err, accounts.ErrCredentials) {
				t.Fatal(err)
			}
			var slow *accounts.Throttled
			if err := try("Lan", good, office); !errors.As(err, &slow) {
				t.Fatalf("at once after a failure: %v, want throttled", err)
			}
			waits = append(waits, slow.RetryAfter)
			time.Sleep(slow.RetryAfter)
		}
		want := []time.Duration{2, 4, 8, 16, 32, 60, 60, 60, 60}
		for i := range want {
			if waits[i] != want[i]*time.Second {
				t.Fatalf("waits = %v, want %v s", waits, want)
			}
		}
		if err := try("lan", good, netip.MustParseAddr("198.51.100.9")); err != nil {
			t.Errorf("from another address: %v, want in", err)
		}
		if err := try("an", wrong, office); !errors.Is(err, accounts.ErrCredentials) {
			t.Errorf("another name: %v, want it judged", err)
		}
		if err := try("lan", good, office); err != nil { // never locked out
			t.Errorf("after the wait: %v, want in", err)
		}
		if err := try("lan", wrong, office); !errors.Is(err, accounts.ErrCredentials) {
			t.Error(err)
		}
		if err := try("lan", good, office); err != nil { // success cleared the name
			t.Errorf("after success and one failure: %v, want in", err)
		}
	})
}

// Attempts in parallel get no more tries than one after the other.
func TestThrottleCountsAttemptsInFlight(t *testing.T) {
	inTime(t, func(t *testing.T, x *fixture) {
		var mu sync.Mutex
		judged := 0
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				if _, err := x.Authenticate(t.Context(), "lan", wrong, office); errors.Is(err, accounts.ErrCredentials) {
					mu.Lock()
					judged++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if judged != 10 {
			t.Errorf("%d attempts were judged, want 10", judged)
		}
	})
}
