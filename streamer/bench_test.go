package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dongthanh/codec"
	"dongthanh/streamer/internal/session"
)

// BenchmarkSessions counts how many sessions one core of a streamer carries, at the default complexity 5: the real
// program, with N sessions in N zones begun by its API, each heard by a loudspeaker that is joined, fed by UDP and takes
// no care of what it gets. Microphones are browsers' (WebRTC, the whole voice chain); files are what the library plays.
// Browsers and loudspeakers are processes of their own: only the streamer's CPU counts, by /proc, over 10 s at least.
func BenchmarkSessions(b *testing.B) {
	r := newBenchRig(b)
	for _, kind := range []string{session.SourceFile, session.SourceBrowser} {
		floor := r.libopus(kind)
		for _, n := range sessionCounts() {
			b.Run(fmt.Sprintf("kind=%s/sessions=%d", kind, n), func(b *testing.B) { r.measure(b, kind, n, floor) })
		}
	}
}

func sessionCounts() []int {
	if testing.Short() {
		return []int{40}
	}
	return []int{10, 20, 40}
}

// announcement is real speech.
const announcement = "../configs/demo/announcement.wav"

// benchRig is a streamer and its loudspeakers, running, and what they are fed with.
type benchRig struct {
	tb      testing.TB
	dir     string
	pid     int
	console string
	token   string
	pcm     []float32 // real speech
	audio   string    // the same for some minutes, in the library
}

func newBenchRig(b *testing.B) *benchRig {
	b.Helper()
	r := &benchRig{tb: b, dir: b.TempDir()}
	build := exec.Command("go", "build", "-o", r.dir+"/", "dongthanh/streamer", "dongthanh/client")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	file, err := os.ReadFile(announcement)
	r.must(err)
	r.pcm, err = codec.ReadWAV(bytes.NewReader(file))
	r.must(err)

	port, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	control := port.Addr().String() // free a moment ago
	r.must(port.Close())
	config := filepath.Join(r.dir, "streamer.yaml")
	r.must(os.WriteFile(config, fmt.Appendf(nil, `http: {listen: "127.0.0.1:0"}
webrtc: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
nodes: {control: %q, media: "127.0.0.1:0"}
store: {dir: %q}
`, control, filepath.Join(r.dir, "streamer-store")), 0o600))
	var zones bytes.Buffer
	w := csv.NewWriter(&zones)
	rows := [][]string{{"code", "name"}, {"31", "Hải Phòng"}}
	for n := range slices.Max(sessionCounts()) {
		rows = append(rows, []string{zoneOf(n), "Xã " + strconv.Itoa(n)})
	}
	r.must(w.WriteAll(rows))
	list := filepath.Join(r.dir, "zones.csv")
	r.must(os.WriteFile(list, zones.Bytes(), 0o600))
	r.command("streamer", "zone", "import", list, "--config", config)
	r.token = r.command("streamer", "token", "add", "--kind", "api", "--role", "officer", "--zone", "31", "--config", config)

	up := r.start("streamer", "streamer is up", "serve", "--config", config)
	r.pid, r.console = up.pid, up.said["console"].(string)
	crowd := load{Upstream: "wss://" + control}
	for n := range slices.Max(sessionCounts()) {
		token := r.command("streamer", "token", "add", "--kind", "client", "--name", zoneOf(n), "--zone", zoneOf(n), "--config", config)
		dir := filepath.Join(r.dir, "listener-"+strconv.Itoa(n))
		r.command("client", "enrol", "--upstream", "https://"+control, "--token", token, "--dir", dir)
		crowd.Listeners = append(crowd.Listeners, dir)
	}
	b.Cleanup(r.crowd(crowd))
	for wait := time.Now(); r.metric("dongthanh_streamer_subscribers") < float64(len(crowd.Listeners)); <-time.After(100 * time.Millisecond) {
		if time.Since(wait) > limit {
			b.Fatal("the loudspeakers do not connect")
		}
	}
	r.audio = r.upload()
	if !testing.Short() {
		<-time.After(10 * time.Second) // loudspeakers that are new ask for the time four times a second
	}
	return r
}

func zoneOf(n int) string { return fmt.Sprintf("31/%05d", 10000+n) }

func (r *benchRig) must(err error) {
	r.tb.Helper()
	if err != nil {
		r.tb.Fatal(err)
	}
}

// command runs a program of the build and returns the last line that it prints.
func (r *benchRig) command(program string, args ...string) string {
	r.tb.Helper()
	cmd := exec.Command(filepath.Join(r.dir, program), args...)
	out, err := cmd.Output()
	if err != nil {
		r.tb.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, cmd.Stderr)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// begun is a program that runs.
type begun struct {
	pid  int
	said map[string]any // its log line that was waited for
}

// start starts a program and waits until its log says something; empty: anything. It ends with the benchmark.
func (r *benchRig) start(program, until string, args ...string) begun {
	r.tb.Helper()
	cmd := exec.Command(filepath.Join(r.dir, program), args...)
	log, err := cmd.StderrPipe()
	r.must(err)
	r.must(cmd.Start())
	found, read := make(chan map[string]any, 1), make(chan struct{})
	go func() {
		defer close(read)
		for d, waiting := json.NewDecoder(log), true; ; {
			var line map[string]any
			if err := d.Decode(&line); err != nil {
				_, _ = io.Copy(io.Discard, log)
				return
			}
			if line["level"] == "ERROR" {
				r.tb.Logf("%s: %v", program, line)
			}
			if waiting && (until == "" || line["msg"] == until) {
				waiting = false
				found <- line
			}
		}
	}()
	r.tb.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-read
		_ = cmd.Wait()
	})
	select {
	case line := <-found:
		return begun{cmd.Process.Pid, line}
	case <-read:
		r.tb.Fatalf("%s ended", program)
	case <-time.After(limit):
		r.tb.Fatalf("%s does not say %q", program, until)
	}
	return begun{}
}

// ask makes a call of the API and returns a value of its answer.
func (r *benchRig) ask(path string, body io.Reader, key string) string {
	r.tb.Helper()
	q, err := http.NewRequestWithContext(context.Background(), http.MethodPost, r.console+"/api/v1"+path, body)
	r.must(err)
	q.Header.Set("Authorization", "Bearer "+r.token)
	a, err := http.DefaultClient.Do(q)
	r.must(err)
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	r.must(err)
	if a.StatusCode >= http.StatusBadRequest {
		r.tb.Fatalf("POST %s: %d %s", path, a.StatusCode, text)
	}
	var answer map[string]any
	r.must(json.Unmarshal(text, &answer))
	value, _ := answer[key].(string)
	return value
}

// upload puts some minutes of speech into the library.
func (r *benchRig) upload() string {
	r.tb.Helper()
	path := filepath.Join(r.dir, "speech.wav")
	f, err := os.Create(path)
	r.must(err)
	w, err := codec.NewWAVWriter(f)
	r.must(err)
	once := make([]int16, len(r.pcm))
	for i, x := range r.pcm {
		once[i] = int16(32767 * max(-1, min(1, x)))
	}
	for length := 0; length < 180*codec.SampleRate; length += len(once) {
		r.must(w.Write(once))
	}
	r.must(w.Flush())
	_, err = f.Seek(0, io.SeekStart)
	r.must(err)
	defer f.Close()
	return r.ask("/audio", f, "id")
}

// measure lets n sessions speak and reports what the streamer spends on each.
func (r *benchRig) measure(b *testing.B, kind string, n int, floor float64) {
	r.tb = b
	source := map[string]string{"kind": kind}
	if kind == session.SourceFile {
		source["audio"] = r.audio
	}
	ids := make([]string, n)
	for i := range ids {
		body, err := json.Marshal(map[string]any{"zones": []string{zoneOf(i)}, "source": source})
		r.must(err)
		ids[i] = r.ask("/sessions", bytes.NewReader(body), "id")
	}
	end := func() {}
	if kind == session.SourceBrowser {
		end = r.crowd(load{Console: r.console, Token: r.token, Sessions: ids, Sound: announcement})
	}
	<-time.After(2 * time.Second) // the hellos are over
	lasts := 15 * time.Second
	if testing.Short() {
		lasts = 10 * time.Second
	}
	packets := r.sent()
	before, began := r.cpu(), time.Now()
	<-time.After(lasts)
	spent, wall := r.cpu()-before, time.Since(began).Seconds()
	packets = r.sent() - packets
	for _, id := range ids {
		r.ask("/sessions/"+id+"/stop", nil, "")
	}
	end()
	// On a machine that others use too, less is sent than should be: what counts is the sound, not the time.
	const packet = 0.04 // seconds of sound
	spoken, kept := packets*packet, packets*packet/(wall*float64(n))
	if kept < 0.5 {
		b.Fatalf("%.0f %% of the packets were sent: this machine is too busy to measure on", 100*kept)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(spent/spoken, "cpu_per_session")
	b.ReportMetric(spoken/spent, "sessions_per_core")
	b.ReportMetric(floor, "libopus_per_session")
	b.ReportMetric(floor*spoken/spent, "libopus_share")
	b.ReportMetric(kept, "sent_ratio")
	b.ReportMetric(wall, "measured_seconds")
}

// cpu is what the streamer has used so far, in seconds.
func (r *benchRig) cpu() float64 {
	r.tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.pid))
	r.must(err)
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:])) // from the state on, field 3
	user, err := strconv.ParseFloat(f[11], 64)
	r.must(err)
	system, err := strconv.ParseFloat(f[12], 64)
	r.must(err)
	return (user + system) / 100
}

// sent is how many media packets the streamer has sent to loudspeakers.
func (r *benchRig) sent() float64 { return r.metric("dongthanh_streamer_packets_sent_total") }

// metric reads one of the streamer's metrics, without labels.
func (r *benchRig) metric(name string) float64 {
	r.tb.Helper()
	q, err := http.NewRequestWithContext(context.Background(), http.MethodGet, r.console+"/metrics", nil)
	r.must(err)
	q.Header.Set("Authorization", "Bearer "+r.token)
	a, err := http.DefaultClient.Do(q)
	r.must(err)
	defer a.Body.Close()
	for s := bufio.NewScanner(a.Body); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			r.must(err)
			return n
		}
	}
	r.tb.Fatalf("no metric %s: %s", name, a.Status)
	return 0
}

// libopus is what its encoder alone takes of a core for a second of the same sound: the floor that no code of ours can
// go below.
func (r *benchRig) libopus(kind string) float64 {
	r.tb.Helper()
	c := session.DefaultConfig().Encoder
	cfg := codec.EncoderConfig{Bitrate: c.Bitrate, Complexity: c.Complexity}
	if kind == session.SourceFile {
		cfg = codec.EncoderConfig{Bitrate: c.MusicBitrate, Complexity: c.Complexity, Music: true}
	}
	e, err := codec.NewEncoder(cfg)
	r.must(err)
	dst := make([]byte, e.MaxPacketBytes())
	const packets = 500
	var use syscall.Rusage
	spent := func() float64 {
		r.must(syscall.Getrusage(syscall.RUSAGE_SELF, &use))
		return float64(use.Utime.Nano()+use.Stime.Nano()) / 1e9
	}
	before := spent()
	for i := range packets {
		at := i * e.PacketSamples() % (len(r.pcm) - e.PacketSamples())
		_, err := e.Encode(r.pcm[at:at+e.PacketSamples()], dst)
		r.must(err)
	}
	return (spent() - before) / (packets * 0.04)
}
