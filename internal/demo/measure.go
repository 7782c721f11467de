package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// figures are a loudspeaker's own counts.
type figures struct{ played, repaired, concealed, late, delay float64 }

// scrape reads a loudspeaker's metrics.
func scrape(ctx context.Context, p part) (figures, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin()+"/metrics", nil)
	if err != nil {
		return figures{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return figures{}, err
	}
	defer resp.Body.Close()
	var f figures
	want := map[string]*float64{
		`dongthanh_client_frames_total{result="played"}`:    &f.played,
		`dongthanh_client_frames_total{result="repaired"}`:  &f.repaired,
		`dongthanh_client_frames_total{result="concealed"}`: &f.concealed,
		`dongthanh_client_frames_total{result="late"}`:      &f.late,
		`dongthanh_client_playout_delay_seconds`:            &f.delay,
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if into := want[name]; into != nil {
			if *into, err = strconv.ParseFloat(value, 64); err != nil {
				return figures{}, fmt.Errorf("%s of %s: %w", name, p.Name, err)
			}
		}
	}
	return f, lines.Err()
}

// played is what a virtual loudspeaker has played, or the end of it, with the wall time of its first sample.
type played struct {
	pcm   []float64
	start time.Time
	rate  float64
}

const wavHeader = 44

// newest is how much of a recording is looked at: whatever is measured lasts less, and hours may lie before it.
const newest = 150 * time.Second

// openPlayed reads the newest of played.wav and the file beside it (INTERFACES §2).
func openPlayed(p part) (played, error) {
	path := filepath.Join(p.Dir, "played.wav")
	raw, skipped, err := readNewest(path, int64(newest.Seconds())*48000*2)
	if err != nil {
		return played{}, err
	}
	side, err := os.ReadFile(path + ".json")
	if err != nil {
		return played{}, err
	}
	var when struct {
		Start int64   `json:"start_unix_ns"`
		Rate  float64 `json:"rate"`
	}
	if err := json.Unmarshal(side, &when); err != nil {
		return played{}, fmt.Errorf("%s.json: %w", path, err)
	}
	start := time.Unix(0, when.Start).Add(time.Duration(float64(skipped/2) / when.Rate * float64(time.Second)))
	out := played{start: start, rate: when.Rate, pcm: make([]float64, len(raw)/2)}
	for i := range out.pcm {
		out.pcm[i] = float64(int16(binary.LittleEndian.Uint16(raw[2*i:]))) // #nosec G115 -- the bits of a sample
	}
	return out, nil
}

// readNewest returns at most the last most bytes of the sound in a WAV file, and how many stand before them.
func readNewest(path string, most int64) (raw []byte, skipped int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close() // read only: nothing to lose
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	sound := info.Size() - wavHeader
	if sound < 0 {
		return nil, 0, fmt.Errorf("%s: no header", path)
	}
	skipped = max(sound-most, 0) &^ 1
	if _, err := f.Seek(wavHeader+skipped, io.SeekStart); err != nil {
		return nil, 0, err
	}
	raw, err = io.ReadAll(f)
	return raw, skipped, err
}

// How two recordings are compared: a window of speech, slid over the other one by ±searchSpan samples.
const (
	windowSize = 48000
	searchSpan = 2400 // 50 ms
)

// offset returns how much later p sounds than q, to a fraction of a sample, by the peak of the cross-correlation of
// the loudest second.
func (p played) offset(q played) (time.Duration, error) {
	at := loudest(q.pcm, windowSize)
	if at < 0 {
		return 0, errors.New("nothing was played")
	}
	// Where p's recording has the sample that sounds at the same wall time.
	same := int(math.Round((q.start.Sub(p.start).Seconds() + float64(at)/q.rate) * p.rate))
	rest := (q.start.Sub(p.start).Seconds()+float64(at)/q.rate)*p.rate - float64(same)
	if same < searchSpan || same+windowSize+searchSpan > len(p.pcm) {
		return 0, errors.New("recordings do not overlap")
	}
	best, peak := 0, math.Inf(-1)
	sums := make([]float64, 2*searchSpan+1)
	window := q.pcm[at : at+windowSize]
	for lag := -searchSpan; lag <= searchSpan; lag++ {
		sum, other := 0.0, p.pcm[same+lag:][:windowSize]
		for i := 0; i < windowSize; i += 4 {
			sum += window[i] * other[i]
		}
		sums[lag+searchSpan] = sum
		if sum > peak {
			best, peak = lag, sum
		}
	}
	fraction := 0.0
	if k := best + searchSpan; k > 0 && k < len(sums)-1 { // the top of the parabola through three points
		if d := sums[k-1] - 2*sums[k] + sums[k+1]; d != 0 {
			fraction = (sums[k-1] - sums[k+1]) / (2 * d)
		}
	}
	return time.Duration((float64(best) + fraction - rest) / p.rate * float64(time.Second)), nil
}

// loudest returns where the loudest size samples begin; −1 if all is silence.
func loudest(pcm []float64, size int) int {
	best, peak := -1, 0.0
	for at := 0; at+size <= len(pcm); at += size / 4 {
		sum := 0.0
		for i := at; i < at+size; i += 8 {
			sum += pcm[i] * pcm[i]
		}
		if sum > peak {
			best, peak = at, sum
		}
	}
	return best
}
