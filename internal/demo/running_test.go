package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// typed runs the streamer's command line beside the server and returns what it printed.
func (r *rig) typed(t testing.TB, args ...string) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, "find the repository", err)
	cmd := exec.Command(filepath.Join(root, "bin", "streamer"), append(args, "--config", filepath.Join(r.dir, "streamer", "config.yaml"))...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("streamer %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// manager listens as a service manager does, and tells what it has been told.
func manager(t testing.TB) (path string, told chan string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // short: a socket's path has 108 bytes
	must(t, "make a folder", err)
	path, told = filepath.Join(dir, "s"), make(chan string, 4096)
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, "listen", err)
	t.Cleanup(func() { _ = c.Close(); _ = os.RemoveAll(dir) })
	go func() { // ends with the socket
		defer close(told)
		var b [512]byte
		for {
			n, err := c.Read(b[:])
			if err != nil {
				return
			}
			select {
			case told <- string(b[:n]):
			default:
			}
		}
	}()
	return path, told
}

// isTold waits for a message to a manager.
func isTold(t testing.TB, told chan string, want string) {
	t.Helper()
	end := time.After(20 * time.Second)
	for {
		select {
		case got := <-told:
			if got == want {
				return
			}
		case <-end:
			t.Fatalf("the service manager does not hear %s", want)
		}
	}
}

// under starts a program as a service manager does, with a watchdog of 3 s.
func (r *rig) under(t testing.TB, socket string, args ...string) *exec.Cmd {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, "find the repository", err)
	cmd := exec.Command(filepath.Join(root, args[0]), args[1:]...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=3000000")
	must(t, "start", cmd.Start())
	r.extra = append(r.extra, cmd)
	return cmd
}

// testMoveAndRemove enrols a seventh loudspeaker, moves it from the first commune to the second while all runs, and removes
// it.
func testMoveAndRemove(t *testing.T, r *rig, m caller) {
	dir := filepath.Join(r.dir, "client-7")
	p := part{Name: "client-7", Program: "client", Verb: "play", Dir: dir, Upstreams: []int{7553, 7563}, Admin: speakerAdmin + 7}
	wd, err := os.Getwd()
	must(t, "where", err)
	must(t, "go to the root", os.Chdir(filepath.Join("..", "..")))
	err = p.writeConfig()
	must(t, "come back", os.Chdir(wd))
	must(t, "write configuration", err)
	token := r.typed(t, "token", "add", "--kind", "client", "--name", "client-7", "--zone", commune1+"/01")
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, "find the repository", err)
	out, err := exec.Command(filepath.Join(root, "bin", "client"), "enrol", "--upstream", "https://127.0.0.1:7553", "--token", token, "--dir", p.store()).CombinedOutput()
	if err != nil {
		t.Fatalf("enrol: %s", out)
	}
	socket, told := manager(t)
	cmd := r.under(t, socket, p.args()...)
	isTold(t, told, "READY=1")
	isTold(t, told, "WATCHDOG=1")
	eventually(t, 15*time.Second, "the streamer knows it", func() bool { return strings.Contains(string(m.get(t, "/nodes").body), `"client-7"`) })
	id := r.nodeID(t, m, "client-7")

	// Sessions of both communes, a tone each, for as long as the test.
	one := m.speak(t, m.upload(t, 440, 60), nil, commune1)
	two := m.speak(t, m.upload(t, 990, 60), nil, commune2)
	hearing := func(session string, want int) func() bool {
		return func() bool { l := m.session(t, session).Listeners; return l.Hearing == want && l.Expected == want }
	}
	eventually(t, 15*time.Second, "four hear the first commune", hearing(one, 4))
	eventually(t, 15*time.Second, "three hear the second", hearing(two, 3)) // or its beginning counts as a gap below
	r.typed(t, "node", "move", id, "--zone", commune2+"/01", "--name", "Loa chợ")
	moved := time.Now()
	eventually(t, 15*time.Second, "four hear the second commune", hearing(two, 4))
	eventually(t, 5*time.Second, "three hear the first", hearing(one, 3))
	t.Logf("moved within %v", time.Since(moved))
	settledIn := time.Now()
	<-time.After(2 * time.Second)
	removed := time.Now()
	if a := m.get(t, "/nodes/"+id); a.field("zone") != commune2+"/01" || a.field("name") != "Loa chợ" {
		t.Errorf("moved: %s", a.body)
	}
	r.typed(t, "node", "remove", id)
	eventually(t, 15*time.Second, "it counts no more", hearing(two, 3))
	if a := m.get(t, "/nodes/"+id); a.status != http.StatusNotFound {
		t.Errorf("removed: %d %s", a.status, a.body)
	}
	gone := time.Now()
	t.Logf("removed within %v", gone.Sub(removed))
	<-time.After(3 * time.Second)
	for _, s := range []string{one, two} {
		if l := m.session(t, s).Listeners; l.Hearing != 3 {
			t.Errorf("%d hear", l.Hearing)
		}
		m.post(t, "/sessions/"+s+"/stop", nil)
	}
	<-time.After(settled)
	h := r.heard(t, 7)
	if share, _, _ := h.tonal(990, settledIn, removed); share < 0.95 {
		t.Errorf("after it was moved it plays its new commune in %.0f %% of the time", 100*share)
	}
	if share, _, _ := h.tonal(440, settledIn, time.Now()); share > 0 {
		t.Errorf("after it was moved it plays its old commune in %.0f %% of the time", 100*share)
	}
	if !h.silent(gone.Add(2*time.Second), gone.Add(3*time.Second)) {
		t.Error("removed, it sounds still")
	}
	for n := 1; n <= 6; n++ {
		hz := map[bool]float64{true: 440, false: 990}[n <= 3]
		if share, _, _ := r.heard(t, n).tonal(hz, moved, gone); share < 0.95 {
			t.Errorf("loudspeaker %d was disturbed: its tone in %.0f %% of the time", n, 100*share)
		}
	}
	// It is refused wherever it asks, and comes back only as another.
	resp, err := http.Get("http://" + p.admin() + "/readyz")
	must(t, "ask it", err)
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		t.Error("removed, it says that it is ready")
	}
	must(t, "end it", cmd.Process.Signal(syscall.SIGTERM))
	isTold(t, told, "STOPPING=1")
}

// testRestore loses the streamer's disk: the store comes back from a backup that is older than the newest sessions, and
// every loudspeaker hears again without a hand being laid on it.
func testRestore(t *testing.T, r *rig, m caller) {
	file, secret := filepath.Join(t.TempDir(), "backup.tar.age"), filepath.Join(t.TempDir(), "secret")
	must(t, "write passphrase", os.WriteFile(secret, []byte("hoa phượng đỏ bên sông\n"), 0o600))
	r.typed(t, "backup", file, "--passphrase-file", secret)
	for range 3 { // fences that the backup knows nothing of
		id := m.speak(t, m.upload(t, 500, 2), nil, "31")
		eventually(t, 10*time.Second, "all hear it", func() bool { return m.session(t, id).Listeners.Hearing == 6 })
		m.post(t, "/sessions/"+id+"/stop", nil)
	}
	streamer := r.processes(t)["streamer"]
	_ = syscall.Kill(streamer.Pid, syscall.SIGKILL) // the first one; an earlier test may have started another
	for _, cmd := range r.extra {
		if filepath.Base(cmd.Path) == "streamer" {
			_ = cmd.Process.Kill()
		}
	}
	eventually(t, 10*time.Second, "it has ended", func() bool {
		_, err := net.DialTimeout("tcp", streamer.Admin, time.Second)
		return err != nil
	})
	must(t, "lose its disk", os.RemoveAll(filepath.Join(r.dir, "streamer", "store")))
	r.typed(t, "restore", file, "--passphrase-file", secret)
	socket, told := manager(t)
	r.under(t, socket, streamer.Args...)
	isTold(t, told, "READY=1")
	eventually(t, 60*time.Second, "all nodes are back", func() bool {
		resp, err := http.Get(r.ready["console"] + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		var nodes []struct{ State string }
		if json.Unmarshal(m.get(t, "/nodes").body, &nodes) != nil {
			return false
		}
		return count(nodes) >= 9
	})
	began := time.Now()
	id := m.speak(t, m.upload(t, 770, 30), nil, "31")
	eventually(t, 30*time.Second, "all hear again", func() bool { return m.session(t, id).Listeners.Hearing == 6 })
	all := time.Now()
	<-time.After(time.Second)
	end := time.Now()
	m.post(t, "/sessions/"+id+"/stop", nil)
	<-time.After(settled)
	for n := 1; n <= 6; n++ {
		if share, first, _ := r.heard(t, n).tonal(770, all, end); share < 0.95 {
			t.Errorf("loudspeaker %d plays the first session after the restore in %.0f %% of the time, from %v after it began", n, 100*share, first.Sub(began))
		}
	}
}

func count(nodes []struct{ State string }) (online int) {
	for _, n := range nodes {
		if n.State != "offline" {
			online++
		}
	}
	return online
}

// TestInstall lays the files out as a package builder does, twice: what an administrator has written stays, and what is
// installed is what the units start.
func TestInstall(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, "find the repository", err)
	dest := t.TempDir()
	install := func() {
		t.Helper()
		cmd := exec.Command(filepath.Join(root, "tools", "install.sh"))
		cmd.Env = append(os.Environ(), "DESTDIR="+dest, "PREFIX=/opt/dt")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("install: %v\n%s", err, out)
		}
	}
	build := exec.Command("make", "--no-print-directory", "build")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	install()
	for _, p := range []string{"streamer", "relay", "client"} {
		unit, err := os.ReadFile(filepath.Join(dest, "etc/systemd/system/dongthanh-"+p+".service"))
		must(t, "read unit", err)
		var line string
		for l := range strings.Lines(string(unit)) {
			if text, ok := strings.CutPrefix(l, "ExecStart="); ok {
				line = strings.TrimSpace(text)
			}
		}
		words := strings.Fields(line)
		if len(words) < 2 {
			t.Fatalf("unit of %s starts %q", p, line)
		}
		words[0] = filepath.Join(dest, words[0])
		for i := range words {
			words[i] = strings.Replace(words[i], "/etc/", dest+"/etc/", 1)
		}
		words[1] = "check" // in place of serve or play
		words = append(words, "--print")
		words[0] = filepath.Join(dest, "opt/dt/bin", p)
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), `store.dir: "/var/lib/dongthanh/`+p+`"`) && !strings.Contains(string(out), "store.dir: /var/lib/dongthanh/"+p) {
			t.Errorf("what the unit of %s starts: %v\n%s", p, err, out)
		}
	}
	mine := filepath.Join(dest, "etc/dongthanh/relay.yaml")
	must(t, "change a configuration", os.WriteFile(mine, []byte("mine\n"), 0o600))
	install()
	if b, err := os.ReadFile(mine); err != nil || string(b) != "mine\n" {
		t.Errorf("a configuration was overwritten: %q, %v", b, err)
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		return
	}
	for _, p := range []string{"streamer", "relay", "client"} {
		out, _ := exec.Command("systemd-analyze", "verify", filepath.Join(root, "configs/systemd/dongthanh-"+p+".service")).CombinedOutput()
		for l := range strings.Lines(string(out)) {
			if strings.Contains(l, "dongthanh-") && !strings.Contains(l, "not executable") {
				t.Errorf("systemd says: %s", l)
			}
		}
	}
}
