package loudspeaker

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"testing"
	"time"
)

// recording is what a file device wrote.
type recording struct {
	pcm   []int16
	start float64 // ns of Unix time
	rate  float64
}

func (s *speaker) recording(tb testing.TB) recording {
	tb.Helper()
	var t struct {
		Start int64   `json:"start_unix_ns"`
		Rate  float64 `json:"rate"`
	}
	text, err := os.ReadFile(s.path + ".json")
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil {
		tb.Fatal(err)
	}
	wav, err := os.ReadFile(s.path)
	if err != nil {
		tb.Fatal(err)
	}
	r := recording{start: float64(t.Start), rate: t.Rate}
	for i := 44; i+1 < len(wav); i += 2 {
		r.pcm = append(r.pcm, int16(binary.LittleEndian.Uint16(wav[i:])))
	}
	return r
}

// written waits until the file reaches beyond a moment.
func (s *speaker) written(tb testing.TB, until time.Time) recording {
	tb.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * ms) {
		info, err := os.Stat(s.path)
		if err != nil {
			tb.Fatal(err)
		}
		if float64(s.started.UnixNano())+float64(info.Size()-44)/2/48000*1e9 > float64(until.UnixNano()) {
			return s.recording(tb)
		}
		if time.Now().After(end) {
			tb.Fatalf("%s has not been written until %v", s.path, until)
		}
	}
}

// between returns the samples between two moments.
func (r recording) between(from, to time.Time) []int16 {
	place := func(t time.Time) int {
		return min(max(0, int((float64(t.UnixNano())-r.start)/1e9*r.rate)), len(r.pcm))
	}
	return r.pcm[place(from):place(to)]
}

func loudness(pcm []int16) float64 {
	s := 0.0
	for _, v := range pcm {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s / float64(max(1, len(pcm))))
}

// lag returns by how much the programme sounds late around the moment at, in ms.
func (r recording) lag(x *transmission, at time.Time) (lag, match float64) {
	const n, reach = 4800, 240
	from := int((float64(at.UnixNano()) - r.start) / 1e9 * r.rate)
	due := float64(x.cert.PlayAt(x.cert.Index0))
	want := make([]float64, n+2*reach)
	for i := range want {
		t := r.start + float64(from+i-reach)/r.rate*1e9
		want[i] = x.sound((t - due) / 1e9 * 48000)
	}
	best, top := 0, math.Inf(-1)
	for d := range 2 * reach {
		c := 0.0
		for i := range n {
			c += float64(r.pcm[from+i]) * want[i+2*reach-d]
		}
		if c > top {
			best, top = d, c
		}
	}
	a, b := 1.0, 1.0
	for i := range n {
		a += float64(r.pcm[from+i]) * float64(r.pcm[from+i])
		b += want[i+2*reach-best] * want[i+2*reach-best]
	}
	return float64(best-reach) / 48, top / math.Sqrt(a*b)
}
