package playout

import (
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

// plain is a decoder whose sound tells which packet it is; a guess is negative.
type plain struct{}

func (plain) Decode(p []byte, pcm []int16) (int, error) {
	for i := range pcm[:1920] {
		pcm[i] = told(int(p[0]))
	}
	return 1920, nil
}

func (plain) Conceal(pcm []int16) error {
	for i := range pcm {
		pcm[i] = -3000
	}
	return nil
}

func told(k int) int16 { return int16(1000 + 500*k) }

// FuzzJitterBuffer delivers packets by a script and listens to each frame's middle: it must be that very frame, at its
// very instant, or a guess, or silence. So nothing sounds out of order, twice, or after its instant; and each frame
// that is counted as sounded did.
func FuzzJitterBuffer(f *testing.F) {
	const n = 30
	table, base := newSinc(), encode(f, 1, tone(1, 0), 0, 300*ms).cert
	f.Add([]byte{}, uint8(0))
	f.Add([]byte{9, 0, 3, 0, 200, 0, 70, 71, 72, 0, 0, 0, 90, 1, 0, 255, 255, 255}, uint8(0))
	f.Add([]byte{255, 255, 40, 60, 80, 100, 120}, uint8(3))
	f.Add([]byte{0, 1, 0, 61, 0, 71, 0, 81, 0, 91}, uint8(200))
	f.Fuzz(func(t *testing.T, script []byte, join uint8) {
		g := &programme{sound: nil}
		g.cert = base
		g.cert.DelayMS = 200
		for k := range n {
			g.packets = append(g.packets, []byte{byte(k)})
		}
		r := &rig{TB: t, p: newPlayer(table)}
		s, err := NewStream(g.cert, plain{})
		if err != nil {
			t.Fatal(err)
		}
		opened := time.Duration(join) * 5 * ms
		r.at(opened, func(mediaclock.Local) { r.p.Open(s) })
		for k := range n {
			wait := time.Duration(0)
			if k < len(script) {
				if script[k] == 255 { // lost
					continue
				}
				wait = time.Duration(script[k]) * 4 * ms
			}
			at := max(g.sent(k)+wait, opened)
			r.packet(s, g, k, at)
			if k < len(script) && script[k]&1 == 1 { // and once more
				r.packet(s, g, k, at+time.Duration(script[len(script)-1-k])*3*ms)
			}
		}
		if len(script) > 0 {
			r.at(time.Duration(script[0])*7*ms, func(now mediaclock.Local) {
				r.p.Packet(s, seq.Index(g.cert.Index0)+n+40+seq.Index(script[0])<<(script[0]%40), []byte{99}, false, now) // authentic, far ahead
			})
		}
		r.run(3 * time.Second)

		sounded, faded := uint64(0), uint64(0)
		for frame := range 2 * n {
			due := g.cert.PlayAt(g.cert.Index0).Sub(epoch) + time.Duration(frame)*20*ms - 6500*time.Microsecond
			v := r.out[r.sample(due+10*ms)]
			want := told(frame / 2)
			switch {
			case v >= want-1 && v <= want+1:
				sounded++
			case v > 0 && v < want && sounded == 0: // the fade of a late joiner
				faded++
			case v > 0:
				t.Fatalf("frame %d of packet %d: heard %d, want %d, a guess or silence", frame, frame/2, v, want)
			}
		}
		c := r.p.Status(s).Counts
		if got := c.Played + c.Repaired; got < sounded || got > sounded+faded+1 {
			t.Fatalf("counted %d frames as sounded, heard %d and %d faded: %+v", got, sounded, faded, c)
		}
		if c.Total() > 2*n {
			t.Fatalf("counted %d frames of %d: %+v", c.Total(), 2*n, c)
		}
	})
}
