package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"dongthanh/internal/testkit"
)

// chapter is the part of the README that this test is made of.
const chapter = "## Two machines"

// block is a piece of shell from the README with the heading it stands under.
type block struct{ heading, script string }

// readme returns the blocks of the chapter, in order.
func readme(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text2, ok := strings.Cut(string(text), "\n"+chapter+"\n")
	if !ok {
		t.Fatalf("the README has no chapter %q", chapter)
	}
	body, _, _ := strings.Cut(text2, "\n## ")
	var list []block
	heading, inside := "", false
	for line := range strings.Lines(body) {
		switch {
		case strings.HasPrefix(line, "```sh"):
			inside = true
			list = append(list, block{heading: heading})
		case strings.HasPrefix(line, "```"):
			inside = false
		case inside:
			list[len(list)-1].script += line
		case strings.HasPrefix(line, "### "):
			heading = strings.TrimSpace(line[4:])
		}
	}
	return list
}

// site is what the chapter sets up: a server with an address of its own, and a loudspeaker's box behind a router that
// translates addresses.
type site struct {
	server, box, router *machine
	blocks              map[string]string // by heading
	tokens              []string          // printed on the server, not typed on the box yet
	played              string
}

// service is a line that has systemd start one of the three programs.
var service = regexp.MustCompile(`^systemctl (?:enable --now|start) (dongthanh-(streamer|relay|client))$`)

// follow does on m what the README says under a heading, as its reader would: a token is typed where DT1.… stands, a
// password where one is asked for. No systemd runs here; what it would start is started as its unit says.
func (s *site) follow(t *testing.T, m *machine, heading string) {
	t.Helper()
	script, ok := s.blocks[heading]
	if !ok {
		t.Fatalf("the README's chapter has no block beneath %q", heading)
	}
	var step strings.Builder
	flush := func() {
		if step.Len() == 0 {
			return
		}
		out, err := m.try(step.String(), "mat-khau-cua-can-bo\n")
		if err != nil {
			t.Fatalf("%s, on the %s:\n%s\n%s%v", heading, m.name, step.String(), out, err)
		}
		s.tokens = append(s.tokens, regexp.MustCompile(`DT1\.[A-Za-z0-9_-]+`).FindAllString(out, -1)...)
		step.Reset()
	}
	for line := range strings.Lines(script) {
		for strings.Contains(line, "DT1.…") {
			flush() // a token that this line wants may be printed by one before
			if len(s.tokens) == 0 {
				t.Fatalf("%s wants a token and none was printed before", heading)
			}
			line = strings.Replace(line, "DT1.…", s.tokens[0], 1)
			s.tokens = s.tokens[1:]
		}
		if unit := service.FindStringSubmatch(strings.TrimSpace(line)); unit != nil {
			flush()
			m.start(t, asUnit(t, m, unit[1]))
			m.ready(t, adminPorts[unit[2]])
			continue
		}
		step.WriteString(line)
	}
	flush()
}

// adminPorts are where administration listens when a configuration leaves that to the default.
var adminPorts = map[string]int{"streamer": 9089, "relay": 9090, "client": 9091}

// asUnit is the command by which systemd would start a unit.
func asUnit(t *testing.T, m *machine, name string) string {
	t.Helper()
	unit := m.sh(t, "cat /etc/systemd/system/"+name+".service")
	value := func(key string) string {
		_, rest, ok := strings.Cut(unit, "\n"+key+"=")
		if !ok {
			t.Fatalf("%s has no %s", name, key)
		}
		line, _, _ := strings.Cut(rest, "\n")
		return line
	}
	user := value("User") // setpriv becomes the program, as systemd does; runuser would stand before it
	return "setpriv --reuid " + user + " --regid " + value("Group") + " --init-groups -- " + value("ExecStart")
}

// TestTwoMachines does what the README's chapter says on two machines, and then what happens to them in a year.
func TestTwoMachines(t *testing.T) {
	t.Parallel() // on machines of its own
	needMachines(t)
	s := newSite(t)
	m := s.machine(t)
	id := s.speak(t, m, 700, 60)

	began := time.Now()
	<-time.After(3 * time.Second)
	s.wantTone(t, 700, began, time.Now(), 0.97)

	t.Run("the router gives the box another address", func(t *testing.T) { s.testRebinding(t, m, id) })
	t.Run("the relay starts anew", func(t *testing.T) { s.testRestart(t, m, id, s.server, "relay") })
	t.Run("the loudspeaker starts anew", func(t *testing.T) { s.testRestart(t, m, id, s.box, "client") })
	m.post(t, "/sessions/"+id+"/stop", nil)
	t.Run("a lost disk is no ladder", func(t *testing.T) { s.testLostDisk(t) })
}

// needMachines skips a test where machines cannot be made, but not where all is there to be tested.
func needMachines(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("sets up machines of its own")
	}
	for _, program := range []string{"ip", "nft", "unshare", "nsenter"} {
		testkit.Program(t, program)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, for networks of its own")
	}
}

// repository is the folder of go.mod.
func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// newSite builds the network and follows the chapter up to a loudspeaker that is ready.
func newSite(t *testing.T) *site {
	t.Helper()
	root := repository(t)
	s := &site{blocks: map[string]string{}, played: t.TempDir()}
	for folder, mode := range map[string]os.FileMode{filepath.Dir(s.played): 0o755, s.played: 0o777} { // another user writes there
		if err := os.Chmod(folder, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range readme(t) {
		s.blocks[b.heading] += strings.ReplaceAll(b.script, "192.0.2.10", "198.51.100.10")
	}
	s.server = newMachine(t, "server", root)
	s.box = newMachine(t, "box", root)
	s.router = newMachine(t, "router", root)
	s.box.env = append(s.box.env, "DONGTHANH_DEVICE_KIND=file", "DONGTHANH_DEVICE_PATH="+filepath.Join(s.played, "played.wav"))
	wire(t, s.server, "eth0", "198.51.100.10/24", s.router, "wan", "198.51.100.1/24")
	wire(t, s.box, "eth0", "10.20.0.2/24", s.router, "lan", "10.20.0.1/24")
	s.box.sh(t, "ip route add default via 10.20.0.1")
	s.router.sh(t, `echo 1 >/proc/sys/net/ipv4/ip_forward
nft -f - <<'END'
table ip nat {
	chain post { type nat hook postrouting priority srcnat; oifname "wan" masquerade random; }
}
table ip filter {
	chain forward { type filter hook forward priority filter; policy drop; iifname "lan" accept; ct state established,related accept; }
}
END`)
	for _, b := range readme(t) {
		switch {
		case strings.Contains(b.heading, "server"):
			s.follow(t, s.server, b.heading)
		case strings.Contains(b.heading, "pole"):
			s.follow(t, s.box, b.heading)
		}
	}
	return s
}

// machine is a program that calls the API on the server itself, with a token that the chapter's own command has made.
func (s *site) machine(t *testing.T) caller {
	t.Helper()
	out := s.server.sh(t, "runuser -u dongthanh -- streamer token add --kind api --name thử --role officer --zone 31 --config /etc/dongthanh/streamer.yaml")
	token := regexp.MustCompile(`dt_[A-Za-z0-9]+`).FindString(out)
	if token == "" {
		t.Fatalf("no token in %q", out)
	}
	return caller{base: "http://localhost:8080", token: token, client: s.server.http()}
}

// speak begins a session and waits until the loudspeaker hears it.
func (s *site) speak(t *testing.T, m caller, hz float64, seconds int) (id string) {
	t.Helper()
	id = m.speak(t, m.upload(t, hz, seconds), nil, "31")
	eventually(t, 20*time.Second, "the loudspeaker hears", func() bool { return m.session(t, id).Listeners.Hearing == 1 })
	return id
}

// wantTone holds the loudspeaker to having sounded a tone for a share of a time.
func (s *site) wantTone(t *testing.T, hz float64, from, to time.Time, share float64) {
	t.Helper()
	<-time.After(settled)
	p, err := openPlayed(part{Dir: s.played})
	if err != nil {
		t.Fatal(err)
	}
	got, _, _ := p.tonal(hz, from, to)
	t.Logf("%.0f Hz in %.1f %% of %v", hz, 100*got, to.Sub(from).Round(time.Millisecond))
	if got < share {
		t.Errorf("the tone is whole in %.1f %% of the time, want %.0f %%", 100*got, 100*share)
	}
}

// testRebinding takes the router's address away and gives it another: every binding is lost, as at a carrier's every
// night.
func (s *site) testRebinding(t *testing.T, m caller, id string) {
	s.server.sh(t, "nft 'table ip seen { chain in { type filter hook input priority 0; ip saddr 198.51.100.2 udp dport 7544 counter; }; }'")
	changed := time.Now()
	s.router.sh(t, "ip addr add 198.51.100.2/24 dev wan && ip addr del 198.51.100.1/24 dev wan && (ip addr add 198.51.100.2/24 dev wan || true)")
	eventually(t, 20*time.Second, "the loudspeaker is seen at its new address", func() bool {
		return strings.Contains(string(m.get(t, "/nodes").body), "198.51.100.2")
	})
	t.Logf("seen at its new address after %v", time.Since(changed))
	eventually(t, 10*time.Second, "the loudspeaker hears", func() bool { return m.session(t, id).Listeners.Hearing == 1 })
	began := time.Now()
	<-time.After(2 * time.Second)
	s.wantTone(t, 700, began, time.Now(), 0.97)
	s.wantTone(t, 700, changed, began, 0.9) // what is missing is asked for, and by that very datagram the new way is found
	if out := s.server.sh(t, "nft list table ip seen"); !strings.Contains(out, "counter packets") || strings.Contains(out, "packets 0 ") {
		t.Errorf("no datagram came from the new address:\n%s", out)
	}
}

// testRestart kills a program and starts it by the README's own line.
func (s *site) testRestart(t *testing.T, m caller, id string, on *machine, program string) {
	line := on.end(t, "bin/"+program, syscall.SIGKILL)
	on.start(t, line)
	on.ready(t, adminPorts[program])
	eventually(t, 20*time.Second, "the loudspeaker hears", func() bool { return m.session(t, id).Listeners.Hearing == 1 })
	began := time.Now()
	<-time.After(2 * time.Second)
	s.wantTone(t, 700, began, time.Now(), 0.97)
}

// testLostDisk loses all that the streamer has and restores a backup: the loudspeaker hears again, and nobody has
// touched it.
func (s *site) testLostDisk(t *testing.T) {
	s.follow(t, s.server, "Keep a backup")
	s.server.end(t, "bin/streamer", syscall.SIGKILL)
	s.server.sh(t, "rm -rf /var/lib/dongthanh/streamer/* /var/lib/dongthanh/streamer/.[!.]*")
	s.follow(t, s.server, "Restore it")
	m := s.machine(t)
	id := s.speak(t, m, 900, 30)
	began := time.Now()
	<-time.After(2 * time.Second)
	s.wantTone(t, 900, began, time.Now(), 0.97)
	if a := m.post(t, "/sessions/"+id+"/stop", nil); a.status != http.StatusOK {
		t.Errorf("stop: %d %s", a.status, a.body)
	}
}
