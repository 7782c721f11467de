package origin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dongthanh/codec"
	"dongthanh/internal/identity"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

// TestTone sends a tone whose last frame is not full, and hears all of it at the right instant, whatever the packets.
func TestTone(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, signed.ClassEmergency)
	for _, c := range []struct {
		frames int
		live   bool
		// samples past whole packets: one, some of the first frame, and one short of another packet
		samples int
	}{{2, false, 1}, {2, true, 700}, {1, true, 959}, {3, false, 2879}, {2, false, 0}, {1, false, 0}} {
		t.Run(fmt.Sprintf("%d frames, live %v, %d samples more", c.frames, c.live, c.samples), func(t *testing.T) {
			p := plan(func(p *Plan) { p.Frames, p.Voice.HighPass = c.frames, c.live })
			samples := 12*c.frames*codec.FrameSamples + c.samples
			k := transmit(t, p, i, &tone{samples: samples, err: io.EOF}, nil)
			if k.err != nil {
				t.Fatal(k.err)
			}
			heard := k.hear(t, p, i)
			if len(heard) < samples {
				t.Fatalf("%d samples come out, want all %d", len(heard), samples)
			}
			if more := len(heard) - samples; more > (c.frames+2)*codec.FrameSamples {
				t.Errorf("%d samples of silence follow, want no more than a packet and two frames", more)
			}
			sent := sine(0, samples)
			// The high-pass of a microphone turns the phase of the tone by some degrees.
			want := 25.0
			if c.live {
				want = 10
			}
			if got := snr(sent[4800:], heard[4800:]); got < want {
				t.Errorf("tone has an SNR of %.1f dB at the sample where it belongs, want %.0f", got, want)
			}
			end := sent[samples-480:]
			if got := power(heard[samples-480:samples]) / power(end); got < 0.5 || got > 2 {
				t.Errorf("the last 10 ms have %.2f of their power", got)
			}
			for n, m := range k.media {
				if m.Last != (n == len(k.media)-1) {
					t.Errorf("packet %d of %d: last %v", n, len(k.media), m.Last)
				}
			}
			cert := k.opened[0].Cert
			if last := k.media[len(k.media)-1].Index; k.due != cert.PlayAt(uint64(last)+1) {
				t.Errorf("due %d, want when the packet after the last would be", k.due)
			}
		})
	}
}

func power(pcm []float32) (sum float64) {
	for _, s := range pcm {
		sum += float64(s) * float64(s)
	}
	return sum
}

// TestTimeMap: the certificate's time map is exact, to the nanosecond, and each packet leaves when its last frame was
// read.
func TestTimeMap(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, signed.ClassEmergency)
	for _, frames := range []int{1, 2, 3} {
		p := plan(func(p *Plan) { p.Frames = frames })
		k := transmit(t, p, i, seconds(1.5), nil)
		k.hear(t, p, i)
		cert := k.opened[0].Cert
		if cert.T0.Time().UTC() != begin {
			t.Errorf("T0 = %v, want the start, %v", cert.T0.Time().UTC(), begin)
		}
		if int(cert.Packet) != frames*codec.FrameSamples || cert.Index0 < 1 || cert.Index0 > 1<<15 {
			t.Errorf("packets of %d samples from index %d", cert.Packet, cert.Index0)
		}
		for n, at := range k.mediaAt {
			if want := time.Duration((n+1)*frames-1) * frame; at != want {
				t.Fatalf("%d frames: packet %d left at %v, want %v", frames, n, at, want)
			}
			if want := begin.Add(time.Duration(n*frames)*frame + p.Delay); cert.PlayAt(uint64(k.media[n].Index)).Time().UTC() != want {
				t.Fatalf("%d frames: packet %d is due at %v, want %v", frames, n, cert.PlayAt(uint64(k.media[n].Index)).Time().UTC(), want)
			}
		}
		if k.first != k.mediaAt[0] {
			t.Errorf("on air at %v, want with the first packet at %v", k.first, k.mediaAt[0])
		}
		if second := begin.Unix(); cert.NotBefore != second-early || cert.NotAfter != second-early+3600 {
			t.Errorf("valid from %d to %d, want an hour from 5 s before %d", cert.NotBefore, cert.NotAfter, second)
		}
	}
}

// TestBeacons: everything thrice in the first 200 ms, then the certificate each second with one of the other parts.
func TestBeacons(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, signed.ClassEmergency)
	var many []zone.Zone
	for n := range signed.MaxZones {
		many = append(many, zone.Zone(fmt.Sprintf("31/11296/thon-%02d", n)))
	}
	for _, c := range []struct {
		name  string
		zones []zone.Zone
	}{{"one zone", []zone.Zone{"31/11296"}}, {"a certificate in several parts", many}} {
		t.Run(c.name, func(t *testing.T) {
			p := plan(func(p *Plan) { p.Zones, p.KeyZone = c.zones, zone.Common(c.zones) })
			k := transmit(t, p, i, seconds(5.5), nil)
			if k.err != nil {
				t.Fatal(k.err)
			}
			cert := k.opened[0].Cert
			all := append(objectBeacons(cert.Transmission, wire.ObjectSession, k.opened[0].Raw), objectBeacons(cert.Transmission, wire.ObjectIssuer, k.opened[0].Issuer)...)
			var want []string
			line := func(at time.Duration, b wire.BeaconBody) {
				want = append(want, fmt.Sprintf("%v kind %d part %d/%d", at, b.Kind, b.Fragment, b.Fragments))
			}
			for _, at := range []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond} {
				for _, b := range all {
					line(at, b)
				}
			}
			for s := 1; s <= 5; s++ {
				line(time.Duration(s)*time.Second, all[0])
				line(time.Duration(s)*time.Second, all[1+s%(len(all)-1)])
			}
			var got []string
			objects := map[string][]byte{} // the parts, by object and number
			var before wire.BeaconBody
			for n, b := range k.beacons {
				got = append(got, fmt.Sprintf("%v kind %d part %d/%d", k.beaconAt[n], b.Kind, b.Fragment, b.Fragments))
				if !b.Verify(cert.Key()) || b.Transmission != cert.Transmission {
					t.Fatalf("beacon %d does not hold", n)
				}
				if b.At <= before.At || b.At < cert.T0 || b.At.Sub(cert.T0) > k.beaconAt[n]+time.Millisecond {
					t.Errorf("beacon %d at %v: made at %d after %d", n, k.beaconAt[n], b.At, before.At)
				}
				newest := k.newest[n]
				if newest == 0 {
					newest = seq.Index(cert.Index0) - 1
				}
				if b.Highest != newest {
					t.Errorf("beacon %d: highest %d, want %d", n, b.Highest, newest)
				}
				objects[fmt.Sprint(b.Kind, b.Fragment)] = b.Part
				before = b
			}
			if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
				t.Errorf("beacons\n%s\nwant\n%s", g, w)
			}
			for kind, object := range map[wire.ObjectKind][]byte{wire.ObjectSession: k.opened[0].Raw, wire.ObjectIssuer: k.opened[0].Issuer} {
				var joined []byte
				for n := 0; objects[fmt.Sprint(kind, uint8(n))] != nil; n++ {
					joined = append(joined, objects[fmt.Sprint(kind, uint8(n))]...)
				}
				sum := sha256.Sum256(object)
				if !bytes.Equal(joined, object) || all[0].Kind != wire.ObjectSession || !bytes.Equal(sum[:16], hashOf(all, kind)) {
					t.Errorf("object %d does not come out of its parts", kind)
				}
			}
			if k.order[0] != "open" || k.order[1] != "beacon" {
				t.Errorf("calls begin with %q, want opened and then announced", k.order[:3])
			}
		})
	}
}

func hashOf(all []wire.BeaconBody, kind wire.ObjectKind) []byte {
	for _, b := range all {
		if b.Kind == kind {
			return b.Hash[:]
		}
	}
	return nil
}

// TestAnnounce: a stop in beacons after the end, in order with what was sent before.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, signed.ClassEmergency)
	k := &take{}
	synctest.Test(t, func(t *testing.T) {
		x, err := New(plan(), i, k, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Run(t.Context(), seconds(0.3), Progress{}); err != nil {
			t.Fatal(err)
		}
		n := len(k.beacons)
		raw, _, err := i.Stop(signed.Stop{Version: 1, Transmissions: [][16]byte{x.ID()}, At: now()})
		if err != nil {
			t.Fatal(err)
		}
		x.Announce(wire.ObjectStop, raw)
		x.Announce(wire.ObjectStop, raw)
		if len(k.beacons) != n+2 {
			t.Fatalf("%d beacons, want two", len(k.beacons)-n)
		}
		cert := k.opened[0].Cert
		for _, b := range k.beacons[n:] {
			if b.Kind != wire.ObjectStop || !bytes.Equal(b.Part, raw) || !b.Verify(cert.Key()) || b.Highest != k.media[len(k.media)-1].Index {
				t.Errorf("beacon %+v", b)
			}
		}
		if k.beacons[n].At <= k.beacons[n-1].At || k.beacons[n+1].At <= k.beacons[n].At {
			t.Error("times of beacons do not rise")
		}
	})
}

func TestEnds(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, signed.ClassEmergency)
	for _, c := range []struct {
		name    string
		src     *tone
		change  func(*Plan)
		during  func(*Transmission, context.CancelFunc)
		want    error
		packets int
		last    bool
		due     bool
	}{
		{"by itself", seconds(1), nil, nil, nil, 26, true, true},
		{"without any sound", seconds(0), nil, nil, nil, 1, true, true},
		{"its source fails", &tone{samples: 48000, err: errBroken}, nil, nil, errBroken, 25, false, false},
		{"it is cancelled", seconds(60), nil, func(_ *Transmission, cancel context.CancelFunc) {
			time.Sleep(time.Second + time.Millisecond)
			cancel()
		}, nil, 25, false, false},
		{"it is cancelled before it begins", seconds(60), nil, func(_ *Transmission, cancel context.CancelFunc) { cancel() }, nil, 0, false, false},
		{"its certificate ends", seconds(60), func(p *Plan) { p.Validity = 12 * time.Second }, nil, ErrTooLong, 50, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := plan()
			if c.change != nil {
				c.change(&p)
			}
			k := transmit(t, p, i, c.src, c.during)
			if !errors.Is(k.err, c.want) || (k.err == nil) != (c.want == nil) {
				t.Errorf("Run = %v, want %v", k.err, c.want)
			}
			if c.name == "it is cancelled before it begins" { // whether it or the first frames win is chance
				if len(k.media) > 1 {
					t.Errorf("%d packets", len(k.media))
				}
				return
			}
			if len(k.media) != c.packets {
				t.Errorf("%d packets, want %d", len(k.media), c.packets)
			}
			if n := len(k.media); n > 0 && k.media[n-1].Last != c.last {
				t.Errorf("the last packet says %v, want %v", k.media[n-1].Last, c.last)
			}
			if (k.due != 0) != c.due {
				t.Errorf("due %d, want one: %v", k.due, c.due)
			}
			k.hear(t, p, i)
		})
	}
}

// TestStalledClock: when the streamer's process was held up, it catches up at once: no sample is lost, the time map
// stays, and afterwards all is on time again.
func TestStalledClock(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, signed.ClassEmergency)
	p := plan()
	src := seconds(3)
	src.onFrame = func(n int) {
		if n == 51 {
			time.Sleep(730 * time.Millisecond)
		}
	}
	k := transmit(t, p, i, src, nil)
	if k.err != nil {
		t.Fatal(k.err)
	}
	heard := k.hear(t, p, i)
	if got := snr(sine(0, 144000)[4800:], heard[4800:144000]); got < 25 {
		t.Errorf("SNR %.1f dB, want 25: samples were lost", got)
	}
	const held = 51 * frame
	for n, at := range k.mediaAt {
		want := time.Duration(2*n+1) * frame
		if want >= held {
			want = max(want, held+730*time.Millisecond)
		}
		if at != want {
			t.Fatalf("packet %d left at %v, want %v", n, at, want)
		}
	}
}

// TestSmallEnough: no music, however rich, makes a packet that some path would not carry.
func TestSmallEnough(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, signed.ClassEmergency)
	p := plan(func(p *Plan) { p.Encoder.Bitrate = 80000 })
	k := transmit(t, p, i, &noise{rng: rand.New(rand.NewPCG(1, 2)), left: 150}, nil)
	if k.err != nil {
		t.Fatal(k.err)
	}
	k.hear(t, p, i) // checks the size of each
	most, sum := 0, 0
	for _, m := range k.media {
		most, sum = max(most, len(m.Raw)), sum+len(m.Payload)
	}
	if mean := sum / len(k.media); most < 500 || mean < 350 {
		t.Errorf("packets of %d bytes of Opus and at most %d altogether: not the music that this test wants", mean, most)
	}
}

// noise changes its loudness all the time, as music does, for so many frames.
type noise struct {
	rng  *rand.Rand
	left int
}

func (s *noise) Read(frame []float32) error {
	if s.left--; s.left < 0 {
		clear(frame)
		return io.EOF
	}
	loud := s.rng.Float64()
	for i := range frame {
		frame[i] = float32(loud * (2*s.rng.Float64() - 1))
	}
	return nil
}

func TestLevel(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, signed.ClassEmergency)
	transmit(t, plan(), i, seconds(2), func(x *Transmission, _ context.CancelFunc) {
		if l := x.Level(); l.RMS > -100 || l.Peak > -100 || l.Momentary > -100 {
			t.Errorf("level before the first packet = %+v, want silence", l)
		}
		time.Sleep(time.Second)
		// 0.3 of full scale is -10.5 dBFS at its peak and 3 dB less on average.
		if l := x.Level(); l.Peak < -11 || l.Peak > -10 || l.RMS < -14 || l.RMS > -13 || l.Momentary < -15 || l.Momentary > -12 {
			t.Errorf("level of the tone = %+v", l)
		}
	})
}

func TestRefused(t *testing.T) {
	t.Parallel()
	normal := newIssuer(t, signed.ClassNormal)
	p := plan(func(p *Plan) { p.Class = signed.ClassEmergency })
	k := transmit(t, p, normal, seconds(1), nil)
	if !errors.Is(k.err, identity.ErrScope) || len(k.order) != 0 {
		t.Errorf("Run beyond the issuer's class = %v, sent %q; want ErrScope and nothing", k.err, k.order)
	}
	for name, change := range map[string]func(*Plan){
		"bitrate":    func(p *Plan) { p.Encoder.Bitrate = 1 },
		"no frames":  func(p *Plan) { p.Frames = -1 },
		"ten frames": func(p *Plan) { p.Frames = 10 },
	} {
		if _, err := New(plan(change), normal, &take{}, now); err == nil {
			t.Errorf("%s: New gives no error", name)
		}
	}
}

// TestNoTwoAlike: an incarnation shares nothing with another one of the same session from which a nonce is made.
func TestNoTwoAlike(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, signed.ClassEmergency)
	ids, ssrcs, keys := map[packet.TransmissionID]bool{}, map[uint32]bool{}, map[string]bool{}
	const n = 50
	for range n {
		x, err := New(plan(), i, &take{}, now)
		if err != nil {
			t.Fatal(err)
		}
		if x.cert.Index0 < 1 || x.cert.Index0 > 1<<15 {
			t.Errorf("first index %d, want 1 to 32768", x.cert.Index0)
		}
		ids[x.ID()], ssrcs[x.cert.SSRC], keys[string(x.cert.PublicKey)] = true, true, true
	}
	if len(ids) != n || len(ssrcs) != n || len(keys) != n {
		t.Errorf("%d ids, %d SSRCs, %d keys of %d transmissions", len(ids), len(ssrcs), len(keys), n)
	}
}
