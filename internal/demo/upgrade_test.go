package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// before is a commit of the version before this one: before nodes could be moved.
const before = "8e17417"

// TestUpgrade runs this version's streamer above a relay of the version before, and a loudspeaker of each below that: they
// enrol, hear, and stop together, and messages that the older ones do not know harm nobody.
func TestUpgrade(t *testing.T) {
	if testing.Short() {
		t.Skip("builds another version")
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, "find the repository", err)
	sh := func(script string) {
		t.Helper()
		cmd := exec.Command("sh", "-ec", script)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s\n%s", script, out)
		}
	}
	probe := exec.Command("git", "cat-file", "-e", before+"^{commit}")
	probe.Dir = root
	if probe.Run() != nil {
		t.Skip("the history does not reach back to " + before)
	}
	dir := t.TempDir()
	sh("make --no-print-directory build")
	// -trimpath: the folder is another each time, and the build cache shall know the packages nonetheless.
	sh(fmt.Sprintf("mkdir %[1]s/src && git archive %[2]s | tar x -C %[1]s/src && cd %[1]s/src && go build -trimpath -buildvcs=false -tags=nolibopusfile -o %[1]s/old/ ./relay ./client", dir, before))
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, "write", os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	streamerYAML := write("streamer.yaml", fmt.Sprintf(`
http: {listen: "127.0.0.1:18080"}
webrtc: {listen: "127.0.0.1:18082"}
admin: {listen: "127.0.0.1:19089"}
nodes: {control: "127.0.0.1:17443", media: "127.0.0.1:17444"}
store: {dir: %q}
`, filepath.Join(dir, "streamer")))
	relayYAML := write("relay.yaml", fmt.Sprintf(`
upstreams: [{control: "wss://127.0.0.1:17443"}]
nodes: {control: "127.0.0.1:17543", media: "127.0.0.1:17544"}
admin: {listen: "127.0.0.1:19090"}
store: {dir: %q}
`, filepath.Join(dir, "relay")))
	client := func(name string, admin int) string {
		must(t, "make folder", os.MkdirAll(filepath.Join(dir, name), 0o700))
		return write(name+".yaml", fmt.Sprintf(`
upstreams: [{control: "wss://127.0.0.1:17543"}]
device: {kind: file, path: %q}
admin: {listen: "127.0.0.1:%d"}
store: {dir: %q}
`, filepath.Join(dir, name, "played.wav"), admin, filepath.Join(dir, name, "store")))
	}
	newBin, oldBin := filepath.Join(root, "bin"), filepath.Join(dir, "old")
	cli := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(newBin, "streamer"), append(args, "--config", streamerYAML)...)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", args, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return lines[len(lines)-1]
	}
	start := func(args ...string) {
		t.Helper()
		log, err := os.Create(filepath.Join(dir, filepath.Base(args[len(args)-1])+".log"))
		must(t, "make a log", err)
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, root
		must(t, "start", cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
			_ = log.Close()
			if t.Failed() {
				text, _ := os.ReadFile(log.Name())
				t.Logf("%s\n%s", filepath.Base(log.Name()), text[max(0, len(text)-3000):])
			}
		})
	}
	up := func(admin int) {
		t.Helper()
		eventually(t, 30*time.Second, fmt.Sprint("port ", admin, " is ready"), func() bool {
			resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", admin))
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
	}
	enrol := func(bin, kind, name, zone, upstream, to string) {
		t.Helper()
		token := cli("token", "add", "--kind", kind, "--name", name, "--zone", zone)
		if out, err := exec.Command(filepath.Join(bin, kind), "enrol", "--upstream", upstream, "--token", token, "--dir", to).CombinedOutput(); err != nil {
			t.Fatalf("enrol %s: %s", name, out)
		}
	}
	cli("zone", "import", filepath.Join("configs", "demo", "zones.csv"))
	start(filepath.Join(newBin, "streamer"), "serve", "--config", streamerYAML)
	up(19089)
	enrol(oldBin, "relay", "relay", "31", "https://127.0.0.1:17443", filepath.Join(dir, "relay"))
	start(filepath.Join(oldBin, "relay"), "serve", "--config", relayYAML)
	up(19090)
	names := map[string]string{"new": newBin, "older": oldBin, "gone": oldBin}
	for i, name := range []string{"new", "older", "gone"} {
		yaml := client(name, 19101+i)
		enrol(names[name], "client", name, commune1, "https://127.0.0.1:17543", filepath.Join(dir, name, "store"))
		start(filepath.Join(names[name], "client"), "play", "--config", yaml)
		up(19101 + i)
	}
	m := caller{base: "http://127.0.0.1:18080", token: cli("token", "add", "--kind", "api", "--name", "x", "--role", "officer", "--zone", "31"), client: &http.Client{}}
	ids := map[string]string{}
	var nodes []struct{ ID, Name string }
	must(t, "read nodes", json.Unmarshal(m.get(t, "/nodes").body, &nodes))
	for _, n := range nodes {
		ids[n.Name] = n.ID
	}
	id := m.speak(t, m.upload(t, 620, 60), nil, "31")
	eventually(t, 20*time.Second, "all three hear", func() bool { return m.session(t, id).Listeners.Hearing == 3 })
	began := time.Now()
	// The relay knows neither message: the first goes to a loudspeaker that would understand it, the second to itself.
	cli("node", "move", ids["new"], "--zone", commune1+"/02")
	cli("node", "move", ids["older"], "--zone", commune1+"/03")
	cli("node", "remove", ids["gone"])
	eventually(t, 20*time.Second, "the removed one does not count", func() bool { l := m.session(t, id).Listeners; return l.Expected == 2 && l.Hearing == 2 })
	<-time.After(2 * time.Second)
	end := time.Now()
	m.post(t, "/sessions/"+id+"/stop", nil)
	<-time.After(2*time.Second + settled)
	for _, name := range []string{"new", "older"} {
		p, err := openPlayed(part{Dir: filepath.Join(dir, name)})
		must(t, "read what it played", err)
		if share, _, _ := p.tonal(620, began, end); share < 0.95 {
			t.Errorf("%s: the tone in %.0f %% of the time", name, 100*share)
		}
		if !p.silent(end.Add(2*time.Second), end.Add(3*time.Second)) {
			t.Errorf("%s sounds 2 s after the stop", name)
		}
	}
}
