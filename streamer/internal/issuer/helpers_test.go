package issuer

import (
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
	"dongthanh/internal/testkit"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// place is a streamer's folder with its database and a clock that the test moves.
type place struct {
	t   testing.TB
	dir string
	db  *store.Store
	log *testkit.Journal

	mu  sync.Mutex // guards now
	now time.Time
}

// newPlace has a real database with the zones of the demo.
func newPlace(t testing.TB) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), log: &testkit.Journal{}, now: time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC)}
	p.db = must(store.Open(t.Context(), p.dir, nil))(t)
	t.Cleanup(func() {
		if err := p.db.Close(); err != nil {
			t.Error(err)
		}
	})
	var zones []store.Zone
	for code, name := range map[zone.Zone]string{"31": "Hải Phòng", "31/11296": "Xã Vĩnh Bảo", "31/11296/02": "Thôn Đông", "32": "Hưng Yên"} {
		zones = append(zones, store.Zone{Code: code, Name: name})
	}
	if _, _, err := p.db.UpsertZones(t.Context(), zones, p.now); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *place) pass(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(d)
}

// zoneKeys are the envelopes for a node, of which each must go out with the issuer in force.
func (p *place) zoneKeys(i *Issuer, node string) [][]byte {
	p.t.Helper()
	envelopes, issuer, err := i.ZoneKeys(p.t.Context(), node)
	if err != nil || string(issuer) != string(i.DER()) {
		p.t.Fatalf("ZoneKeys(%s) = %v", node, err)
	}
	return envelopes
}

func (p *place) options() Options {
	return Options{
		Dir: filepath.Join(p.dir, "keys"), Store: p.db, MaxClass: signed.ClassEmergency, Name: "Đài xã",
		Log: slog.New(slog.NewTextHandler(p.log, nil)), Now: p.clock,
	}
}

func (p *place) open() *Issuer {
	p.t.Helper()
	return must(Open(p.t.Context(), p.options()))(p.t)
}

// token adds a token and returns its text.
func (p *place) token(i *Issuer, kind identity.Kind, z zone.Zone) string {
	p.t.Helper()
	text, _, err := i.AddToken(p.t.Context(), kind, "Loa đình làng", z, 24*time.Hour, "cli")
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

// enrol makes a node.
func (p *place) enrol(i *Issuer, kind identity.Kind, z zone.Zone) *identity.Credentials {
	p.t.Helper()
	text := p.token(i, kind, z)
	k := must(identity.NewKeys())(p.t)
	r := must(i.Enrol(p.t.Context(), request(p.t, text, kind, k)))(p.t)
	c := must(must(identity.ParseToken(text))(p.t).Accept(k, r.Chain, r.Roots, p.clock()))(p.t)
	c.Now = p.clock
	return c
}

func request(t testing.TB, text string, kind identity.Kind, k identity.Keys) control.EnrolRequest {
	t.Helper()
	return control.EnrolRequest{Token: text, Kind: string(kind), CSR: must(k.Request())(t)}
}

const day = 24 * time.Hour
