package playout

import (
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

// TestNoAllocation: the path of a packet and of a block allocates nothing, gaps and requests included.
func TestNoAllocation(t *testing.T) {
	if raceOn {
		t.Skip("the race detector allocates")
	}
	g := loop(t, 3000, 700*ms)
	r := newRig(t)
	s := r.open(g, 0)
	r.feed(s, g, 0, 100)
	r.run(4 * time.Second)
	k := 100
	block := make([]int16, blockLen)
	got := testing.AllocsPerRun(1000, func() {
		at := time.Duration(float64(r.first)/48000*1e9) - ahead
		m := Moment{Now: mediaclock.Local(at + time.Hour), Played: r.first - 960, Network: epoch.Add(at), Synced: true}
		for ; g.sent(k) <= at; k++ {
			if k%7 != 0 {
				r.p.Packet(s, seq.Index(g.cert.Index0)+seq.Index(k), g.packets[k], false, m.Now)
			}
			r.p.Beacon(s, epoch.Add(at), seq.Index(g.cert.Index0)+seq.Index(k), m.Now)
		}
		r.p.Fill(block, r.first, m)
		r.first += blockLen
		r.p.Status(s)
		r.p.Summary()
	})
	if got != 0 {
		t.Errorf("%.2f allocations a block, want none", got)
	}
	if c := r.p.Status(s).Counts; c.Concealed == 0 || c.Played < 300 {
		t.Errorf("counts = %+v: the test did not play", c)
	}
}

func BenchmarkFill(b *testing.B) {
	g := loop(b, 100, 700*ms)
	r := newRig(b)
	s := r.open(g, 0)
	r.feed(s, g, 0, 30)
	r.run(1500 * ms)
	block := make([]int16, blockLen)
	k := 30
	b.ReportAllocs()
	for b.Loop() {
		at := time.Duration(float64(r.first)/48000*1e9) - ahead
		m := Moment{Now: mediaclock.Local(at + time.Hour), Played: r.first - 960, Network: epoch.Add(at), Synced: true}
		for ; g.sent(k) <= at; k++ {
			r.p.Packet(s, seq.Index(g.cert.Index0)+seq.Index(k), g.packets[25+k%25], false, m.Now)
			r.p.Beacon(s, epoch.Add(at), 0, m.Now)
		}
		r.p.Fill(block, r.first, m)
		r.first += blockLen
	}
}
