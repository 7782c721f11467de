package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"dongthanh/internal/cluster"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

// show is a transmission that the bed sends: signed like the streamer's, its payload random.
type show struct {
	b    *bed
	cert signed.SessionCert
	raw  []byte
	key  ed25519.PrivateKey
	next int
	sent mediaclock.Instant // time of the last beacon

	mu   sync.Mutex // guards made
	made map[seq.Index][]byte
}

const packetTime = 40 * time.Millisecond

func (b *bed) show(zones ...zone.Zone) *show {
	b.t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	check(b.t, err)
	var id [16]byte
	_, _ = rand.Read(id[:])
	now := b.root.Now()
	c := signed.SessionCert{
		Version: 1, Transmission: id, Session: sha256Half(id[:]), SSRC: binary.BigEndian.Uint32(id[:]), PublicKey: pub,
		Zones: zones, KeyZone: zone.Common(zones), Level: 2, Fence: 1,
		NotBefore: now.Time().Unix() - 60, NotAfter: now.Time().Unix() + 1800,
		DelayMS: 2000, TS0: 12345, T0: now.Add(150 * time.Millisecond), Index0: 1000, Packet: 1920,
	}
	signer := b.issuer.ID()
	raw, err := signed.Sign(c, signer[:], b.issuer.Key)
	check(b.t, err)
	return &show{b: b, cert: c, raw: raw, key: key, made: map[seq.Index][]byte{}}
}

func sha256Half(b []byte) [16]byte { h := sha256.Sum256(b); return [16]byte(h[:16]) }

func (x *show) open(to ...*top) {
	for _, s := range to {
		s.hub.Open(&cluster.Transmission{Cert: x.cert, Raw: x.raw, Issuer: x.b.issuer.Certificate.Raw})
	}
}

// packet makes the packet with an offset from the first.
func (x *show) packet(n int, change ...func(*packet.Header)) packet.Packet {
	i := seq.Index(x.cert.Index0) + seq.Index(n)
	h := packet.Header{Index: i, Timestamp: x.cert.Timestamp(uint64(i)), SSRC: x.cert.SSRC}
	for _, f := range change {
		f(&h)
	}
	return x.seal(h, packet.MakeMKI(x.cert.KeyZone.Level(), 1), x.key)
}

func (x *show) seal(h packet.Header, mki packet.MKI, key ed25519.PrivateKey) packet.Packet {
	raw := make([]byte, packet.HeaderLen, packet.MaxLen)
	h.Put(raw)
	payload := make([]byte, 160+packet.TagLen)
	_, _ = rand.Read(payload)
	packet.Sign(key, x.cert.Transmission, mki, raw, payload[:160])
	raw = binary.BigEndian.AppendUint32(append(raw, payload...), uint32(mki))
	p, err := packet.Parse(raw)
	check(x.b.t, err)
	return p
}

// beacon sends one beacon for each fragment of the certificate and its issuer's.
func (x *show) beacon(to ...*top) {
	for _, o := range []struct {
		kind wire.ObjectKind
		raw  []byte
	}{{wire.ObjectSession, x.raw}, {wire.ObjectIssuer, x.b.issuer.Certificate.Raw}} {
		for _, body := range wire.Fragments(x.cert.Transmission, o.kind, sha256Half(o.raw), o.raw) {
			x.sent = max(x.b.root.Now(), x.sent+1)
			body.At, body.Highest = x.sent, seq.Index(x.cert.Index0)+seq.Index(x.next)-1
			raw := body.Append(nil, x.key)
			parsed, err := wire.ParseBeacon(raw)
			check(x.b.t, err)
			for _, s := range to {
				s.hub.Beacon(parsed, raw)
			}
		}
	}
}

// send sends packets until their instant has come, as the encoder does, and a beacon each second.
func (x *show) send(d time.Duration, to ...*top) {
	for end := x.b.root.Now().Add(d); x.b.root.Now() < end; {
		due := x.cert.T0.Add(time.Duration(x.next) * packetTime)
		time.Sleep(due.Sub(x.b.root.Now()))
		x.one(to...)
	}
}

func (x *show) one(to ...*top) {
	if x.next%25 == 0 || x.next < 6 && x.next%2 == 0 {
		x.beacon(to...)
	}
	p := x.packet(x.next)
	x.mu.Lock()
	x.made[p.Index] = p.Raw
	x.mu.Unlock()
	x.next++
	for _, s := range to {
		s.hub.Media(p)
	}
}

// stopOrder is a signed stop of the show.
func (x *show) stopOrder() ([]byte, signed.Stop) {
	s := signed.Stop{Version: 1, Transmissions: [][16]byte{x.cert.Transmission}, At: x.b.root.Now()}
	signer := x.b.issuer.ID()
	raw, err := signed.Sign(s, signer[:], x.b.issuer.Key)
	check(x.b.t, err)
	return raw, s
}

// missing lists which of the packets from a to b (exclusive) a subscriber did not get byte for byte before their due
// instant, less margin.
func (x *show) missing(s *subscriber, a, b int) (n []int) {
	for k := a; k < b; k++ {
		i := seq.Index(x.cert.Index0) + seq.Index(k)
		at, ok := s.has(i)
		x.mu.Lock()
		want := x.made[i]
		x.mu.Unlock()
		s.mu.Lock()
		same := string(s.got[i]) == string(want)
		s.mu.Unlock()
		if !ok || !same || x.b.root.At(at) > x.cert.PlayAt(uint64(i)) {
			n = append(n, k)
		}
	}
	return n
}

func (x *show) index(n int) seq.Index { return seq.Index(x.cert.Index0) + seq.Index(n) }

func (x *show) last() seq.Index { return x.index(x.next - 1) }
