package playout

import (
	"math"
	"slices"
	"testing"
	"time"

	"dongthanh/codec"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
)

// epoch is network time when the rig's clock and device start.
const epoch mediaclock.Instant = 1_750_000_000_000_000_000

const (
	blockLen = 480
	ahead    = 20 * time.Millisecond // how long before it sounds a block is asked for
)

// signal is a sound as a function of time, in samples, so that it is known between samples too.
type signal func(t float64) float64

// chord has no period below a second, so a lag shows as one peak only.
func chord(t float64) float64 {
	s := 0.0
	for i, hz := range []float64{311, 587, 1013, 1741, 2903} {
		s += math.Sin(2*math.Pi*hz*t/mediaclock.Rate + float64(i))
	}
	return 3000 * s
}

func tone(hz, level float64) signal {
	return func(t float64) float64 { return level * math.Sin(2*math.Pi*hz*t/mediaclock.Rate) }
}

// swell fades a sound of n samples in and out within 50 ms, so that it has no corner of its own.
func swell(f signal, n float64) signal {
	return func(t float64) float64 {
		w := min(1, max(0, min(t, n-t)/2400))
		return f(t) * (1 - math.Cos(math.Pi*w)) / 2
	}
}

// programme is an encoded transmission.
type programme struct {
	cert    signed.SessionCert
	packets [][]byte
	sound   signal
}

// playAt is when the first sample is due, in ns after epoch.
func (g *programme) playAt() float64 { return float64(g.cert.PlayAt(g.cert.Index0) - epoch) }

// encode makes a transmission of n packets of 40 ms, whose first sample enters the encoder at the time at after epoch.
func encode(tb testing.TB, id byte, sound signal, n int, at time.Duration) *programme {
	tb.Helper()
	g := &programme{sound: sound, cert: signed.SessionCert{
		Version: 1, Transmission: [16]byte{id}, Session: [16]byte{id}, SSRC: uint32(id), Zones: nil,
		NotBefore: int64(epoch / 1e9), NotAfter: int64(epoch/1e9) + 3600, DelayMS: 400,
		TS0: 4_294_900_000, T0: epoch.Add(at), Index0: 1 << 16, Packet: 1920,
	}}
	enc, err := codec.NewEncoder(codec.EncoderConfig{Music: true, Bitrate: 64000, Complexity: 1})
	if err != nil {
		tb.Fatal(err)
	}
	pcm, buf := make([]float32, 1920), make([]byte, enc.MaxPacketBytes())
	for k := range n {
		for i := range pcm {
			pcm[i] = float32(sound(float64(k*1920+i)) / 32768)
		}
		size, err := enc.Encode(pcm, buf)
		if err != nil {
			tb.Fatal(err)
		}
		g.packets = append(g.packets, slices.Clone(buf[:size]))
	}
	return g
}

// event happens at a time after epoch.
type event struct {
	at time.Duration
	do func(now mediaclock.Local)
}

// rig is one loudspeaker in virtual time: true time is network time.
type rig struct {
	testing.TB
	p      *Player
	skew   float64                               // of the device, a fraction
	clock  func(true time.Duration) (ns float64) // the node's idea of network time; nil: the truth
	unsync bool
	empty  bool // nothing can sound
	events []event
	first  int64 // of the next block
	out    []int16
	asked  []Request
	onAsk  func(now time.Duration, r Request)
}

func newRig(tb testing.TB) *rig { return &rig{TB: tb, p: New()} }

// at does something at a time after epoch.
func (r *rig) at(t time.Duration, do func(now mediaclock.Local)) {
	i, _ := slices.BinarySearchFunc(r.events, t, func(e event, t time.Duration) int {
		if e.at <= t {
			return -1
		}
		return 1
	})
	r.events = slices.Insert(r.events, i, event{t, do})
}

// transit is how long a packet takes from the end of its sound to here.
const transit = 30 * time.Millisecond

// open opens a stream of g at the time at.
func (r *rig) open(g *programme, at time.Duration) *Stream {
	r.Helper()
	dec, err := codec.NewDecoder()
	if err != nil {
		r.Fatal(err)
	}
	s, err := NewStream(g.cert, dec)
	if err != nil {
		r.Fatal(err)
	}
	r.at(at, func(mediaclock.Local) { r.p.Open(s) })
	return s
}

// sent is when packet k comes if nothing delays it.
func (g *programme) sent(k int) time.Duration {
	return g.cert.T0.Sub(epoch) + time.Duration(k+1)*40*time.Millisecond + transit
}

// packet delivers packet k at a time.
func (r *rig) packet(s *Stream, g *programme, k int, at time.Duration) {
	r.at(at, func(now mediaclock.Local) {
		r.p.Packet(s, seq.Index(g.cert.Index0)+seq.Index(k), g.packets[k], k == len(g.packets)-1, now)
	})
}

// feed delivers all packets from..to-1 but those that skip names, on time, and a beacon a second.
func (r *rig) feed(s *Stream, g *programme, from, to int, skip ...int) {
	for k := from; k < to; k++ {
		if !slices.Contains(skip, k) {
			r.packet(s, g, k, g.sent(k))
		}
		if k%25 == 0 {
			r.beacon(s, g, k, g.sent(k))
		}
	}
}

func (r *rig) beacon(s *Stream, g *programme, k int, at time.Duration) {
	r.at(at, func(now mediaclock.Local) {
		r.p.Beacon(s, epoch.Add(at), seq.Index(g.cert.Index0)+seq.Index(k), now)
	})
}

// rate is the device's true rate.
func (r *rig) rate() float64 { return mediaclock.Rate * (1 + r.skew) }

// run plays until true time t.
func (r *rig) run(t time.Duration) {
	for {
		now := time.Duration(float64(r.first)/r.rate()*1e9) - ahead
		if now >= t {
			return
		}
		for len(r.events) > 0 && r.events[0].at <= now {
			e := r.events[0]
			r.events = r.events[1:]
			e.do(mediaclock.Local(e.at + time.Hour))
		}
		played := int64(math.Floor(float64(now) / 1e9 * r.rate()))
		at := float64(played) / r.rate() * 1e9 // the moment when exactly that sample sounds
		m := Moment{Now: mediaclock.Local(at + float64(time.Hour)), Played: played, Synced: !r.unsync, Network: epoch.Add(time.Duration(at))}
		if r.clock != nil {
			m.Network = epoch.Add(time.Duration(r.clock(time.Duration(at))))
		}
		block := make([]int16, blockLen)
		if r.empty {
			if r.first/blockLen%10 == 0 {
				r.p.Fill(nil, played, m)
			}
		} else {
			r.p.Fill(block, r.first, m)
		}
		r.out = append(r.out, block...)
		r.first += blockLen
		for _, q := range r.p.Requests() {
			r.asked = append(r.asked, q)
			if r.onAsk != nil {
				r.onAsk(now, q)
			}
		}
	}
}

// sample returns the device sample that sounds at true time t.
func (r *rig) sample(t time.Duration) int { return int(t.Seconds() * r.rate()) }

// lag returns by how many samples (at 48 kHz) what sounded in n samples from device sample from on was late, and the
// correlation there.
func (r *rig) lag(g *programme, from, n int) (lag, match float64) {
	const reach = 24
	corr := make([]float64, 2*reach+1)
	var best int
	var power, sounds float64
	want := make([]float64, n+2*reach)
	place := func(i int) float64 {
		return (float64(i)/r.rate()*1e9 - g.playAt()) / nominal
	}
	for i := range want {
		want[i] = g.sound(place(from + i - reach))
	}
	for i := range n {
		y := float64(r.out[from+i])
		sounds += y * y
		power += want[i+reach] * want[i+reach]
	}
	for d := range corr {
		for i := range n {
			corr[d] += float64(r.out[from+i]) * want[i+2*reach-d]
		}
		if corr[d] > corr[best] {
			best = d
		}
	}
	lag = float64(best - reach)
	if best > 0 && best < len(corr)-1 {
		a, b, c := corr[best-1], corr[best], corr[best+1]
		lag += (a - c) / (2 * (a - 2*b + c))
	}
	return lag, corr[best] / math.Sqrt(power*sounds+1)
}

// loudness is the root mean square of out between two true times.
func (r *rig) loudness(from, to time.Duration) float64 {
	s, n := 0.0, 0
	for _, v := range r.out[r.sample(from):r.sample(to)] {
		s, n = s+float64(v)*float64(v), n+1
	}
	return math.Sqrt(s / float64(n))
}

// level is the strength of one frequency between two true times (Goertzel), as an amplitude.
func (r *rig) level(hz float64, from, to time.Duration) float64 {
	var re, im float64
	x := r.out[r.sample(from):r.sample(to)]
	for i, v := range x {
		p := 2 * math.Pi * hz * float64(i) / r.rate()
		re, im = re+float64(v)*math.Cos(p), im+float64(v)*math.Sin(p)
	}
	return 2 * math.Hypot(re, im) / float64(len(x))
}

// roughest is the largest bend of out between two true times: a click has a large one, a tone a small one.
func (r *rig) roughest(from, to time.Duration) float64 {
	worst := 0.0
	x := r.out[r.sample(from):r.sample(to)]
	for i := 2; i < len(x); i++ {
		worst = max(worst, math.Abs(float64(x[i])-2*float64(x[i-1])+float64(x[i-2])))
	}
	return worst
}
