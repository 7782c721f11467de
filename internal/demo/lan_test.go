package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"dongthanh/internal/testkit"
)

// Addresses of the office: the streamer stands behind a router that forwards its ports, the official outside.
const (
	serverInside  = "192.168.77.2"
	routerInside  = "192.168.77.1"
	routerOutside = "10.77.0.1"
	officialPC    = "10.77.0.2"
)

// office is three machines: a server behind a router that does DNAT, and an official's computer outside, which has no
// route inside.
type office struct {
	dir                  string
	server, router, desk *machine
}

func newOffice(t *testing.T) *office {
	t.Helper()
	needMachines(t)
	testkit.Program(t, "certutil")
	root := repository(t)
	o := &office{dir: t.TempDir(), server: newMachine(t, "server", root), router: newMachine(t, "router", root), desk: newMachine(t, "desk", root)}
	wire(t, o.server, "eth0", serverInside+"/24", o.router, "inside", routerInside+"/24")
	wire(t, o.desk, "eth0", officialPC+"/24", o.router, "outside", routerOutside+"/24")
	o.server.sh(t, "ip route add default via "+routerInside)
	// Only what docs/operations.md lists is forwarded, one port under another number, and nothing is masqueraded: the server
	// sees who comes.
	o.router.sh(t, `echo 1 > /proc/sys/net/ipv4/ip_forward
nft -f - <<'END'
table ip office {
	chain forwarded {
		type nat hook prerouting priority dstnat;
		ip daddr `+routerOutside+` tcp dport { 8080, 8082, 7443 } dnat to `+serverInside+`
		ip daddr `+routerOutside+` udp dport 8082 dnat to `+serverInside+`
		ip daddr `+routerOutside+` udp dport 17444 dnat to `+serverInside+`:7444
	}
}
END`)
	return o
}

// chromium writes a script that starts Chromium on a machine, for somebody with a home of his own, where the
// certificate authority of the file is installed if there is one.
func (o *office) chromium(t *testing.T, on *machine, authority string) (path string) {
	t.Helper()
	home := t.TempDir()
	if authority != "" {
		db := "sql:" + filepath.Join(home, ".pki", "nssdb")
		must(t, "make a folder", os.MkdirAll(filepath.Join(home, ".pki", "nssdb"), 0o700))
		on.sh(t, fmt.Sprintf("certutil -d %[1]s -N --empty-password && certutil -d %[1]s -A -t C,, -n dong-thanh -i %[2]s", db, authority))
	}
	path = filepath.Join(home, "chromium")
	script := fmt.Sprintf("#!/bin/sh\nexport HOME=%s\nexec nsenter -t %d -n -- %s \"$@\"\n", home, on.pid(), testkit.Program(t, "chromium"))
	must(t, "write a script", os.WriteFile(path, []byte(script), 0o700))
	return path
}

// TestOffice speaks from another machine, through a router, over https with the streamer's own authority.
func TestOffice(t *testing.T) {
	t.Parallel() // on machines of its own
	o := newOffice(t)
	bin := filepath.Join(o.dir, "bin")
	o.server.sh(t, "go build -o "+bin+"/ ./streamer ./client")
	file := func(name, text string) string {
		path := filepath.Join(o.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	streamer := file("streamer.yaml", fmt.Sprintf(`
http: {listen: ":8080", tls: {names: [%[1]s]}}
webrtc: {listen: ":8082", public_ips: [%[1]s]}
nodes: {control: ":7443", media: ":7444", public: "%[1]s:17444"}
store: {dir: %[2]s/streamer}
`, routerOutside, o.dir))
	cli := func(input string, args ...string) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(bin, "streamer"), args...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("streamer %v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	const password = "tre xanh bốn mùa"
	cli("", "zone", "import", "--config", streamer, filepath.Join("..", "..", "configs", "demo", "zones.csv"))
	cli(password+"\n", "user", "add", "--config", streamer, "--role", "officer", "--zone", "31", "canbo")
	token := cli("", "token", "add", "--config", streamer, "--kind", "client", "--name", "Loa 1", "--zone", "31/11296/01")
	o.server.start(t, bin+"/streamer serve --config "+streamer)
	o.server.ready(t, 9089)
	o.desk.sh(t, fmt.Sprintf("%s/client enrol --upstream wss://%s:7443 --token %s --dir %s/client/store", bin, routerOutside, token, o.dir))
	client := file("client.yaml", fmt.Sprintf(`
upstreams: [{control: "wss://%s:7443"}]
store: {dir: %[2]s/client/store}
device: {kind: file, path: %[2]s/client/played.wav}
`, routerOutside, o.dir))
	o.desk.start(t, bin+"/client play --config "+client)

	outside, inside := routerOutside+":8080", serverInside+":8080"
	t.Run("a stranger is told why, and warned", func(t *testing.T) {
		ctx, _ := tabOf(t, o.chromium(t, o.desk, ""), 0)
		must(t, "open plain http", chromedp.Do(ctx, chromedp.Navigate("http://"+outside+"/")))
		if text := eval[string](ctx, t, `document.body.innerText`); !strings.Contains(text, "chỉ cho dùng micrô") {
			t.Errorf("plain http shows %q", text)
		}
		if link := eval[string](ctx, t, `document.getElementById('secure').href`); link != "https://"+outside+"/" {
			t.Errorf("its link leads to %q", link)
		}
		if err := chromedp.Do(ctx, chromedp.Navigate("https://"+outside+"/")); err == nil || !strings.Contains(err.Error(), "ERR_CERT_AUTHORITY_INVALID") {
			t.Errorf("https without the authority: %v, want Chromium's warning", err)
		}
		must(t, "open the page that helps", chromedp.Do(ctx, chromedp.Navigate("http://"+outside+"/ca")))
		if eval[bool](ctx, t, `document.getElementById('trusted').checkVisibility()`) {
			t.Error("the page says that this machine has the certificate")
		}
	})
	authority := filepath.Join(o.dir, "streamer", "keys", "https", "ca", "cert.pem")
	t.Run("from the same network", func(t *testing.T) {
		ctx, _ := tabOf(t, o.chromium(t, o.router, authority), 0)
		must(t, "open the page that helps", chromedp.Do(ctx, chromedp.Navigate("http://"+inside+"/ca")))
		sees(ctx, t, 10*time.Second, "that this machine has the certificate", `document.getElementById('trusted').checkVisibility()`)
		must(t, "open plain http", chromedp.Do(ctx, chromedp.Navigate("http://"+inside+"/")))
		sees(ctx, t, 10*time.Second, "the login page over https", fmt.Sprintf(`location.href == 'https://%s/login'`, inside))
		if !eval[bool](ctx, t, `isSecureContext && !!navigator.mediaDevices`) {
			t.Error("no microphone")
		}
	})
	t.Run("a microphone through the router", func(t *testing.T) {
		o.speak(t, authority, "canbo", password)
	})
}

// speak signs in from outside by plain http, is led to https, goes on air, and listens to what the loudspeaker played.
func (o *office) speak(t *testing.T, authority, user, password string) {
	ctx, _ := tabOf(t, o.chromium(t, o.desk, authority), 1000, allowed)
	r := &rig{dir: o.dir, ready: map[string]string{"console": "http://" + routerOutside + ":8080", "user": user, "password": password}}
	must(t, "open plain http", chromedp.Do(ctx, chromedp.Navigate(r.ready["console"]+"/")))
	sees(ctx, t, 10*time.Second, "the login page over https", `location.href == 'https://`+routerOutside+`:8080/login'`)
	r.ready["console"] = "https://" + routerOutside + ":8080"
	signIn(ctx, t, r)
	press(ctx, t, "input[type=checkbox]", "Xã Tiên Lãng")
	pressed := time.Now()
	press(ctx, t, "button", "Phát trực tiếp")
	sees(ctx, t, 15*time.Second, "on air", statusHas("Đang phát"))
	sees(ctx, t, 10*time.Second, "1/1", statusHas("1/1 loa đang nghe"))
	<-time.After(2 * time.Second)
	press(ctx, t, "button", "Dừng phát")
	stopped := time.Now()
	sees(ctx, t, 5*time.Second, "off air", "!"+statusHas("Đang phát"))
	if faults := eval[[]string](ctx, t, `faults`); len(faults) > 0 {
		t.Errorf("the page's script failed: %q", faults)
	}
	<-time.After(settled)
	p, err := openPlayed(part{Dir: filepath.Join(o.dir, "client")})
	if err != nil {
		t.Fatal(err)
	}
	_, first, _ := p.tonal(1000, pressed, stopped)
	if first.IsZero() {
		t.Fatal("the loudspeaker played nothing of the microphone")
	}
	share, _, _ := p.tonal(1000, first, stopped)
	t.Logf("press to sound %v, tone in %.1f %% of the time", first.Sub(pressed).Round(time.Millisecond), 100*share)
	if share < 0.8 { // all of it, unless the machine is too busy for Chromium to capture
		t.Errorf("the tone in %.1f %% of the time", 100*share)
	}
}
