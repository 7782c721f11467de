package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rig is a running make run.
type rig struct {
	dir   string
	make  *exec.Cmd
	ended chan error
	ready map[string]string // the READY line's values
	extra []*exec.Cmd       // started by hand
}

// startRig runs make run in the repository's root and waits for its READY line. It ends with the test.
func startRig(t testing.TB, variables ...string) *rig {
	t.Helper()
	r := &rig{dir: filepath.Join(t.TempDir(), "demo"), ended: make(chan error, 1)}
	r.make = exec.Command("make", append([]string{"--no-print-directory", "run", "ANNOUNCE=0", "DIR=" + r.dir}, variables...)...)
	r.make.Dir = filepath.Join("..", "..")
	r.make.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.make.Stderr = os.Stderr
	out, err := r.make.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.make.Start(); err != nil {
		t.Fatal(err)
	}
	line, read := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(read)
		defer close(line)
		for s := bufio.NewScanner(out); s.Scan(); {
			if text, ok := strings.CutPrefix(s.Text(), "READY "); ok {
				line <- text
			}
		}
	}()
	go func() {
		<-read // the pipe is read to its end before Wait may be called
		r.ended <- r.make.Wait()
	}()
	t.Cleanup(func() { r.stop(t) })
	select {
	case text, ok := <-line:
		if !ok {
			t.Fatal("make run ended before it was ready; what it said is above")
		}
		r.ready = map[string]string{}
		for _, pair := range strings.Fields(text) {
			k, v, _ := strings.Cut(pair, "=")
			r.ready[k] = v
		}
	case err := <-r.ended:
		r.ended <- err
		t.Fatalf("make run ended before it was ready: %v", err)
	case <-time.After(3 * time.Minute): // a first build included
		t.Fatal("make run was not ready within three minutes")
	}
	return r
}

// stop ends the demo as its user would and checks that nothing of it is left.
func (r *rig) stop(t testing.TB) {
	for _, cmd := range r.extra {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	if r.ready == nil {
		_ = r.make.Process.Signal(syscall.SIGTERM)
	} else {
		_ = syscall.Kill(r.pid(), syscall.SIGINT)
	}
	select {
	case err := <-r.ended:
		r.ended <- err
		if err != nil && r.ready != nil {
			t.Errorf("make run: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("make run does not end")
		_ = syscall.Kill(-r.make.Process.Pid, syscall.SIGKILL)
	}
}

func (r *rig) pid() int {
	var pid int
	_, _ = fmt.Sscan(r.ready["pid"], &pid)
	return pid
}

// processes reads processes.json.
func (r *rig) processes(t testing.TB) map[string]procEntry {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, "processes.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []procEntry
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	m := map[string]procEntry{}
	for _, p := range list {
		m[p.Name] = p
	}
	return m
}

type procEntry struct {
	Name  string
	Pid   int
	Admin string
	Args  []string
}

// again starts a part of the demo by hand, as processes.json says; it ends with the rig.
func (r *rig) again(t testing.TB, name string) {
	t.Helper()
	p := r.processes(t)[name]
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(root, p.Args[0]), p.Args[1:]...)
	cmd.Dir = root
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.extra = append(r.extra, cmd)
}

// reply is an answer of the API.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// field returns a member of a JSON object answered.
func (r reply) field(name string) string {
	var m map[string]any
	if json.Unmarshal(r.body, &m) != nil {
		return ""
	}
	return fmt.Sprint(m[name])
}

// caller talks to the API: as a machine with the demo's token, or as a person with a cookie.
type caller struct {
	base   string
	token  string
	client *http.Client
}

func (r *rig) machine() caller {
	return caller{base: r.ready["console"], token: r.ready["token"], client: &http.Client{}}
}

// person signs the demo's official in.
func (r *rig) person(t testing.TB) caller {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := caller{base: r.ready["console"], client: &http.Client{Jar: jar}}
	if a := c.post(t, "/login", map[string]string{"username": r.ready["user"], "password": r.ready["password"]}); a.status != http.StatusOK {
		t.Fatalf("sign in: %d %s", a.status, a.body)
	}
	return c
}

func (c caller) do(t testing.TB, method, path string, body io.Reader, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.base+"/api/v1"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, b}
}

func (c caller) get(t testing.TB, path string) reply {
	t.Helper()
	return c.do(t, http.MethodGet, path, nil)
}

func (c caller) post(t testing.TB, path string, body any, header ...string) reply {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return c.do(t, http.MethodPost, path, bytes.NewReader(b), header...)
}

// upload puts a WAV file of a tone into the library and returns its id.
func (c caller) upload(t testing.TB, hz float64, seconds int) string {
	t.Helper()
	a := c.do(t, http.MethodPost, "/audio?name=tone.wav", bytes.NewReader(toneWAV(hz, seconds)))
	if a.status != http.StatusCreated {
		t.Fatalf("upload: %d %s", a.status, a.body)
	}
	return a.field("id")
}

// speak starts a session of an uploaded tone and returns its id.
func (c caller) speak(t testing.TB, audio string, more map[string]any, zones ...string) string {
	t.Helper()
	body := map[string]any{"zones": zones, "source": map[string]string{"kind": "file", "audio": audio}}
	for k, v := range more {
		body[k] = v
	}
	a := c.post(t, "/sessions", body)
	if a.status != http.StatusCreated {
		t.Fatalf("start: %d %s", a.status, a.body)
	}
	return a.field("id")
}

// session is what the API tells of a session.
type session struct {
	State     string
	EndReason string `json:"end_reason"`
	EndedBy   string `json:"ended_by"`
	Source    struct{ State string }
	Listeners struct {
		Expected, Hearing int
		Missing           []string
		Silent            []struct {
			Node  string
			Since time.Time
		}
	}
}

func (c caller) session(t testing.TB, id string) session {
	t.Helper()
	a := c.get(t, "/sessions/"+id)
	var s session
	if err := json.Unmarshal(a.body, &s); err != nil || a.status != http.StatusOK {
		t.Fatalf("session %s: %d %s", id, a.status, a.body)
	}
	return s
}

// eventually polls what other processes do until it is right.
func eventually(t testing.TB, limit time.Duration, what string, right func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !right() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", limit, what)
		case <-tick.C:
		}
	}
}

// toneWAV is a mono WAV file of a tone at −9 dBFS.
func toneWAV(hz float64, seconds int) []byte {
	const rate = 48000
	n := rate * seconds
	var b bytes.Buffer
	b.WriteString("RIFF")
	b.Write(le32(uint32(36 + 2*n)))
	b.WriteString("WAVEfmt ")
	b.Write(le32(16))
	b.Write([]byte{1, 0, 1, 0})
	b.Write(le32(rate))
	b.Write(le32(2 * rate))
	b.Write([]byte{2, 0, 16, 0})
	b.WriteString("data")
	b.Write(le32(uint32(2 * n)))
	for i := range n {
		v := int16(11600 * math.Sin(2*math.Pi*hz*float64(i)/rate))
		b.Write([]byte{byte(v), byte(v >> 8)})
	}
	return b.Bytes()
}

func le32(v uint32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }

// heard is what a loudspeaker has played so far.
func (r *rig) heard(t testing.TB, n int) played {
	t.Helper()
	p, err := openPlayed(part{Dir: filepath.Join(r.dir, fmt.Sprintf("client-%d", n))})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// between returns the samples that sound between two moments of wall time; what is not written yet is left out.
func (p played) between(from, to time.Time) []float64 {
	at := func(w time.Time) int { return int(w.Sub(p.start).Seconds() * p.rate) }
	lo, hi := max(at(from), 0), min(at(to), len(p.pcm))
	if lo >= hi {
		return nil
	}
	return p.pcm[lo:hi]
}

// tonal measures the share of 20 ms blocks whose energy is the tone's, and where the first and the last of them lie.
func (p played) tonal(hz float64, from, to time.Time) (share float64, first, last time.Time) {
	const block = 960
	pcm := p.between(from, to)
	begin := max(int(from.Sub(p.start).Seconds()*p.rate), 0)
	hits, all := 0, 0
	for i := 0; i+block <= len(pcm); i += block {
		all++
		if !isTone(pcm[i:i+block], hz/p.rate) {
			continue
		}
		hits++
		when := p.start.Add(time.Duration(float64(begin+i) / p.rate * float64(time.Second)))
		if first.IsZero() {
			first = when
		}
		last = when.Add(20 * time.Millisecond)
	}
	if all > 0 {
		share = float64(hits) / float64(all)
	}
	return share, first, last
}

// isTone reports whether a block is loud and nearly all of its energy lies at the frequency (in cycles a sample), by
// Goertzel's algorithm.
func isTone(pcm []float64, frequency float64) bool {
	var energy, s1, s2 float64
	c := 2 * math.Cos(2*math.Pi*frequency)
	for _, x := range pcm {
		energy += x * x
		s1, s2 = x+c*s1-s2, s1
	}
	power := (s1*s1 + s2*s2 - c*s1*s2) * 2 / float64(len(pcm))
	return energy/float64(len(pcm)) > 300*300 && power > 0.8*energy
}

// silent reports whether nothing sounds between two moments.
func (p played) silent(from, to time.Time) bool {
	for _, x := range p.between(from, to) {
		if math.Abs(x) > 2 {
			return false
		}
	}
	return true
}
