package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// previous is the version that some of a province's machines still run while the others have this one: before nodes could
// be moved or removed.
const previous = "8e17417"

// TestUpgrade brings one machine after the other to this version, as a technician would: what runs on each stays, enrolled
// and in sound, whatever its neighbour has, and messages that the older ones do not know harm nobody.
func TestUpgrade(t *testing.T) {
	t.Parallel() // on machines of its own
	needMachines(t)
	root := repository(t)
	if out, err := exec.Command("git", "-C", root, "cat-file", "-e", previous+"^{commit}").CombinedOutput(); err != nil {
		t.Skipf("the history does not reach back to %s: %s%v", previous, out, err)
	}
	before := build(t, root)
	s := &site{played: t.TempDir()}
	m := newMachine(t, "machine", root)
	s.server = m
	m.sh(t, "mkdir old && cp -r "+before+"/bin/. "+before+"/configs old && go build -o bin/ ./streamer ./relay ./client")
	m.sh(t, `cat >zones.csv <<'END'
code,name
31,Hải Phòng
31/11296,Xã Tiên Lãng
31/11296/02,Thôn Trung
END
cp old/configs/*.yaml . # an upgrade leaves them as they are
for n in 1 2; do sed -e "s/9091/919$n/" -e "s#var/client#var/client-$n#" client.yaml >client-$n.yaml; done
old/streamer zone import zones.csv --config streamer.yaml`)
	streamer := func(args string) string { return m.sh(t, "old/streamer "+args+" --config streamer.yaml") }
	enrol := func(program, kind, zone, upstream, dir string) {
		token := regexp.MustCompile(`DT1\.\S+`).FindString(streamer(fmt.Sprintf("token add --kind %s --name %s --zone %s", kind, filepath.Base(dir), zone)))
		m.sh(t, fmt.Sprintf("%s enrol --upstream %s --token %s --dir %s", program, upstream, token, dir))
	}
	start := func(line string, port int) {
		m.start(t, line)
		m.ready(t, port)
	}
	client := func(program, name string, port int) {
		enrol(program, "client", commune1, "https://localhost:7543", "var/"+name)
		start(fmt.Sprintf("env DONGTHANH_DEVICE_KIND=file DONGTHANH_DEVICE_PATH=%s/%s/played.wav %s play --config %[2]s.yaml", s.played, name, program), port)
	}
	exchange := func(program, from, to string, port int) {
		line := m.end(t, from+"/"+program+" serve", syscall.SIGTERM)
		start(strings.Replace(line, from+"/", to+"/", 1), port)
	}

	start("old/streamer serve --config streamer.yaml", 9089)
	enrol("old/relay", "relay", "31", "https://localhost:7443", "var/relay")
	start("old/relay serve --config relay.yaml", 9090)
	client("old/client", "client", 9091)
	client("bin/client", "client-1", 9191) // a new box at an old relay
	client("old/client", "client-2", 9192)
	api := caller{base: "http://localhost:8080", client: m.http(),
		token: regexp.MustCompile(`dt_[A-Za-z0-9]+`).FindString(streamer("token add --kind api --name x --role officer --zone 31"))}
	s.wantAll(t, api, "a new loudspeaker beneath an old relay", nil)
	exchange("relay", "old", "bin", 9090)
	s.wantAll(t, api, "a new relay between an old streamer and old loudspeakers", nil)
	exchange("streamer", "old", "bin", 9089)
	s.wantAll(t, api, "a new streamer on the old one's store", nil)
	exchange("relay", "bin", "old", 9090)
	s.wantAll(t, api, "an old relay beneath the new streamer", func(session string) {
		ids := map[string]string{}
		var nodes []struct{ ID, Name string }
		must(t, "read nodes", json.Unmarshal(api.get(t, "/nodes").body, &nodes))
		for _, n := range nodes {
			ids[n.Name] = n.ID
		}
		// The relay knows none of the messages: those for a loudspeaker that would understand them, and the one for itself.
		for _, command := range []string{
			"move " + ids["client-1"] + " --zone 31/11296/02", "move " + ids["client"] + " --zone 31/11296/02", "remove " + ids["client-2"],
		} {
			m.sh(t, "bin/streamer node "+command+" --config streamer.yaml")
		}
		eventually(t, 20*time.Second, "the removed one does not count", func() bool {
			l := api.session(t, session).Listeners
			return l.Expected == 2 && l.Hearing == 2
		})
	})
}

// wantAll has all loudspeakers sound, whatever is done meanwhile, and end by a stop. Of client-2 nothing is wanted once
// something was done.
func (s *site) wantAll(t *testing.T, m caller, what string, done func(session string)) {
	t.Helper()
	id := m.speak(t, m.upload(t, 700, 60), nil, "31")
	eventually(t, 20*time.Second, what+": all hear", func() bool { return m.session(t, id).Listeners.Hearing == 3 })
	began := time.Now()
	if done != nil {
		done(id)
	}
	<-time.After(time.Second)
	stopped := time.Now()
	m.post(t, "/sessions/"+id+"/stop", nil)
	<-time.After(2*time.Second + settled)
	for _, name := range []string{"client", "client-1", "client-2"} {
		if done != nil && name == "client-2" {
			continue
		}
		p, err := openPlayed(part{Dir: filepath.Join(s.played, name)})
		must(t, "read what it played", err)
		if share, _, _ := p.tonal(700, began, stopped); share < 0.97 {
			t.Errorf("%s: %s has the tone in %.1f %% of the time", what, name, 100*share)
		}
		if !p.silent(stopped.Add(2*time.Second), stopped.Add(3*time.Second)) {
			t.Errorf("%s: %s sounds 2 s after the stop", what, name)
		}
	}
}

// build makes the three programs of the previous version, once: they are kept where the machine keeps what can be made
// again. Its folder is the same each time, so that Go's own cache knows what was compiled there.
func build(t *testing.T, root string) (dir string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	must(t, "find the cache", err)
	dir = filepath.Join(cache, "dongthanh", previous)
	cmd := exec.Command("sh", "-ec", `[ ! -e "$2/bin/ready" ] || exit 0
mkdir -p "$2" && git archive "$1" | tar -x -C "$2" && cd "$2"
go build -o bin/ ./streamer ./relay ./client && touch bin/ready`, "sh", previous, dir)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "GOFLAGS=-buildvcs=false -tags=nolibopusfile")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %s%v", previous, out, err)
	}
	return dir
}
