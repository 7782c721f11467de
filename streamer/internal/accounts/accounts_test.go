package accounts_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

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
	onUser        func() // runs once, while a login is being looked up
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
	if f.onUser != nil {
		run := f.onUser
		f.onUser = nil
		run()
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
