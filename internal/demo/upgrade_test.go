package main

import (
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

// previous is the version that some of a province's machines still run while the others have this one.
const previous = "8e17417"

// TestUpgrade brings one machine after the other to this version, from the loudspeaker to the streamer, as a technician
// would: what runs on each stays, enrolled and in sound, whatever its neighbour has.
func TestUpgrade(t *testing.T) {
	needMachines(t)
	root := repository(t)
	if out, err := exec.Command("git", "-C", root, "cat-file", "-e", previous+"^{commit}").CombinedOutput(); err != nil {
		t.Skipf("the history is not here: %s%v", out, err)
	}
	before := build(t, root)

	s := &site{played: t.TempDir()}
	m := newMachine(t, "machine", root)
	s.server = m
	m.sh(t, "mkdir old && cp -r "+before+"/bin/. "+before+"/configs old && go build -o bin/ ./streamer ./relay ./client")
	m.sh(t, `mkdir -p var && cat >zones.csv <<'END'
code,name
31,Hải Phòng
31/11296,Xã Tiên Lãng
END
cp old/configs/*.yaml . # an upgrade leaves them as they are
sed -e 's/9091/9092/' -e 's#var/client#var/client-b#' client.yaml >client-b.yaml
old/streamer zone import zones.csv --config streamer.yaml`)
	enrol := func(kind, zone, program, upstream, dir string) {
		out := m.sh(t, fmt.Sprintf("old/streamer token add --kind %s --name %s --zone %s --config streamer.yaml", kind, filepath.Base(dir), zone))
		m.sh(t, fmt.Sprintf("%s enrol --upstream %s --token %s --dir %s", program, upstream, regexp.MustCompile(`DT1\.\S+`).FindString(out), dir))
	}
	start := func(line string, port int) {
		m.start(t, line)
		m.ready(t, port)
	}
	client := func(version, dir, config string, port int) {
		start(fmt.Sprintf("env DONGTHANH_DEVICE_KIND=file DONGTHANH_DEVICE_PATH=%s/%s/played.wav %s/client play --config %s", s.played, dir, version, config), port)
	}

	start("old/streamer serve --config streamer.yaml", 9089)
	enrol("relay", "31", "old/relay", "https://localhost:7443", "var/relay")
	start("old/relay serve --config relay.yaml", 9090)
	enrol("client", "31/11296", "old/client", "https://localhost:7543", "var/client")
	client("old", "a", "client.yaml", 9091)
	enrol("client", "31/11296", "bin/client", "https://localhost:7543", "var/client-b") // a new box at an old relay
	client("bin", "b", "client-b.yaml", 9092)
	token := regexp.MustCompile(`dt_[A-Za-z0-9]+`).FindString(m.sh(t, "old/streamer token add --kind api --name thử --role officer --zone 31 --config streamer.yaml"))
	api := caller{base: "http://localhost:8080", token: token, client: m.http()}
	s.wantBoth(t, api, "the new loudspeaker beneath the old relay")

	line := m.end(t, "old/relay", syscall.SIGTERM)
	start(strings.Replace(line, "old/", "bin/", 1), 9090)
	s.wantBoth(t, api, "the new relay between an old streamer and an old loudspeaker")

	line = m.end(t, "old/streamer", syscall.SIGTERM)
	start(strings.Replace(line, "old/", "bin/", 1), 9089)
	s.wantBoth(t, api, "the new streamer on the old one's store")

	line = m.end(t, "bin/relay", syscall.SIGTERM)
	start(strings.Replace(line, "bin/", "old/", 1), 9090)
	s.wantBoth(t, api, "the old relay beneath the new streamer")
}

// wantBoth has both loudspeakers sound for a while and end by a stop.
func (s *site) wantBoth(t *testing.T, m caller, what string) {
	t.Helper()
	id := m.speak(t, m.upload(t, 700, 20), nil, "31")
	eventually(t, 20*time.Second, what+": both hear", func() bool { return m.session(t, id).Listeners.Hearing == 2 })
	began := time.Now()
	<-time.After(time.Second)
	stopped := time.Now()
	m.post(t, "/sessions/"+id+"/stop", nil)
	<-time.After(2*time.Second + settled)
	for _, dir := range []string{"a", "b"} {
		p, err := openPlayed(part{Dir: filepath.Join(s.played, dir)})
		if err != nil {
			t.Fatal(err)
		}
		if share, _, _ := p.tonal(700, began, stopped); share < 0.97 {
			t.Errorf("%s: loudspeaker %s has the tone in %.1f %% of the time", what, dir, 100*share)
		}
		if !p.silent(stopped.Add(2*time.Second), stopped.Add(3*time.Second)) {
			t.Errorf("%s: loudspeaker %s sounds 2 s after the stop", what, dir)
		}
	}
}

// build makes the three programs of the previous version, once: they are kept where the machine keeps what can be made
// again. Its folder is the same each time, so that Go's own cache knows what was compiled there.
func build(t *testing.T, root string) (dir string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
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
