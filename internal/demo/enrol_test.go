package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testEnrolment holds every wrong enrolment, and a node that is none, to one clear line and the right exit code.
func testEnrolment(t *testing.T, r *rig) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, "find the repository", err)
	program := func(args ...string) (string, int) {
		cmd := exec.Command(filepath.Join(root, "bin", args[0]), args[1:]...)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatalf("%v: %v", args, err)
		}
		return strings.TrimSpace(string(out)), cmd.ProcessState.ExitCode()
	}
	token := func(config, kind, ttl string) string {
		out, code := program("streamer", "token", "add", "--config", config, "--kind", kind, "--name", "thử", "--zone", "31", "--ttl", ttl)
		if code != 0 {
			t.Fatalf("token add: %s", out)
		}
		lines := strings.Split(out, "\n")
		return lines[len(lines)-1]
	}
	own := filepath.Join(r.dir, "streamer", "config.yaml")
	foreign := filepath.Join(t.TempDir(), "foreign.yaml") // another streamer, with another root
	must(t, "write", os.WriteFile(foreign, fmt.Appendf(nil, "store: {dir: %q}\n", filepath.Join(t.TempDir(), "foreign")), 0o600))
	if out, code := program("streamer", "zone", "import", filepath.Join("configs", "demo", "zones.csv"), "--config", foreign); code != 0 {
		t.Fatal(out)
	}
	const relay1 = "https://127.0.0.1:7553"
	expired, used := token(own, "client", "1ms"), token(own, "client", "1h")
	<-time.After(10 * time.Millisecond)
	enrol := func(program, upstream, token string) []string {
		return []string{program, "enrol", "--upstream", upstream, "--token", token, "--dir", filepath.Join(t.TempDir(), "node")}
	}
	if out, code := program(enrol("client", relay1, used)...); code != 0 {
		t.Fatalf("a good token, through two relays: %s", out)
	}
	none := filepath.Join(t.TempDir(), "none.yaml")
	must(t, "write", os.WriteFile(none, fmt.Appendf(nil, "upstreams: [{control: \"wss://127.0.0.1:7553\"}]\nstore: {dir: %q}\n", t.TempDir()), 0o600))
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	must(t, "write", os.WriteFile(bad, []byte("upstreams: [{control: \"http://x\"}]\nnotakey: 1\nadmin: {listen: \"nowhere\"}\n"), 0o600))
	for _, c := range []struct {
		name string
		args []string
		code int
		say  []string
	}{
		{"used", enrol("client", relay1, used), 1, []string{"used"}},
		{"expired", enrol("client", relay1, expired), 1, []string{"expired"}},
		{"of another kind", enrol("relay", relay1, token(own, "client", "1h")), 1, []string{"client"}},
		{"of another streamer's root", enrol("client", relay1, token(foreign, "client", "1h")), 1, []string{"root"}},
		{"no token", enrol("client", relay1, "DT1.abc"), 1, []string{"token"}},
		{"nobody there", enrol("client", "https://127.0.0.1:9", token(own, "client", "1h")), 1, []string{"127.0.0.1:9", "refused"}},
		{"not enrolled", []string{"client", "play", "--config", none}, 1, []string{"not enrolled"}},
		{"not enrolled, relay", []string{"relay", "serve", "--config", none}, 1, []string{"not enrolled"}},
		{"every fault of a configuration", []string{"client", "check", "--config", bad}, 2, []string{"notakey: ", "upstreams.0.control: ", "admin.listen: "}},
		{"no such file", []string{"streamer", "serve", "--config", "/nowhere.yaml"}, 2, []string{"/nowhere.yaml"}},
		{"no such command", []string{"relay", "fly"}, 2, []string{"fly"}},
		{"port in use", []string{"streamer", "serve", "--config", own}, 1, []string{"127.0.0.1:9089", "in use"}},
	} {
		out, code := program(c.args...)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d: %s", c.name, code, c.code, out)
		}
		for _, s := range c.say {
			if !strings.Contains(out, s) {
				t.Errorf("%s: says %q, want %q in it", c.name, out, s)
			}
		}
		if c.code == 1 && strings.Count(out, "\n") > 0 && c.name != "port in use" {
			t.Errorf("%s: more than one line: %s", c.name, out)
		}
	}
}
