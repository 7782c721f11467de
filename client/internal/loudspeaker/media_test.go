package loudspeaker

import (
	"crypto/rand"
	"crypto/sha256"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/client/internal/device"
	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/link"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

// still is an upstream side whose time is told by the test: faults can be put where no relay would.
type still struct {
	offset  int64 // network time minus the local clock
	reports int
	sent    []control.Message // to the active upstream
	cut     bool              // there is none
	shown   int
}

func (s *still) At(l mediaclock.Local) (mediaclock.Instant, uint32, bool) {
	return mediaclock.Instant(int64(l) + s.offset), 0, true
}
func (*still) Signed(mediaclock.Instant, mediaclock.Local) {}
func (*still) OnAir(bool)                                  {}
func (s *still) Report([]byte)                             { s.reports++ }
func (s *still) SendActive(m control.Message) bool         { s.sent = append(s.sent, m); return !s.cut }
func (*still) Nack(wire.NackBody, bool)                    {}
func (*still) Resume(wire.ResumeBody)                      {}
func (*still) State() link.State                           { return link.State{Active: -1} }
func (s *still) SetCredentials(*identity.Credentials)      { s.shown++ }

// desk is a loudspeaker without links and without a device: the test is both.
type desk struct {
	*bed
	*Loudspeaker
	clock mediaclock.Monotonic
	still *still
	reg   *prometheus.Registry
}

func newDesk(tb testing.TB, keys bool) *desk {
	tb.Helper()
	d := &desk{bed: newIssuer(tb), clock: mediaclock.NewMonotonic(), reg: prometheus.NewRegistry()}
	d.still = &still{offset: time.Now().UnixNano() - int64(d.clock.Now())}
	c, err := d.issuer.Enlist(identity.Node{ID: "desk", Kind: identity.Client, Zone: "31/11296", Name: "loa"}, time.Now(), time.Hour)
	if err != nil {
		tb.Fatal(err)
	}
	d.Loudspeaker, err = newLoudspeaker(Options{
		Credentials: c, Upstreams: make([]link.Upstream, 2), Dir: tb.TempDir(), Version: "test",
		Log: slog.New(slog.DiscardHandler), Registerer: d.reg, Clock: d.clock,
	})
	if err != nil {
		tb.Fatal(err)
	}
	d.links = d.still
	tb.Cleanup(d.refused.Stop)
	for _, z := range []zone.Zone{"31", "31/11296"} {
		var secret [32]byte
		_, _ = rand.Read(secret[:])
		d.secrets[z] = secret
	}
	if keys {
		d.giveKeys()
	}
	return d
}

func (d *desk) giveKeys() {
	d.bed.Helper()
	var envelopes [][]byte
	for z, secret := range d.secrets {
		e, err := identity.SealZoneKey("desk", d.options.Credentials.HPKE.PublicKey(), z, 1, secret)
		if err != nil {
			d.Fatal(err)
		}
		envelopes = append(envelopes, d.sign(e))
	}
	d.openKeys(control.Keys{Node: "desk", Envelopes: envelopes, Issuer: d.issuer.Certificate.Raw})
}

// listen makes a transmission known, as control would.
func (d *desk) listen(x *transmission) {
	d.session(control.Session{Cert: x.raw, Issuer: d.issuer.Certificate.Raw}, 0)
}

// block fills one block that sounds at network time at.
func (d *desk) block(first int64, at mediaclock.Instant) []int16 {
	local := mediaclock.Local(int64(at) - d.still.offset)
	b := device.Block{PCM: make([]int16, 480), First: first, Now: local.Add(-20 * ms), Played: first - 960}
	d.fill(b)
	return b.PCM
}

func (d *desk) rejections() map[string]float64 {
	return metric(d.bed, d.reg, "dongthanh_client_packets_rejected_total")
}

// TestRejections: what is wrong with a packet, what it is counted as, and that nothing of it sounds.
func TestRejections(t *testing.T) {
	for _, tc := range []struct {
		name string
		send func(d *desk, x *transmission, raw []byte)
		want string
	}{
		{"nothing at all", func(d *desk, _ *transmission, _ []byte) { d.media(nil, d.clock.Now(), 0) }, "malformed"},
		{"cut short", func(d *desk, _ *transmission, raw []byte) { d.media(raw[:100], d.clock.Now(), 0) }, "malformed"},
		{"end cut off", func(d *desk, _ *transmission, raw []byte) { d.media(raw[:len(raw)-9], d.clock.Now(), 0) }, "wrong_key|no_key|bad_signature"},
		{"too long", func(d *desk, _ *transmission, raw []byte) {
			d.media(append(raw, make([]byte, 600)...), d.clock.Now(), 0)
		}, "malformed"},
		{"RTP version 3", func(d *desk, _ *transmission, raw []byte) { raw[0] |= 0x40; d.media(raw, d.clock.Now(), 0) }, "malformed"},
		{"15 CSRCs", func(d *desk, _ *transmission, raw []byte) { raw[0] |= 0x0f; d.media(raw, d.clock.Now(), 0) }, "malformed"},
		{"extension runs off", func(d *desk, _ *transmission, raw []byte) { raw[14] = 0xff; d.media(raw, d.clock.Now(), 0) }, "malformed"},
		{"other payload type", func(d *desk, _ *transmission, raw []byte) { raw[1]--; d.media(raw, d.clock.Now(), 0) }, "malformed"},
		{"index 30000 ahead", func(d *desk, _ *transmission, raw []byte) { raw[2] ^= 0x40; d.media(raw, d.clock.Now(), 0) }, "wrong_time"},
		{"timestamp jumps", func(d *desk, _ *transmission, raw []byte) { raw[4] ^= 0x40; d.media(raw, d.clock.Now(), 0) }, "wrong_time"},
		{"payload changed", func(d *desk, _ *transmission, raw []byte) { raw[packet.HeaderLen] ^= 1; d.media(raw, d.clock.Now(), 0) }, "bad_signature"},
		{"signature changed", func(d *desk, _ *transmission, raw []byte) { raw[30] ^= 1; d.media(raw, d.clock.Now(), 0) }, "bad_signature"},
		{"tag changed", func(d *desk, _ *transmission, raw []byte) { raw[len(raw)-5] ^= 1; d.media(raw, d.clock.Now(), 0) }, "tag"},
		{"epoch changed", func(d *desk, _ *transmission, raw []byte) { raw[len(raw)-1] ^= 4; d.media(raw, d.clock.Now(), 0) }, "no_key"},
		{"level changed", func(d *desk, _ *transmission, raw []byte) { raw[len(raw)-4] ^= 1; d.media(raw, d.clock.Now(), 0) }, "wrong_key"},
		{"sent twice", func(d *desk, _ *transmission, raw []byte) {
			d.media(raw, d.clock.Now(), 0)
			d.media(raw, d.clock.Now(), 1)
		}, "duplicate"},
		{"after the stop", func(d *desk, x *transmission, raw []byte) {
			d.order(stopOf(d.bed, x), 0)
			d.media(raw, d.clock.Now(), 0)
		}, "no_certificate|closed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDesk(t, true)
			x := d.transmit(chord, nil, "31/11296")
			d.listen(x)
			raw := x.make(0, false)
			tc.send(d, x, raw)
			for name, n := range d.rejections() {
				wanted := name == tc.want || slices.Contains(strings.Split(tc.want, "|"), name)
				if n > 0 && !wanted || n == 0 && name == tc.want {
					t.Errorf("%g packets rejected for %s, want only %s", n, name, tc.want)
				}
			}
			if tc.want == "duplicate" {
				return // the first is good
			}
			for k := range int64(60) {
				for i, v := range d.block(k*480, x.cert.PlayAt(x.cert.Index0).Add(time.Duration(k)*10*ms)) {
					if v != 0 {
						t.Fatalf("sample %d of block %d is %d: it sounds", i, k, v)
					}
				}
			}
		})
	}
}

func stopOf(b *bed, x *transmission) []byte {
	return b.sign(signed.Stop{Version: 1, Transmissions: [][16]byte{x.cert.Transmission}, At: mediaclock.At(time.Now())})
}

// TestStopByEachWay: control, a datagram, or a beacon: any one copy of the order suffices, also before the certificate.
func TestStopByEachWay(t *testing.T) {
	ways := map[string]func(d *desk, x *transmission, raw []byte){
		"control": func(d *desk, _ *transmission, raw []byte) {
			d.stop(control.Stop{Order: raw, Issuer: d.issuer.Certificate.Raw}, 0)
		},
		"datagram": func(d *desk, _ *transmission, raw []byte) { d.order(raw, 1) },
		"beacon": func(d *desk, x *transmission, raw []byte) {
			sum := sha256.Sum256(raw)
			for _, f := range wire.Fragments(x.cert.Transmission, wire.ObjectStop, [16]byte(sum[:16]), raw) {
				f.At = mediaclock.At(time.Now())
				body := f.Append(nil, x.private)
				b, err := wire.ParseBeacon(body)
				if err != nil {
					t.Fatal(err)
				}
				d.beacon(b, body, d.clock.Now(), 1)
			}
		},
	}
	for name, order := range ways {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, true)
			x := d.transmit(chord, nil, "31/11296")
			d.listen(x)
			for k := range 30 {
				d.media(x.make(k, false), d.clock.Now(), 0)
			}
			due := x.cert.PlayAt(x.cert.Index0)
			loud := func(from, to int64) float64 {
				var all []int16
				for k := from; k < to; k++ {
					all = append(all, d.block(k*480, due.Add(time.Duration(k)*10*ms))...)
				}
				return loudness(all)
			}
			if got := loud(0, 30); got < 1000 {
				t.Fatalf("loudness before the order: %.0f, want sound", got)
			}
			order(d, x, stopOf(d.bed, x))
			loud(30, 32) // the fade
			if got := loud(32, 60); got != 0 {
				t.Errorf("loudness two blocks after the order: %.0f, want silence", got)
			}
			d.look(time.Now())
			if len(d.listening()) != 0 {
				t.Error("still listening after the order")
			}
			d.listen(x)
			if len(d.listening()) != 0 {
				t.Error("the order was not final: listening again")
			}
		})
	}
}

// TestFlood: a flood costs a bounded number of signature checks, and the queue loses the oldest.
func TestFlood(t *testing.T) {
	d := newDesk(t, true)
	x := d.transmit(chord, nil, "31/11296")
	d.listen(x)
	raw := x.make(0, false)
	for range 2000 {
		raw[40]++ // in the signature
		d.media(raw, d.clock.Now(), 0)
	}
	r := d.rejections()
	if r["bad_signature"] > 250 || r["budget"] < 1500 {
		t.Errorf("rejections: %v, want at most some hundred signatures checked", r)
	}

	x = d.transmit(chord, nil, "31/11296")
	d.listen(x)
	const n = queueLen + 40
	for k := range n { // nobody takes them
		d.media(x.make(k, false), d.clock.Now(), 1)
	}
	if got := d.rejections()["queue_full"]; got != 40 {
		t.Errorf("%g lost by the queue, want the 40 oldest", got)
	}
	first := <-d.queue.full
	if uint64(first.index) != x.cert.Index0+40 {
		t.Errorf("the oldest that is left has index %d, want %d", first.index, x.cert.Index0+40)
	}
}

// TestKeysLater: packets before the key are not spent; once it has come they are taken.
func TestKeysLater(t *testing.T) {
	d := newDesk(t, false)
	x := d.transmit(chord, nil, "31/11296")
	d.listen(x)
	raw := x.make(0, false)
	d.media(raw, d.clock.Now(), 0)
	if r := d.rejections(); r["no_key"] != 1 {
		t.Errorf("without the key: %v", r)
	}
	d.giveKeys()
	d.media(raw, d.clock.Now(), 0)
	if got := len(d.queue.full); got != 1 {
		t.Errorf("%d packets wait for the device after the key came, want 1: %v", got, d.rejections())
	}
}

// TestForeignZone: what is not meant for this place is not opened.
func TestForeignZone(t *testing.T) {
	d := newDesk(t, true)
	for _, z := range []zone.Zone{"31/11407", "31/11296/02"} {
		x := d.transmit(chord, nil, z)
		d.listen(x)
	}
	if got := len(d.listening()); got != 0 {
		t.Errorf("listens to %d transmissions of other places", got)
	}
	x := d.transmit(chord, nil, "31")
	d.listen(x)
	if got := len(d.listening()); got != 1 {
		t.Errorf("listens to %d transmissions, want the province's", got)
	}
}

// TestPathAllocation: from the datagram to the sound. GCM's nonce and Ed25519 take their own; nothing of ours may.
func TestPathAllocation(t *testing.T) {
	if raceOn {
		t.Skip("the race detector allocates")
	}
	d := newDesk(t, true)
	x := d.transmit(chord, nil, "31/11296")
	d.listen(x)
	const n = 120 // 4.8 s: without beacons it is muted from 5 s on
	raws := make([][]byte, n)
	for k := range raws {
		raws[k] = x.make(k, false)
	}
	p, err := packet.Parse(raws[0])
	if err != nil {
		t.Fatal(err)
	}
	var plain [packet.MaxPayload]byte
	theirs := testing.AllocsPerRun(100, func() {
		_, _ = x.key.Open(plain[:0], p.Head(), p.Sealed(), p.SSRC, p.Index)
		p.Verify(x.cert.PublicKey, x.cert.Transmission)
	})
	k := 0
	due := x.cert.PlayAt(x.cert.Index0)
	pcm := make([]int16, 480)
	ours := testing.AllocsPerRun(n-20, func() {
		entered := x.cert.T0.Add(time.Duration(k) * 40 * ms)
		d.media(raws[k], mediaclock.Local(int64(entered)-d.still.offset), 0)
		for b := range int64(4) {
			at := due.Add(time.Duration(k-10)*40*ms + time.Duration(b)*10*ms)
			local := mediaclock.Local(int64(at) - d.still.offset)
			d.fill(device.Block{PCM: pcm, First: (int64(k)*4 + b) * 480, Now: local.Add(-20 * ms), Played: (int64(k)*4+b)*480 - 960})
		}
		k++
	})
	if got := d.frames[0].Load(); got < n {
		t.Errorf("%d frames played: the test did not play; %v", got, d.rejections())
	}
	t.Logf("%.2f allocations a packet, of them %.2f in GCM and Ed25519", ours, theirs)
	if ours > theirs {
		t.Errorf("%.2f allocations a packet from datagram to sound, want the %.2f of GCM and Ed25519", ours, theirs)
	}
}
