package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const commune1, commune2 = "31/11296", "31/11407"

// settled is how long after a moment a virtual loudspeaker has it on disk.
const settled = 1500 * time.Millisecond

// TestSystem runs the whole product as make run does, and speaks, disturbs and misuses it.
func TestSystem(t *testing.T) {
	if testing.Short() {
		t.Skip("starts ten programs")
	}
	r := startRig(t)
	m := r.machine()
	t.Run("contract", func(t *testing.T) { testContract(t, r, m) })
	t.Run("only the commune that was chosen hears", func(t *testing.T) { testOneCommune(t, r, m) })
	t.Run("a file sounds whole", func(t *testing.T) { testWholeFile(t, r, m) })
	t.Run("a text is read aloud", func(t *testing.T) { testText(t, r, m) })
	t.Run("a session is recorded", func(t *testing.T) { testRecording(t, r, m) })
	t.Run("an official listens", func(t *testing.T) { testListening(t, r, m) })
	t.Run("sources", func(t *testing.T) { testSources(t, r, m) })
	t.Run("browser", func(t *testing.T) { testBrowser(t, r) })
	t.Run("an emergency breaks in", func(t *testing.T) { testEmergency(t, r) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, r) })
	t.Run("enrolment", func(t *testing.T) { testEnrolment(t, r) })
	t.Run("hostile datagrams", func(t *testing.T) { testGarbage(t, r, m) })
	t.Run("volume and test tone", func(t *testing.T) { testOrders(t, r, m) })
	t.Run("a sound card", func(t *testing.T) { testSoundCard(t, r, m) })
	t.Run("a loudspeaker moves and is removed", func(t *testing.T) { testMoveAndRemove(t, r, m) })
	t.Run("unison", func(t *testing.T) { testUnison(t, r, m) })
	t.Run("a loudspeaker dies and comes back", func(t *testing.T) { testClientRestart(t, r, m) })
	t.Run("a relay dies and comes back", func(t *testing.T) { testRelayRestart(t, r, m) })
	t.Run("the streamer dies, and what it recorded is there", func(t *testing.T) { testStreamerKilled(t, r, m) })
	t.Run("a lost disk comes back from a backup", func(t *testing.T) { testRestore(t, r, m) })
}

func testContract(t *testing.T, r *rig, m caller) {
	names := []string{"streamer", "relay-province", "relay-1", "relay-2", "client-1", "client-2", "client-3", "client-4", "client-5", "client-6"}
	procs := r.processes(t)
	for _, name := range names {
		p, ok := procs[name]
		if !ok {
			t.Errorf("processes.json has no %s", name)
			continue
		}
		if err := syscall.Kill(p.Pid, 0); err != nil {
			t.Errorf("%s, pid %d: %v", name, p.Pid, err)
		}
		for _, page := range []string{"/healthz", "/readyz", "/metrics"} {
			resp, err := http.Get("http://" + p.Admin + page)
			if err != nil {
				t.Errorf("%s of %s: %v", page, name, err)
				continue
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s of %s: %s", page, name, resp.Status)
			}
		}
		if _, err := os.Stat(filepath.Join(r.dir, name, "config.yaml")); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(r.dir, "client-1", "played.wav.json")); err != nil {
		t.Error(err)
	}
	for _, page := range []string{"/healthz", "/readyz", "/metrics"} {
		resp, err := http.Get(r.ready["console"] + page)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s of the console: %s", page, resp.Status)
		}
	}
	for _, host := range []string{"127.0.0.1:8080", "[::1]:8080"} {
		if c, err := net.Dial("tcp", host); err != nil {
			t.Errorf("localhost must answer on both families: %v", err)
		} else {
			c.Close()
		}
	}
	var zones []struct{ Code string }
	if err := json.Unmarshal(m.get(t, "/zones").body, &zones); err != nil || len(zones) != 1 || zones[0].Code != "31" {
		t.Errorf("zones = %+v, %v", zones, err)
	}
	var nodes []struct{ ID, Kind, State, Zone, Upstream string }
	if err := json.Unmarshal(m.get(t, "/nodes").body, &nodes); err != nil || len(nodes) != 9 {
		t.Fatalf("%d nodes, %v, want three relays and six loudspeakers", len(nodes), err)
	}
	if a := m.get(t, "/nodes/"+nodes[0].ID); a.field("id") != nodes[0].ID {
		t.Errorf("node: %d %s", a.status, a.body)
	}
}

// testOneCommune plays a file to one commune, stops it, and looks at the sound of all six loudspeakers.
func testOneCommune(t *testing.T, r *rig, m caller) {
	audio := m.upload(t, 700, 30)
	began := time.Now()
	id := m.speak(t, audio, map[string]any{"title": "Thử loa"}, commune1)
	eventually(t, 5*time.Second, "three loudspeakers hear it", func() bool {
		s := m.session(t, id)
		return s.State == "live" && s.Listeners.Hearing == 3
	})
	if s := m.session(t, id); s.Listeners.Expected != 3 || len(s.Listeners.Missing) != 0 {
		t.Errorf("listeners = %+v", s.Listeners)
	}
	<-time.After(2 * time.Second)
	stopped := time.Now()
	if a := m.post(t, "/sessions/"+id+"/stop", nil); a.status != http.StatusOK {
		t.Fatalf("stop: %d %s", a.status, a.body)
	}
	if s := m.session(t, id); s.State != "ended" || s.EndReason != "stop" || s.EndedBy != "make run" {
		t.Errorf("after the stop: %+v", s)
	}
	<-time.After(2*time.Second + settled)
	for n := 1; n <= 3; n++ {
		share, first, last := r.heard(t, n).tonal(700, began, stopped)
		if first.IsZero() {
			t.Errorf("loudspeaker %d played nothing", n)
			continue
		}
		t.Logf("loudspeaker %d: first sound after %v, tone in %.1f %% of the time, silent %v after the stop", n, first.Sub(began), 100*share, lastTone(r.heard(t, n), stopped).Sub(stopped))
		if share, _, _ := r.heard(t, n).tonal(700, first, stopped); share < 0.97 {
			t.Errorf("loudspeaker %d: the tone is whole in %.1f %% of the time from %v to %v", n, 100*share, first, last)
		}
		if !r.heard(t, n).silent(stopped.Add(2*time.Second), stopped.Add(3*time.Second)) {
			t.Errorf("loudspeaker %d sounds 2 s after the stop", n)
		}
	}
	for n := 4; n <= 6; n++ {
		if !r.heard(t, n).silent(began, stopped.Add(2*time.Second)) {
			t.Errorf("loudspeaker %d, of the other commune, made a sound", n)
		}
	}
}

// testWholeFile plays three seconds of a tone: nothing is cut, nothing added, and it has the loudness that all files get.
func testWholeFile(t *testing.T, r *rig, m caller) {
	began := time.Now()
	id := m.speak(t, m.upload(t, 500, 3), nil, commune2+"/03")
	eventually(t, 10*time.Second, "it ends", func() bool { return m.session(t, id).State == "ended" })
	ended := time.Now()
	<-time.After(settled)
	p := r.heard(t, 6)
	_, first, last := p.tonal(500, began, ended.Add(settled))
	if length := last.Sub(first); length < 2960*time.Millisecond || length > 3040*time.Millisecond {
		t.Errorf("three seconds sound for %v", length)
	}
	if late := last.Sub(ended); late > 1500*time.Millisecond {
		t.Errorf("it sounds %v after its session has ended", late)
	}
	const loudness = -18.0 // LUFS; of a tone of middle pitch also its power in dB of full scale
	sum, n := 0.0, 0
	for _, x := range p.between(first.Add(500*time.Millisecond), first.Add(2500*time.Millisecond)) {
		sum += x * x
		n++
	}
	if level := 10 * math.Log10(sum/float64(n)/(1<<30)); math.Abs(level-loudness) > 1 {
		t.Errorf("it sounds with %.1f dB, want %g", level, loudness)
	}
	for n := 1; n <= 5; n++ {
		if !r.heard(t, n).silent(began, ended) {
			t.Errorf("loudspeaker %d, of another hamlet, made a sound", n)
		}
	}
}

// testText has a text read aloud to one commune.
func testText(t *testing.T, r *rig, m caller) {
	began := time.Now()
	a := m.post(t, "/sessions", map[string]any{"zones": []string{commune1}, "source": map[string]string{
		"kind": "tts", "text": "Kính mời bà con ra nhà văn hóa lúc 15h30.",
	}})
	if a.status != http.StatusCreated {
		t.Fatalf("start: %d %s", a.status, a.body)
	}
	eventually(t, 20*time.Second, "it ends", func() bool { return m.session(t, a.field("id")).State == "ended" })
	<-time.After(settled)
	for n := 1; n <= 6; n++ {
		loud := 0
		pcm := r.heard(t, n).between(began, time.Now())
		for i := 0; i+960 <= len(pcm); i += 960 {
			if math.Sqrt(energy(pcm[i:i+960])/960) > 300 {
				loud++
			}
		}
		if spoken := time.Duration(loud) * 20 * time.Millisecond; (n <= 3) != (spoken > 1500*time.Millisecond) {
			t.Errorf("loudspeaker %d spoke for %v", n, spoken)
		}
	}
}

func energy(pcm []float64) (sum float64) {
	for _, x := range pcm {
		sum += x * x
	}
	return sum
}

// lastTone is the end of the last 10 ms with sound within 3 s of a moment.
func lastTone(p played, from time.Time) time.Time {
	last := from
	for at := from; at.Before(from.Add(3 * time.Second)); at = at.Add(10 * time.Millisecond) {
		if !p.silent(at, at.Add(10*time.Millisecond)) {
			last = at.Add(10 * time.Millisecond)
		}
	}
	return last
}

// testEmergency lets a person break into a running session of both communes in one of them.
func testEmergency(t *testing.T, r *rig) {
	p := r.person(t)
	low := p.speak(t, p.upload(t, 600, 20), nil, "31")
	eventually(t, 5*time.Second, "all hear the ordinary session", func() bool { return p.session(t, low).Listeners.Hearing == 6 })
	began := time.Now()
	high := p.speak(t, p.upload(t, 1100, 4), map[string]any{"priority": "emergency"}, commune2)
	eventually(t, 5*time.Second, "the second commune hears the emergency", func() bool { return p.session(t, high).Listeners.Hearing == 3 })
	if s := p.session(t, low); s.Listeners.Hearing != 3 {
		t.Errorf("the ordinary session is heard by %d, want the other commune's 3", s.Listeners.Hearing)
	}
	eventually(t, 10*time.Second, "the emergency ends", func() bool { return p.session(t, high).State == "ended" })
	eventually(t, 5*time.Second, "all hear the ordinary session again", func() bool { return p.session(t, low).Listeners.Hearing == 6 })
	resumed := time.Now()
	<-time.After(time.Second)
	p.post(t, "/sessions/"+low+"/stop", nil)
	<-time.After(settled)
	if share, first, _ := r.heard(t, 5).tonal(1100, began, resumed); share < 0.5 {
		t.Errorf("loudspeaker 5: the emergency from %v in %.0f %% of the time", first, 100*share)
	}
	if share, _, _ := r.heard(t, 5).tonal(600, resumed, resumed.Add(time.Second)); share < 0.9 {
		t.Errorf("loudspeaker 5: the ordinary session in %.0f %% of the second after", 100*share)
	}
	if share, _, _ := r.heard(t, 2).tonal(1100, began, resumed); share > 0 {
		t.Errorf("loudspeaker 2, of the other commune, played the emergency")
	}
}

// testRefusals holds every wrong request to its status and to a sentence that an official can read.
func testRefusals(t *testing.T, r *rig) {
	m := r.machine()
	foreign := m
	foreign.token = "dt_" + strings.Repeat("a", 52)
	nobody := caller{base: m.base, client: &http.Client{}}
	tone := toneWAV(500, 1)
	audio := m.upload(t, 500, 1)
	file := map[string]string{"kind": "file", "audio": audio}
	for _, c := range []struct {
		name   string
		answer reply
		status int
		say    string // part of the Vietnamese sentence
	}{
		{"no sign-in", nobody.get(t, "/zones"), 401, "chưa đăng nhập"},
		{"foreign token", foreign.get(t, "/zones"), 401, "chưa đăng nhập"},
		{"wrong password", nobody.post(t, "/login", map[string]string{"username": "canbo", "password": "không phải"}), 401, "không đúng"},
		{"no JSON", m.do(t, "POST", "/sessions", strings.NewReader("{")), 400, "JSON"},
		{"two values", m.do(t, "POST", "/sessions", strings.NewReader(`{} {}`)), 400, "JSON"},
		{"unknown field", m.do(t, "POST", "/sessions", strings.NewReader(`{"zone":"31"}`)), 400, "JSON"},
		{"deep JSON", m.do(t, "POST", "/sessions", strings.NewReader(strings.Repeat("[", 50_000))), 400, "JSON"},
		{"large JSON", m.do(t, "POST", "/sessions", strings.NewReader(`{"title":"`+strings.Repeat("a", 100_000)+`"}`)), 413, "quá lớn"},
		{"unknown zone", m.post(t, "/sessions", map[string]any{"zones": []string{"99"}, "source": file}), 422, "Không có địa bàn"},
		{"malformed zone", m.post(t, "/sessions", map[string]any{"zones": []string{"31/../x"}, "source": file}), 422, "Không có địa bàn"},
		{"no zone", m.post(t, "/sessions", map[string]any{"zones": []string{}, "source": file}), 422, "địa bàn"},
		{"unknown audio", m.post(t, "/sessions", map[string]any{"zones": []string{"31"}, "source": map[string]string{"kind": "file", "audio": "nope"}}), 422, "tệp âm thanh"},
		{"unknown source", m.post(t, "/sessions", map[string]any{"zones": []string{"31"}, "source": map[string]string{"kind": "thư"}}), 422, "Nguồn"},
		{"unknown delay", m.post(t, "/sessions", map[string]any{"zones": []string{"31"}, "source": file, "delay": "soon"}), 422, "Độ trễ"},
		{"unknown priority", m.post(t, "/sessions", map[string]any{"zones": []string{"31"}, "source": file, "priority": "high"}), 422, "ưu tiên"},
		{"emergency by a machine", m.post(t, "/sessions", map[string]any{"zones": []string{"31"}, "source": file, "priority": "emergency"}), 403, "khẩn cấp"},
		{"unknown session", m.get(t, "/sessions/01930000-0000-7000-8000-000000000000"), 404, "Không có buổi phát"},
		{"stop of an unknown session", m.post(t, "/sessions/nope/stop", nil), 404, "Không có buổi phát"},
		{"unknown node", m.get(t, "/nodes/nope"), 404, "Không có thiết bị"},
		{"unknown page", m.get(t, "/nope"), 404, "Không có địa chỉ"},
		{"truncated WAV", m.do(t, "POST", "/audio", bytes.NewReader(tone[:len(tone)/2])), 415, "cụt"},
		{"header without sound", m.do(t, "POST", "/audio", bytes.NewReader(tone[:44])), 415, ""},
		{"not a WAV", m.do(t, "POST", "/audio", strings.NewReader("<html>không phải âm thanh</html>")), 415, ""},
		{"nothing", m.do(t, "POST", "/audio", strings.NewReader("")), 415, ""},
	} {
		if c.answer.status != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.name, c.answer.status, c.status, c.answer.body)
		}
		if kind := c.answer.header.Get("Content-Type"); !strings.HasPrefix(kind, "application/problem+json") {
			t.Errorf("%s: Content-Type %q", c.name, kind)
		}
		if detail := c.answer.field("detail"); detail == "" || !strings.Contains(detail, c.say) {
			t.Errorf("%s: detail %q, want %q in it", c.name, detail, c.say)
		}
	}
	testBusyAndReplay(t, m, file)
}

func testBusyAndReplay(t *testing.T, m caller, file map[string]string) {
	long := m.upload(t, 500, 60)
	id := m.speak(t, long, map[string]any{"title": "Buổi đang phát"}, commune1)
	if a := m.post(t, "/sessions", map[string]any{"zones": []string{commune1 + "/01"}, "source": file}); a.status != http.StatusConflict || !strings.Contains(a.field("detail"), "Buổi đang phát") {
		t.Errorf("zone on air: %d %s", a.status, a.body)
	}
	m.post(t, "/sessions/"+id+"/stop", nil)
	if a := m.post(t, "/sessions/"+id+"/stop", nil); a.status != http.StatusOK {
		t.Errorf("a second stop: %d %s", a.status, a.body)
	}
	body := map[string]any{"zones": []string{commune2}, "source": file}
	one := m.post(t, "/sessions", body, "Idempotency-Key", "k1")
	two := m.post(t, "/sessions", body, "Idempotency-Key", "k1")
	if one.status != http.StatusCreated || one.field("id") != two.field("id") {
		t.Errorf("the same request twice: %d %s and %d %s", one.status, one.field("id"), two.status, two.body)
	}
	body["title"] = "khác"
	if a := m.post(t, "/sessions", body, "Idempotency-Key", "k1"); a.status != http.StatusConflict {
		t.Errorf("another request with the same key: %d %s", a.status, a.body)
	}
	m.post(t, "/sessions/"+one.field("id")+"/stop", nil)
}

// testGarbage throws bytes at every port while a session runs: nothing falls, nobody loses a frame.
func testGarbage(t *testing.T, r *rig, m caller) {
	id := m.speak(t, m.upload(t, 900, 20), nil, "31")
	eventually(t, 5*time.Second, "all hear it", func() bool { return m.session(t, id).Listeners.Hearing == 6 })
	before := r.frames(t)
	for _, port := range []int{7444, 7544, 7554, 7564, 8082} {
		c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2000 {
			b := bytes.Repeat([]byte{byte(i)}, i%600)
			if len(b) > 2 {
				b[0] = []byte{0x90, 0x50, 0x00, 0x16}[i%4]
			}
			_, _ = c.Write(b)
			if i%100 == 0 {
				<-time.After(time.Millisecond)
			}
		}
		c.Close()
	}
	for _, port := range []int{7443, 7543, 7553, 8080} {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(bytes.Repeat([]byte("GET / HTTP/9.9\x00\xff"), 500))
		c.Close()
	}
	<-time.After(2 * time.Second)
	if s := m.session(t, id); s.State != "live" || s.Listeners.Hearing != 6 {
		t.Errorf("after the garbage: %+v", s)
	}
	for name, f := range r.frames(t) {
		if lost := f.concealed + f.late - before[name].concealed - before[name].late; lost > 0 {
			t.Errorf("%s lost %v frames", name, lost)
		}
	}
	m.post(t, "/sessions/"+id+"/stop", nil)
}

// frames reads the counts of every loudspeaker.
func (r *rig) frames(t testing.TB) map[string]figures {
	t.Helper()
	all := map[string]figures{}
	for name, p := range r.processes(t) {
		if strings.HasPrefix(name, "client-") {
			f, err := scrape(t.Context(), part{Name: name, Admin: adminPort(p.Admin)})
			if err != nil {
				t.Fatal(err)
			}
			all[name] = f
		}
	}
	return all
}

func adminPort(address string) (port int) {
	_, p, _ := net.SplitHostPort(address)
	_, _ = fmt.Sscan(p, &port)
	return port
}

// testClientRestart kills a loudspeaker on air: it leaves the count at once, and is heard again when it is back.
func testClientRestart(t *testing.T, r *rig, m caller) {
	id := m.speak(t, m.upload(t, 800, 60), nil, commune1)
	eventually(t, 5*time.Second, "three hear it", func() bool { return m.session(t, id).Listeners.Hearing == 3 })
	if err := syscall.Kill(r.processes(t)["client-2"].Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	eventually(t, 10*time.Second, "two hear it, and the third is named", func() bool {
		l := m.session(t, id).Listeners
		return l.Hearing == 2 && len(l.Missing) == 1 && l.Missing[0] == r.nodeID(t, m, "client-2")
	})
	t.Logf("the death showed after %v", time.Since(killed))
	if s := m.session(t, id).Listeners.Silent; len(s) != 1 || s[0].Since.Before(killed.Add(-time.Second)) || s[0].Since.After(time.Now()) {
		t.Errorf("silent %+v, want it since %v", s, killed)
	}
	r.again(t, "client-2")
	back := time.Now()
	eventually(t, 10*time.Second, "three hear it again", func() bool { return m.session(t, id).Listeners.Hearing == 3 })
	t.Logf("it was back after %v", time.Since(back))
	m.post(t, "/sessions/"+id+"/stop", nil)
	<-time.After(settled)
	for _, n := range []int{1, 3} {
		if share, _, _ := r.heard(t, n).tonal(800, killed, back); share < 0.97 {
			t.Errorf("loudspeaker %d was disturbed: %.1f %% of the tone", n, 100*share)
		}
	}
}

func (r *rig) nodeID(t testing.TB, m caller, name string) string {
	t.Helper()
	var nodes []struct{ ID, Name string }
	if err := json.Unmarshal(m.get(t, "/nodes").body, &nodes); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(nodes, func(n struct{ ID, Name string }) bool { return n.Name == name })
	if i < 0 {
		t.Fatalf("no node is called %s", name)
	}
	return nodes[i].ID
}

// testRelayRestart kills a commune's relay on air: its loudspeakers go on by their standby, the other commune notices
// nothing, and when the relay is back everybody hears.
func testRelayRestart(t *testing.T, r *rig, m caller) {
	id := m.speak(t, m.upload(t, 850, 60), nil, "31")
	eventually(t, 5*time.Second, "six hear it", func() bool { return m.session(t, id).Listeners.Hearing == 6 })
	if err := syscall.Kill(r.processes(t)["relay-1"].Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	eventually(t, 10*time.Second, "six hear it without relay-1", func() bool { return m.session(t, id).Listeners.Hearing == 6 })
	<-time.After(4 * time.Second)
	r.again(t, "relay-1")
	<-time.After(3 * time.Second)
	eventually(t, 10*time.Second, "six hear it with relay-1 back", func() bool { return m.session(t, id).Listeners.Hearing == 6 })
	end := time.Now()
	m.post(t, "/sessions/"+id+"/stop", nil)
	<-time.After(settled)
	for n := 1; n <= 6; n++ {
		share, _, _ := r.heard(t, n).tonal(850, killed, end)
		t.Logf("loudspeaker %d: %.2f %% of the tone through the relay's death and return", n, 100*share)
		if n >= 4 && share < 0.97 {
			t.Errorf("loudspeaker %d, of the other commune, was disturbed", n)
		}
		if n <= 3 && share < 0.85 {
			t.Errorf("loudspeaker %d did not go on by its standby", n)
		}
	}
}
