package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkPress measures the product's main job from the sound itself: how long from the press of the button to the
// first sound of the farthest loudspeaker, how long from the microphone to the loudspeakers, and what each program
// costs while one official speaks to six loudspeakers. One press is one iteration.
func BenchmarkPress(b *testing.B) {
	r := startRig(b)
	m := r.machine()
	ctx, _ := tab(b, 0, allowed)
	signIn(ctx, b, r)
	eval[bool](ctx, b, recordOnsets)
	press(ctx, b, "input[type=checkbox]", "Thành phố Hải Phòng")
	presses := 5
	if testing.Short() {
		presses = 3
	}
	var live, sound, latency, arrival []float64
	before := r.usage(b)
	began := time.Now()
	for range presses {
		eval[bool](ctx, b, `(() => { window.onsets = []; return true })()`)
		pressed := time.Now()
		press(ctx, b, "button", "Phát trực tiếp")
		sees(ctx, b, 10*time.Second, "on air", statusHas("Đang phát"))
		live = append(live, time.Since(pressed).Seconds())
		<-time.After(4 * time.Second)
		arrival = append(arrival, r.arrival(b, m)...)
		stopped := time.Now()
		press(ctx, b, "button", "Dừng phát")
		sees(ctx, b, 5*time.Second, "off air", "!"+statusHas("Đang phát"))
		<-time.After(settled + time.Second)
		heard := eval[[]float64](ctx, b, `onsets`)
		for n := 1; n <= 6; n++ {
			p := r.heard(b, n)
			first := p.first(pressed, stopped)
			if first.IsZero() {
				b.Fatalf("loudspeaker %d played nothing", n)
			}
			sound = append(sound, first.Sub(pressed).Seconds())
			latency = append(latency, delays(heard, p.onsets(pressed, stopped))...)
		}
	}
	lasted := time.Since(began).Seconds()
	after := r.usage(b)
	if len(latency) == 0 {
		b.Fatal("no beep of the microphone was found at a loudspeaker")
	}
	b.ReportMetric(0, "ns/op")
	for _, f := range []struct {
		name   string
		values []float64
	}{{"press_to_live", live}, {"press_to_sound", sound}, {"mic_to_sound", latency}, {"encoder_to_arrival", arrival}} {
		slices.Sort(f.values)
		b.ReportMetric(f.values[len(f.values)/2], f.name+"_p50_seconds")
		b.ReportMetric(f.values[len(f.values)-1], f.name+"_max_seconds")
	}
	for name, u := range after {
		key := strings.ReplaceAll(name, "-", "_")
		b.ReportMetric((u.cpu-before[name].cpu)/lasted, key+"_cpu_ratio")
		b.ReportMetric(u.rss, key+"_rss_bytes")
	}
}

// recordOnsets has the page note when its microphone hears a beep begin, in wall time, from the captured samples
// themselves: a clone of the track is read beside the one that is sent.
const recordOnsets = `(() => {
	window.onsets = [];
	const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
	navigator.mediaDevices.getUserMedia = async constraints => {
		const stream = await ask(constraints);
		const track = stream.getAudioTracks()[0], copy = track.clone();
		const reader = new MediaStreamTrackProcessor({track: copy}).readable.getReader();
		(async () => {
			let quiet = 0;
			for (;;) {
				const {value, done} = await reader.read();
				if (done) return;
				if (track.readyState == 'ended') { value.close(); copy.stop(); return } // the next press has its own
				const at = performance.timeOrigin + performance.now() - value.duration / 1000;
				const rate = value.sampleRate, pcm = new Float32Array(value.numberOfFrames);
				value.copyTo(pcm, {planeIndex: 0, format: 'f32-planar'});
				value.close();
				const first = pcm.findIndex(x => Math.abs(x) > 0.05);
				if (first < 0) quiet++;
				else { if (quiet > 10) onsets.push(at + 1000 * first / rate); quiet = 0 }
			}
		})();
		return stream;
	};
	return true;
})()`

// beeps is a WAV file of ten seconds: a faint tone all the time, whose beginning is the first sound, and in each second
// 200 ms of it loud, whose onsets tell the latency.
func beeps() []byte {
	b := toneWAV(1000, 10)
	for i := 44; i+1 < len(b); i += 2 {
		if at := (i - 44) / 2 % 48000; at < 24000 || at >= 24000+9600 {
			v := int16(uint16(b[i])|uint16(b[i+1])<<8) / 32
			b[i], b[i+1] = byte(v), byte(v>>8)
		}
	}
	return b
}

// first is the moment of the first sound after a moment; zero if there is none.
func (p played) first(from, to time.Time) time.Time {
	begin := max(int(from.Sub(p.start).Seconds()*p.rate), 0)
	for i, x := range p.between(from, to) {
		if math.Abs(x) > 60 {
			return p.start.Add(time.Duration(float64(begin+i) / p.rate * float64(time.Second)))
		}
	}
	return time.Time{}
}

// onsets are the moments at which a beep begins to sound between two moments.
func (p played) onsets(from, to time.Time) (list []time.Time) {
	const block = 48 // 1 ms
	begin := max(int(from.Sub(p.start).Seconds()*p.rate), 0)
	pcm := p.between(from, to)
	quiet := 1000
	for i := 0; i+block <= len(pcm); i += block {
		if slices.ContainsFunc(pcm[i:i+block], func(x float64) bool { return math.Abs(x) > 1600 }) {
			if quiet > 100 {
				list = append(list, p.start.Add(time.Duration(float64(begin+i)/p.rate*float64(time.Second))))
			}
			quiet = 0
		} else {
			quiet++
		}
	}
	return list
}

// delays pairs each beep that the microphone heard (Unix ms) with the first one that sounds within a second after.
func delays(heard []float64, sounded []time.Time) (list []float64) {
	for _, h := range heard {
		at := time.UnixMicro(int64(h * 1000))
		for _, s := range sounded {
			if d := s.Sub(at); d > 0 && d < 900*time.Millisecond {
				list = append(list, d.Seconds())
				break
			}
		}
	}
	return list
}

// arrival is how long after its entry into the encoder a sample arrives, as each loudspeaker reports it.
func (r *rig) arrival(t testing.TB, m caller) (list []float64) {
	t.Helper()
	var nodes []struct {
		Kind   string
		Health *struct {
			Arrival float64 `json:"arrival_seconds"`
		}
	}
	if err := json.Unmarshal(m.get(t, "/nodes").body, &nodes); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Kind == "client" && n.Health != nil {
			list = append(list, n.Health.Arrival)
		}
	}
	return list
}

// usage is what a process has used: CPU seconds so far, and memory now.
type usage struct{ cpu, rss float64 }

// usage reads /proc for every process of the demo.
func (r *rig) usage(t testing.TB) map[string]usage {
	t.Helper()
	all := map[string]usage{}
	for name, p := range r.processes(t) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:])) // from the state on, field 3
		user, _ := strconv.ParseFloat(f[11], 64)
		system, _ := strconv.ParseFloat(f[12], 64)
		pages, _ := strconv.ParseFloat(f[21], 64)
		all[name] = usage{cpu: (user + system) / 100, rss: pages * float64(os.Getpagesize())}
	}
	return all
}
