package main

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dongthanh/internal/testkit"
)

// testSoundCard gives one loudspeaker a sound card, as far as there is one without hardware: ALSA's way to a sound
// server, whose sink is recorded. It plays in step with its neighbours; when the server crashes the officials see that
// it is silent, and when it is back so is the sound.
func testSoundCard(t *testing.T, r *rig, m caller) {
	pulse := testkit.NewPulse(t)
	for _, e := range pulse.Env() {
		t.Setenv(e[0], e[1])
	}
	pulse.Start()
	const name = "client-5"
	path := filepath.Join(r.dir, name, "config.yaml")
	text, err := os.ReadFile(path)
	must(t, "read configuration", err)
	must(t, "end "+name, syscall.Kill(r.processes(t)[name].Pid, syscall.SIGTERM))
	eventually(t, 10*time.Second, name+" has ended", func() bool { return syscall.Kill(r.processes(t)[name].Pid, 0) != nil })
	with := strings.Replace(strings.Replace(string(text), "kind: file", "kind: alsa", 1), "  path: "+filepath.Join(r.dir, name, "played.wav")+"\n", "", 1)
	must(t, "write configuration", os.WriteFile(path, []byte(with), 0o600))
	r.again(t, name)
	player := r.extra[len(r.extra)-1]
	defer func() { // as it was, for those who come after
		must(t, "write configuration", os.WriteFile(path, text, 0o600))
		must(t, "end "+name, player.Process.Signal(syscall.SIGTERM))
		must(t, "await the end of "+name, player.Wait())
		r.again(t, name)
	}()
	eventually(t, 20*time.Second, name+" is ready", func() bool { status, _ := r.readyz(t, name); return status == http.StatusOK })

	began := time.Now()
	id := m.speak(t, m.upload(t, 1000, 20), nil, commune2)
	hearing := func(n int) func() bool {
		return func() bool { return m.session(t, id).Listeners.Hearing == n }
	}
	eventually(t, 5*time.Second, "three hear it", hearing(3))
	<-time.After(3 * time.Second)
	until := time.Now().Add(-100 * time.Millisecond)
	<-time.After(settled)
	heard := recorded(pulse)
	_, first, _ := heard.tonal(1000, began, until)
	share, _, _ := heard.tonal(1000, first, until)
	dry := r.underruns(t, name)
	t.Logf("from its first moment on, %v after the request, the tone sounds in %.1f %% of the time; %d underruns", first.Sub(began), 100*share, dry)
	if first.IsZero() || (1-share)*until.Sub(first).Seconds() > 0.5*float64(dry) {
		t.Errorf("the tone sounds in %.1f %% of the time with %d underruns", 100*share, dry)
	}
	if leap := heard.leap(1000, first.Add(40*time.Millisecond), until); leap > 0.2 && dry == 0 {
		t.Errorf("the tone's phase leaps by %.2f radians", leap)
	}
	// A monitor hears up to 20 ms before the sink sounds, and its pipe delays as much: package device's own test is exact.
	off := heard.onset(began).Sub(r.heard(t, 4).onset(began))
	t.Logf("by the recordings it begins to sound %v after its neighbour", off)
	if off.Abs() > 40*time.Millisecond {
		t.Errorf("it begins to sound %v after its neighbour", off)
	}

	pulse.Kill()
	eventually(t, 5*time.Second, "it is named as silent", func() bool {
		l := m.session(t, id).Listeners
		return l.Hearing == 2 && len(l.Missing) == 1 && l.Missing[0] == r.nodeID(t, m, name)
	})
	if status, why := r.readyz(t, name); status != http.StatusServiceUnavailable || !strings.Contains(why, "sound card default: ") {
		t.Errorf("without the server: %d %s", status, why)
	}
	pulse.Start()
	eventually(t, 20*time.Second, "three hear it again", hearing(3))
	m.post(t, "/sessions/"+id+"/stop", nil)
	<-time.After(settled)
	heard = recorded(pulse)
	if share, _, _ := heard.tonal(1000, pulse.Began(), time.Now()); share == 0 {
		t.Error("no tone from the server that came back")
	}
}

// readyz asks a part whether it is ready.
func (r *rig) readyz(t testing.TB, name string) (status int, why string) {
	t.Helper()
	resp, err := http.Get("http://" + r.processes(t)[name].Admin + "/readyz")
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, "read /readyz", err)
	return resp.StatusCode, string(text)
}

// underruns reads how often a loudspeaker's device ran dry: on a machine with more to do than cores it may.
func (r *rig) underruns(t testing.TB, name string) (n int) {
	t.Helper()
	resp, err := http.Get("http://" + r.processes(t)[name].Admin + "/metrics")
	must(t, "read /metrics", err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, "read /metrics", err)
	_, rest, _ := strings.Cut(string(text), "\ndongthanh_client_device_underruns_total ")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatalf("no count of underruns: %v", err)
	}
	return n
}

// recorded is what a sound server has played so far.
func recorded(p *testkit.Pulse) played {
	out := played{start: p.Began(), rate: 48000}
	for _, v := range p.Heard() {
		out.pcm = append(out.pcm, float64(v))
	}
	return out
}

// onset returns when it becomes loud after a moment.
func (p played) onset(from time.Time) time.Time {
	begin := max(int(from.Sub(p.start).Seconds()*p.rate), 0)
	for i, x := range p.pcm[begin:] {
		if math.Abs(x) > 5000 {
			return p.start.Add(time.Duration(float64(begin+i) / p.rate * float64(time.Second)))
		}
	}
	return time.Time{}
}

// leap returns how far, in radians, the phase of a tone strays from one 20 ms to the next between two moments, at most.
func (p played) leap(hz float64, from, to time.Time) (worst float64) {
	const block = 960
	pcm := p.between(from, to)
	last := math.NaN()
	for i := 0; i+block <= len(pcm); i += block {
		var re, im float64
		for k, x := range pcm[i : i+block] {
			a := 2 * math.Pi * hz * float64(i+k) / p.rate
			re, im = re+x*math.Cos(a), im-x*math.Sin(a)
		}
		phase := math.Atan2(im, re)
		if !math.IsNaN(last) {
			worst = max(worst, math.Abs(math.Remainder(phase-last, 2*math.Pi)))
		}
		last = phase
	}
	return worst
}
