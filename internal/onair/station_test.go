package onair

import (
	"crypto/ed25519"
	"crypto/sha256"
	"testing"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

const epoch = mediaclock.Instant(1_800_000_000_000_000_000)

// at is a moment d after the start, with network time.
func at(d time.Duration) Now {
	return Now{Local: mediaclock.Local(time.Hour + d), Network: epoch.Add(d), Synced: true}
}

// authority is a root with one issuer, and a second issuer for another commune.
type authority struct {
	roots         *identity.Roots
	issuer, other *identity.Authority
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	now := epoch.Time()
	root, err := identity.NewRoot(now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := root.NewIssuer("31", signed.ClassEmergency, now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	other, err := root.NewIssuer("31/99999", signed.ClassNormal, now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := identity.NewRoots(root.Certificate.Raw)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{roots, issuer, other}
}

func (a *authority) table(upstreams int) *Table {
	return New(Options{Trust: identity.NewTrust(a.roots, func() time.Time { return epoch.Time() }), Upstreams: upstreams})
}

// station is the streamer's side of one transmission, made of the real formats.
type station struct {
	cert signed.SessionCert
	raw  []byte
	key  ed25519.PrivateKey
	by   *identity.Authority
	sent mediaclock.Instant // time of the last beacon
}

func newStation(t testing.TB, by *identity.Authority, n byte, change ...func(*signed.SessionCert)) *station {
	t.Helper()
	seed := sha256.Sum256([]byte{n})
	key := ed25519.NewKeyFromSeed(seed[:])
	c := signed.SessionCert{
		Version: 1, Transmission: [16]byte{n, 1}, Session: [16]byte{n, 2}, SSRC: 0x1000 + uint32(n), PublicKey: key.Public().(ed25519.PublicKey),
		Zones: []zone.Zone{"31/11296"}, KeyZone: "31/11296", Level: 2, Class: signed.ClassNormal, Fence: uint64(n),
		NotBefore: epoch.Time().Unix() - 60, NotAfter: epoch.Time().Unix() + 3600,
		DelayMS: 400, TS0: mediaclock.Timestamp(0xfffff000), T0: epoch, Index0: 70000, Packet: 1920,
	}
	for _, f := range change {
		f(&c)
	}
	id := by.ID()
	raw, err := signed.Sign(c, id[:], by.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &station{cert: c, raw: raw, key: key, by: by}
}

// packet makes the nth packet. The tag is not that of a real key: nobody here could tell.
func (s *station) packet(n int, change ...func(*packet.Header)) []byte {
	i := seq.Index(s.cert.Index0 + uint64(n))
	h := packet.Header{Index: i, Timestamp: s.cert.Timestamp(uint64(i)), SSRC: s.cert.SSRC}
	for _, f := range change {
		f(&h)
	}
	mki := packet.MakeMKI(s.cert.KeyZone.Level(), 7)
	return s.seal(h, mki)
}

func (s *station) seal(h packet.Header, mki packet.MKI) []byte {
	raw := make([]byte, packet.HeaderLen, packet.MaxLen)
	h.Put(raw)
	payload := []byte{byte(h.Index), byte(h.Index >> 8), 3, 4, 5, 6, 7, 8, 9, 10}
	if h.Clear {
		mki = 0
	}
	packet.Sign(s.key, s.cert.Transmission, mki, raw, payload)
	raw = append(raw, payload...)
	if h.Clear {
		return raw
	}
	raw = append(raw, make([]byte, packet.TagLen)...)
	return append(raw, byte(mki>>24), byte(mki>>16), byte(mki>>8), byte(mki))
}

// when is the moment at which the nth packet is made.
func (s *station) when(n int) Now { return at(time.Duration(n) * 40 * time.Millisecond) }

// beacon makes one beacon a fragment of object.
func (s *station) beacons(t testing.TB, at mediaclock.Instant, highest int, kind wire.ObjectKind, object []byte) []wire.BeaconBody {
	t.Helper()
	sum := sha256.Sum256(object)
	bodies := wire.Fragments(s.cert.Transmission, kind, [16]byte(sum[:16]), object)
	for i, b := range bodies {
		b.At, b.Highest = max(at, s.sent+1), seq.Index(s.cert.Index0)+seq.Index(highest)
		s.sent = b.At
		parsed, err := wire.ParseBeacon(b.Append(nil, s.key))
		if err != nil {
			t.Fatal(err)
		}
		bodies[i] = parsed
	}
	return bodies
}

// stop makes a signed stop of the stations.
func stop(t testing.TB, by *identity.Authority, all ...*station) []byte {
	t.Helper()
	s := signed.Stop{Version: 1, At: epoch}
	for _, x := range all {
		s.Transmissions = append(s.Transmissions, x.cert.Transmission)
	}
	id := by.ID()
	raw, err := signed.Sign(s, id[:], by.Key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// open enters a station's certificate by control.
func (s *station) open(t testing.TB, table *Table, now Now) []Event {
	t.Helper()
	events, err := table.Session(now, s.raw, s.by.Certificate.Raw)
	if err != nil {
		t.Fatalf("open session: %v", err)
	}
	return events
}

func kinds(events []Event) (k []Kind) {
	for _, e := range events {
		k = append(k, e.Kind)
	}
	return k
}
