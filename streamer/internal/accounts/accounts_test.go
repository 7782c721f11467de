package accounts_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	good  = "bốn con trâu đỏ"
	wrong = "năm con trâu đỏ"
)

var (
	office = netip.MustParseAddr("192.0.2.1")
	// cheap keeps tests fast under -race; the real cost is tested once.
	cheap = accounts.Cost{MemoryKiB: 64, Passes: 1, Lanes: 1}
)

type fixture struct {
	*accounts.Accounts
	t       *testing.T
	store   *faulty
	metrics *prometheus.Registry
}

// faulty is the real store, whose faults can be switched on.
type faulty struct {
	*store.Store
	writes, reads error
}

func (f *faulty) AddLogin(ctx context.Context, l store.Login) error {
	if f.writes != nil {
		return f.writes
	}
	return f.Store.AddLogin(ctx, l)
}

func (f *faulty) TouchLogin(ctx context.Context, token store.Hash, at time.Time) error {
	if f.writes != nil {
		return f.writes
	}
	return f.Store.TouchLogin(ctx, token, at)
}

func (f *faulty) Login(ctx context.Context, token store.Hash) (store.Login, error) {
	if f.reads != nil {
		return store.Login{}, f.reads
	}
	return f.Store.Login(ctx, token)
}

func (f *faulty) User(ctx context.Context, id string) (store.User, error) {
	if f.reads != nil {
		return store.User{}, f.reads
	}
	return f.Store.User(ctx, id)
}

func (f *faulty) UserByName(ctx context.Context, name string) (store.User, error) {
	if f.reads != nil {
		return store.User{}, f.reads
	}
	return f.Store.UserByName(ctx, name)
}

// inTime runs f in a bubble of fake time with the officer "lan" of commune 31/11296.
func inTime(t *testing.T, f func(t *testing.T, x *fixture)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(context.Background(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, _, err := s.UpsertZones(t.Context(), []store.Zone{{Code: "31", Name: "Hải Phòng"}, {Code: "31/11296", Name: "Xã Vĩnh Bảo"}}, time.Now()); err != nil {
			t.Fatal(err)
		}
		x := &fixture{t: t, store: &faulty{Store: s}, metrics: prometheus.NewRegistry()}
		x.restart()
		x.add("lan", accounts.Officer)
		f(t, x)
	})
}

// restart is what a new process knows.
func (x *fixture) restart() {
	x.t.Helper()
	var err error
	x.metrics = prometheus.NewRegistry()
	x.Accounts, err = accounts.New(accounts.Options{Records: x.store, Now: time.Now, Cost: cheap, Metrics: x.metrics})
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *fixture) add(name string, role accounts.Role) accounts.Principal {
	x.t.Helper()
	p, err := x.AddUser(x.t.Context(), accounts.Person{Name: name, Password: good, Role: role, Zone: "31/11296"})
	if err != nil {
		x.t.Fatal(err)
	}
	return p
}

func (x *fixture) signIn() accounts.SignIn {
	x.t.Helper()
	in, err := x.SignIn(x.t.Context(), "lan", good, office)
	if err != nil {
		x.t.Fatal(err)
	}
	return in
}

func (x *fixture) wantSignedIn(token string, want bool) {
	x.t.Helper()
	_, err := x.ByToken(x.t.Context(), token)
	if want && err != nil {
		x.t.Errorf("ByToken: %v, want signed in", err)
	}
	if !want && !errors.Is(err, accounts.ErrSignedOut) {
		x.t.Errorf("ByToken: %v, want ErrSignedOut", err)
	}
}

func TestSignInAndOut(t *testing.T) {
	inTime(t, func(t *testing.T, x *fixture) {
		in := x.signIn()
		want := accounts.Principal{ID: in.ID, Name: "lan", Role: accounts.Officer, Zone: "31/11296"}
		if in.Principal != want || in.ID == "" || len(in.Token) != 43 || !in.Expires.Equal(time.Now().Add(8*time.Hour)) {
			t.Errorf("SignIn = %+v, want %+v for 8 h", in, want)
		}
		if p, err := x.ByToken(t.Context(), in.Token); p != want || err != nil {
			t.Errorf("ByToken = %+v, %v, want %+v", p, err, want)
		}
		if other := x.signIn(); other.Token == in.Token {
			t.Error("two logins have the same token")
		}
		for _, bad := range []string{"", "x", in.Token[1:], in.Token + "A", strings.ToUpper(in.Token), strings.Repeat("x", 1<<20)} {
			x.wantSignedIn(bad, false)
		}
		if err := x.SignOut(t.Context(), in.Token); err != nil {
			t.Fatal(err)
		}
		x.wantSignedIn(in.Token, false)
		if err := x.SignOut(t.Context(), in.Token); err != nil {
			t.Errorf("SignOut twice: %v", err)
		}
	})
}

func TestWrongNameAndWrongPasswordLookTheSame(t *testing.T) {
	inTime(t, func(t *testing.T, x *fixture) {
		gone := x.add("gone", accounts.Admin)
		if err := x.Disable(t.Context(), gone.ID); err != nil {
			t.Fatal(err)
		}
		for i, c := range []struct{ name, password string }{
			{"lan", wrong}, {"lan", ""}, {"lan", good + " "}, {"lan", "a\x00b"}, {"lan", strings.Repeat("x", 1<<20)},
			{"nobody", good}, {"", ""}, {"lan' OR '1'='1", good}, {strings.Repeat("n", 1<<20), good}, {"a\xff\x00", good},
			{"gone", good},
		} {
			from := netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)})
			p, err := x.Authenticate(t.Context(), c.name, c.password, from)
			if !errors.Is(err, accounts.ErrCredentials) || p != (accounts.Principal{}) {
				t.Errorf("Authenticate(%.20q, %.20q) = %+v, %v, want ErrCredentials", c.name, c.password, p, err)
			}
		}
		// Marks typed in other code points, and the name in capitals, are the same.
		if _, err := x.Authenticate(t.Context(), "LAN", "bô\u0301n con trâu đo\u0309", office); err != nil {
			t.Error(err)
		}
		if n := testutil.ToFloat64(collector(t, x, "refused")); n != 11 {
			t.Errorf("refused = %v, want 11", n)
		}
	})
}

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

func TestAddUserRefuses(t *testing.T) {
	inTime(t, func(t *testing.T, x *fixture) {
		for name, c := range map[string]struct {
			person accounts.Person
			want   error
		}{
			"name taken": {accounts.Person{Name: "LAN", Password: good, Role: accounts.Admin, Zone: "31"}, accounts.ErrNameTaken},
			"no name":    {accounts.Person{Password: good, Role: accounts.Admin, Zone: "31"}, accounts.ErrName},
			"spaces":     {accounts.Person{Name: "Lan Anh", Password: good, Role: accounts.Admin, Zone: "31"}, accounts.ErrName},
			"bidi":       {accounts.Person{Name: "a\u202eb", Password: good, Role: accounts.Admin, Zone: "31"}, accounts.ErrName},
			"long":       {accounts.Person{Name: strings.Repeat("a", 65), Password: good, Role: accounts.Admin, Zone: "31"}, accounts.ErrName},
			"role":       {accounts.Person{Name: "b", Password: good, Role: "root", Zone: "31"}, accounts.ErrRole},
			"no role":    {accounts.Person{Name: "b", Password: good, Zone: "31"}, accounts.ErrRole},
			"zone":       {accounts.Person{Name: "b", Password: good, Role: accounts.Admin, Zone: "32"}, accounts.ErrZone},
			"password":   {accounts.Person{Name: "b", Password: "short", Role: accounts.Admin, Zone: "31"}, accounts.ErrPasswordShort},
		} {
			_, err := x.AddUser(t.Context(), c.person)
			var shown interface{ Message() string }
			if !errors.Is(err, c.want) || !errors.As(err, &shown) || shown.Message() == "" {
				t.Errorf("%s: AddUser: %v, want %v with a message", name, err, c.want)
			}
		}
		if err := x.SetPassword(t.Context(), "nobody", good); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("SetPassword of nobody: %v, want ErrNotFound", err)
		}
	})
}

func TestMachines(t *testing.T) {
	inTime(t, func(t *testing.T, x *fixture) {
		secret, token, err := x.AddMachine(t.Context(), accounts.Machine{Name: "hệ thống tỉnh", Role: accounts.Officer, Zone: "31", TTL: time.Hour, By: "cli"})
		if err != nil || !strings.HasPrefix(secret, "dt_") || len(secret) != 3+52 {
			t.Fatalf("AddMachine = %q, %v", secret, err)
		}
		want := accounts.Principal{ID: token.ID, Name: "hệ thống tỉnh", Role: accounts.Officer, Zone: "31", Machine: true}
		if p, err := x.ByAPIToken(t.Context(), secret); p != want || err != nil {
			t.Errorf("ByAPIToken = %+v, %v, want %+v", p, err, want)
		}
		enrol := store.Token{ID: store.NewID(), Secret: store.HashOf("dt_enrol"), Kind: store.TokenRelay, Name: "r", Zone: "31", Created: time.Now(), Expires: time.Now().Add(time.Hour)}
		if err := x.store.AddToken(t.Context(), enrol); err != nil {
			t.Fatal(err)
		}
		login := x.signIn()
		for _, bad := range []string{"", "dt_", "dt_x", strings.ToUpper(secret), secret + "a", "dt_enrol", login.Token, strings.Repeat("dt_", 1<<20)} {
			if p, err := x.ByAPIToken(t.Context(), bad); !errors.Is(err, accounts.ErrToken) || p != (accounts.Principal{}) {
				t.Errorf("ByAPIToken(%.20q) = %+v, %v, want ErrToken", bad, p, err)
			}
		}
		x.wantSignedIn(secret, false) // an API token is no login
		time.Sleep(time.Hour)
		if _, err := x.ByAPIToken(t.Context(), secret); !errors.Is(err, accounts.ErrToken) {
			t.Errorf("after its hour: %v, want ErrToken", err)
		}

		secret, token, err = x.AddMachine(t.Context(), accounts.Machine{Name: "m", Role: accounts.Officer, Zone: "31"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(1000 * time.Hour)
		if _, err := x.ByAPIToken(t.Context(), secret); err != nil {
			t.Errorf("without end: %v", err)
		}
		if err := x.store.RevokeToken(t.Context(), token.ID, time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := x.ByAPIToken(t.Context(), secret); !errors.Is(err, accounts.ErrToken) {
			t.Errorf("revoked: %v, want ErrToken", err)
		}
		for _, c := range []struct {
			machine accounts.Machine
			want    error
		}{
			{accounts.Machine{Name: "m", Role: "root", Zone: "31"}, accounts.ErrRole},
			{accounts.Machine{Name: "m", Role: accounts.Officer, Zone: "32"}, accounts.ErrZone},
			{accounts.Machine{Name: "", Role: accounts.Officer, Zone: "31"}, store.ErrInvalid},
		} {
			if _, _, err := x.AddMachine(t.Context(), c.machine); !errors.Is(err, c.want) {
				t.Errorf("AddMachine(%+v): %v, want %v", c.machine, err, c.want)
			}
		}
	})
}

// A stronger cost is applied when people next sign in.
func TestHashIsUpgraded(t *testing.T) {
	inTime(t, func(t *testing.T, x *fixture) {
		in := x.signIn()
		stronger := cheap
		stronger.Passes = 2
		var err error
		if x.Accounts, err = accounts.New(accounts.Options{Records: x.store, Now: time.Now, Cost: stronger}); err != nil {
			t.Fatal(err)
		}
		x.signIn()
		u, err := x.store.Store.User(t.Context(), in.ID)
		if err != nil || !strings.HasPrefix(u.Password, "$argon2id$v=19$m=64,t=2,p=1$") {
			t.Errorf("hash = %q, %v, want two passes", u.Password, err)
		}
		x.wantSignedIn(in.Token, true) // nobody is signed out by that
		x.signIn()
	})
}

func TestNewRefuses(t *testing.T) {
	for _, cost := range []accounts.Cost{{MemoryKiB: 4, Passes: 1, Lanes: 1}, {MemoryKiB: 64, Lanes: 1}, {MemoryKiB: 64, Passes: 1}, {MemoryKiB: 1 << 30, Passes: 1, Lanes: 1}} {
		if _, err := accounts.New(accounts.Options{Cost: cost}); err == nil {
			t.Errorf("New with %+v succeeded", cost)
		}
	}
	reg := prometheus.NewRegistry()
	for i := range 2 {
		if _, err := accounts.New(accounts.Options{Metrics: reg}); (err != nil) != (i == 1) {
			t.Errorf("New %d on one registry: %v", i, err)
		}
	}
}

// collector returns the counter of a result.
func collector(t *testing.T, x *fixture, result string) prometheus.Collector {
	t.Helper()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "copy"})
	families, err := x.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "dongthanh_streamer_sign_ins_total" && m.GetLabel()[0].GetValue() == result {
				c.Add(m.GetCounter().GetValue())
			}
		}
	}
	return c
}

// rights is the table of the package comment's promise, written down a second time on purpose.
var rights = map[accounts.Role]map[accounts.Action]bool{
	accounts.Admin:      {accounts.View: true, accounts.Stop: true, accounts.ManageNodes: true, accounts.ManageZones: true, accounts.ManageUsers: true, accounts.Audit: true},
	accounts.Officer:    {accounts.View: true, accounts.Stop: true, accounts.SpeakNormal: true, accounts.SpeakPriority: true, accounts.SpeakEmergency: true, accounts.Upload: true, accounts.ManageZones: true},
	accounts.Editor:     {accounts.View: true, accounts.Upload: true},
	accounts.Approver:   {accounts.View: true, accounts.Stop: true, accounts.Upload: true, accounts.Approve: true},
	accounts.Technician: {accounts.View: true, accounts.ManageNodes: true},
	accounts.Auditor:    {accounts.View: true, accounts.Audit: true},
	"":                  {},
	"root":              {},
}

func TestCan(t *testing.T) {
	actions := map[accounts.Action]string{
		accounts.View: "view", accounts.SpeakNormal: "speak normal", accounts.SpeakPriority: "speak priority",
		accounts.SpeakEmergency: "speak emergency", accounts.Stop: "stop", accounts.Upload: "upload", accounts.Approve: "approve",
		accounts.ManageNodes: "manage nodes", accounts.ManageZones: "manage zones", accounts.ManageUsers: "manage users", accounts.Audit: "audit",
		0: "nothing",
	}
	places := []struct {
		own, target zone.Zone
		inside      bool
	}{
		{"31/11296", "31/11296", true}, {"31/11296", "31/11296/02", true}, {"31/11296", "31", false}, {"31/11296", "", false},
		{"31/11296", "31/11407", false}, {"31/11296", "31/112960", false}, {"", "31", true}, {"", "", true}, {"31", "31/11407/01", true},
	}
	for role, granted := range rights {
		if role.Valid() != (len(granted) > 0) {
			t.Errorf("%q.Valid() = %v", role, role.Valid())
		}
		for action, name := range actions {
			for _, machine := range []bool{false, true} {
				for _, place := range places {
					p := accounts.Principal{ID: "x", Role: role, Zone: place.own, Machine: machine}
					want := granted[action] && place.inside
					if machine && (action == accounts.SpeakEmergency || action == accounts.ManageUsers) {
						want = false
					}
					if got := p.Can(action, place.target); got != want {
						t.Errorf("%q (machine %v) of %q: Can(%s, %q) = %v, want %v", role, machine, place.own, name, place.target, got, want)
					}
				}
			}
		}
	}
	officer := accounts.Principal{Role: accounts.Officer, Zone: "31"}
	if officer.Can(accounts.View|accounts.ManageUsers, "31") || !officer.Can(accounts.View|accounts.Upload, "31") {
		t.Error("Can of two actions at once wants both")
	}
	if (accounts.Principal{}).Can(accounts.View, "") {
		t.Error("nobody may view")
	}
	if n := len(accounts.Roles()); n != 6 {
		t.Errorf("%d roles, want 6", n)
	}
	for _, r := range accounts.Roles() {
		p := accounts.Principal{Role: r}
		if p.Can(accounts.ManageUsers, "31") && (p.Can(accounts.SpeakNormal, "31") || p.Can(accounts.SpeakEmergency, "31")) {
			t.Errorf("%s both grants roles and speaks", r)
		}
	}
}

func TestCheckPassword(t *testing.T) {
	for password, want := range map[string]error{
		good:                           nil,
		"correct horse battery staple": nil,
		"k7#Qv!x2Lm9z":                 nil,
		"ngựa đúng pin kẹp giấy":       nil,
		"yjmw3hk2vq7p4tza":             nil,

		"":                                accounts.ErrPasswordShort,
		"11 ký tự đó":                     accounts.ErrPasswordShort,
		strings.Repeat("aăâbc", 41):       accounts.ErrPasswordLong,
		strings.Repeat("x", 1<<20):        accounts.ErrPasswordLong,
		"một hai ba\x00bốn":               accounts.ErrPasswordText,
		"một\nhai ba bốn năm":             accounts.ErrPasswordText,
		"\xff\xfe một hai ba bốn năm":     accounts.ErrPasswordText,
		"031185001234":                    accounts.ErrPasswordDigits,
		"0912 345 678 - 1985":             accounts.ErrPasswordDigits,
		"!!!!!!!!!!!!!!!":                 accounts.ErrPasswordDigits,
		"aaaaaaaaaaaaaaa":                 accounts.ErrPasswordCommon,
		"abababababababab":                accounts.ErrPasswordCommon,
		"Password123456":                  accounts.ErrPasswordCommon,
		"P@ssw0rd!2026!!":                 accounts.ErrPasswordCommon,
		"Mật khẩu 123456":                 accounts.ErrPasswordCommon,
		"matkhau@2026!!":                  accounts.ErrPasswordCommon,
		"Admin@123456789":                 accounts.ErrPasswordCommon,
		"QuảnTrịViên2026":                 accounts.ErrPasswordCommon,
		"Truyền thanh xã 1":               accounts.ErrPasswordCommon,
		"Đài truyền thanh 01":             accounts.ErrPasswordCommon,
		"1qaz2wsx3edc4rfv":                accounts.ErrPasswordCommon,
		"qwertyuiop123":                   accounts.ErrPasswordCommon,
		"abcdefghijkl1":                   accounts.ErrPasswordCommon,
		"HaiPhong@123456":                 accounts.ErrPasswordCommon,
		"Nguyen.Van.Binh1990":             accounts.ErrPasswordName,
		"nguyễn văn bình 90":              accounts.ErrPasswordName,
		"NguyenVanBinh NguyenVanBinh 199": accounts.ErrPasswordName,
	} {
		err := accounts.CheckPassword(password, "nguyen.van.binh")
		if !errors.Is(err, want) {
			t.Errorf("CheckPassword(%.40q) = %v, want %v", password, err, want)
		}
		var shown interface{ Message() string }
		if err != nil && (!errors.As(err, &shown) || !strings.HasPrefix(shown.Message(), "Mật khẩu")) {
			t.Errorf("CheckPassword(%.40q) has no message: %v", password, err)
		}
	}
}
