package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/program"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/issuer"
	"dongthanh/streamer/internal/store"
)

func TestMain(m *testing.M) {
	if order := os.Getenv(loadKey); order != "" {
		if err := crowd(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

const password = "bốn con trâu đỏ"

// terminal is where commands of one streamer are typed.
type terminal struct {
	t      *testing.T
	dir    string // of the store
	config string // file
}

// typed is what came of a command.
type typed struct {
	t        *testing.T
	args     string
	code     int
	out, err string
}

// newTerminal is one with a store of its own, in which there are two zones.
func newTerminal(t *testing.T) *terminal {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	x := &terminal{t: t, dir: filepath.Join(dir, "store"), config: filepath.Join(dir, "streamer.yaml")}
	x.write("streamer.yaml", "store: {dir: "+x.dir+"}\n")
	s := x.open()
	defer s.Close()
	if _, _, err := s.UpsertZones(t.Context(), []store.Zone{{Code: "31", Name: "Hải Phòng"}, {Code: "31/11296", Name: "Xã Vĩnh Bảo"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return x
}

// write makes a file beside the configuration.
func (x *terminal) write(name, text string) (path string) {
	x.t.Helper()
	path = filepath.Join(filepath.Dir(x.config), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		x.t.Fatal(err)
	}
	return path
}

func (x *terminal) open() *store.Store {
	x.t.Helper()
	s, err := store.Open(x.t.Context(), x.dir, nil)
	if err != nil {
		x.t.Fatal(err)
	}
	return s
}

// run types a command with the terminal's configuration. Words are split at spaces; %s stands for an argument with
// spaces of its own.
func (x *terminal) run(in, line string, args ...string) typed {
	x.t.Helper()
	words := strings.Fields(line)
	for i, w := range words {
		if w == "%s" {
			words[i], args = args[0], args[1:]
		}
	}
	if !strings.Contains(line, "--config") {
		words = append(words, "--config", x.config)
	}
	var out, errs bytes.Buffer
	code := commands().Run(x.t.Context(), program.IO{In: strings.NewReader(in), Out: &out, Err: &errs}, words)
	return typed{x.t, strings.Join(words, " "), code, out.String(), errs.String()}
}

// ok checks that a command succeeded without a word of complaint, and returns its only line.
func (c typed) ok() string {
	c.t.Helper()
	if c.code != program.ExitOK || c.err != "" || strings.Count(c.out, "\n") != 1 {
		c.t.Fatalf("%s: exit %d\n%s%s", c.args, c.code, c.out, c.err)
	}
	return strings.TrimSpace(c.out)
}

// refused checks the exit code, that the reason is one line, and that it holds what.
func (c typed) refused(code int, what string) {
	c.t.Helper()
	if c.code != code || c.out != "" || strings.Count(c.err, "\n") != 1 || !strings.Contains(c.err, what) {
		c.t.Errorf("%s: exit %d, want %d and one line with %q\n%s%s", c.args, c.code, code, what, c.out, c.err)
	}
}

func TestUserAdd(t *testing.T) {
	x := newTerminal(t)
	id := x.run(password+"\n", "user add lan --role officer --zone 31/11296").ok()
	x.run(password+"\r\n", "user add quantri --role admin").ok() // typed on Windows
	s := x.open()
	defer s.Close()
	people, err := accounts.New(accounts.Options{Records: s, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]accounts.Principal{
		"lan": {ID: id, Name: "lan", Role: accounts.Officer, Zone: "31/11296"}, "quantri": {Role: accounts.Admin},
	} {
		p, err := people.Authenticate(t.Context(), name, password, netip.MustParseAddr("127.0.0.1"))
		if err != nil || p.Role != want.Role || p.Zone != want.Zone || (want.ID != "" && p.ID != want.ID) {
			t.Errorf("%s signs in as %+v, %v; want %+v", name, p, err, want)
		}
	}
	for _, c := range []struct {
		in, line string
		args     []string
		code     int
		want     string
	}{
		{password, "user add lan", nil, 1, "add user lan: user name is taken"},
		{password, "user add %s", []string{"lan anh"}, 1, "user name is not 1 to 64"},
		{password, "user add minh --role king", nil, 2, `--role "king": want one of admin, officer, editor, approver, technician, auditor`},
		{password, "user add minh --zone 31/99", nil, 1, "unknown zone"},
		{password, "user add minh --zone %s", []string{"31/a b"}, 2, "--zone: "},
		{"", "user add minh", nil, 1, "password is too short"},
		{"\n" + password, "user add minh", nil, 1, "password is too short"},
		{"123456789012", "user add minh", nil, 1, "password has no letters"},
		{"minhminhminh", "user add minh", nil, 1, "password"},
		{strings.Repeat("x", 5000), "user add minh", nil, 1, "password is too long"},
	} {
		x.run(c.in, c.line, c.args...).refused(c.code, c.want)
	}
	for _, line := range []string{"user add", "user add a b", "user add --rolle x minh", "user", "user del lan"} {
		if c := x.run(password, line); c.code != program.ExitUsage || c.out != "" {
			t.Errorf("%s: exit %d, want 2", line, c.code)
		}
	}
}

func TestZoneImport(t *testing.T) {
	x := newTerminal(t)
	for _, c := range []struct{ name, text, want string }{
		{"with a heading", "code,name\n33,Hưng Yên\n33/1,Xã Một\n", "2 zones added, 0 renamed"},
		{"again, one renamed", "33,Hưng Yên\n33/1,\"Xã Một, huyện Hai\"\n", "0 zones added, 1 renamed"},
		{"from a spreadsheet", "\ufeffcode,name\r\n34,Quảng Trị\r\n", "1 zones added, 0 renamed"},
		{"from a spreadsheet, in quotes", "\ufeff\"Code\",\"Name\"\r\n\"35\",\"Ninh Bình\"\r\n", "1 zones added, 0 renamed"},
		{"children before parents, blank lines", "\n36/1/2, Thôn Hai\n\n36/1 ,Xã Một\n36,Lào Cai\n", "3 zones added, 0 renamed"},
		{"nothing", "", "0 zones added, 0 renamed"},
		{"a heading alone", "code,name\n", "0 zones added, 0 renamed"},
	} {
		if got := x.run("", "zone import %s", x.write("zones.csv", c.text)).ok(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	s := x.open()
	defer s.Close()
	if z, err := s.Zone(t.Context(), "33/1"); err != nil || z.Name != "Xã Một, huyện Hai" {
		t.Errorf("33/1 is %q, %v", z.Name, err)
	}
	for _, c := range []struct{ name, text, want string }{
		{"three columns", "37,Sơn La\n38,Hà,Tĩnh\n", "line 2: wrong number of fields"},
		{"one column", "37\n", "line 1: wrong number of fields"},
		{"a code that is none", "37,Sơn La\n\n37/a b,Xã\n", "line 3: zone \"37/a b\""},
		{"an open quote", "37,\"Sơn La\n", "line"},
		{"no parent", "37/1,Xã\n", `zone "37/1" lies in no known zone`},
		{"no name", "37,\n", "empty name"},
		{"a code twice", "37,Sơn La\n37,Điện Biên\n", `named both`},
		{"a name in another encoding", "37,S\xf4n La\n", "UTF-8"},
		{"a name that turns the line around", "37,Sơn\u202eLa\n", "control character"},
	} {
		path := x.write("bad.csv", c.text)
		x.run("", "zone import %s", path).refused(1, c.want)
	}
	x.run("", "zone import %s", x.dir+"/none.csv").refused(1, "none.csv: no such file")
	x.run("", "zone import %s", x.dir).refused(1, "is a directory")
	if _, err := s.Zone(t.Context(), "37"); err == nil {
		t.Error("a file with a fault was imported in part")
	}
}

func TestEnrolmentTokens(t *testing.T) {
	x := newTerminal(t)
	relay := x.run("", "token add --kind relay --name %s --zone 31", "Trạm tỉnh").ok()
	client := x.run("", "token add --kind client --name loa-1 --zone 31/11296 --ttl 30m").ok()
	s := x.open()
	defer s.Close()
	i, err := issuer.Open(t.Context(), issuer.Options{Dir: filepath.Join(x.dir, "keys"), Store: s, MaxClass: 2, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]struct {
		kind identity.Kind
		name string
		zone zone.Zone
		life time.Duration
	}{relay: {identity.Relay, "Trạm tỉnh", "31", 24 * time.Hour}, client: {identity.Client, "loa-1", "31/11296", 30 * time.Minute}} {
		token, err := identity.ParseToken(text)
		if err != nil || token.Kind != want.kind || token.Root != i.Root() {
			t.Fatalf("token %+v, %v; want one of a %s that pins the streamer's root", token, err, want.kind)
		}
		kept, err := s.Token(t.Context(), token.Hash())
		if err != nil || kept.Name != want.name || kept.Zone != want.zone || kept.Expires.Sub(kept.Created) != want.life || kept.CreatedBy != "cli" {
			t.Errorf("stored %+v, %v", kept, err)
		}
		keys, err := identity.NewKeys()
		if err != nil {
			t.Fatal(err)
		}
		csr, err := keys.Request()
		if err != nil {
			t.Fatal(err)
		}
		response, err := i.Enrol(t.Context(), control.EnrolRequest{Token: text, Kind: string(want.kind), CSR: csr})
		if err != nil {
			t.Fatal(err)
		}
		c, err := token.Accept(keys, response.Chain, response.Roots, time.Now())
		if err != nil || c.Node.Name != want.name || c.Node.Zone != want.zone {
			t.Errorf("enrolled as %+v, %v", c, err)
		}
	}
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"token add --name a --zone 31", 2, `--kind "": want relay, client or api`},
		{"token add --kind streamer --name a --zone 31", 2, `--kind "streamer"`},
		{"token add --kind relay --zone 31", 2, "--name is missing"},
		{"token add --kind relay --name a --zone 31//1", 2, "--zone: "},
		{"token add --kind relay --name a --zone 99", 1, "unknown zone"},
		{"token add --kind relay --name a --zone 31 --ttl 0", 2, "must end"},
		{"token add --kind client --name a --zone 31 --ttl -5m", 2, "--ttl -5m0s"},
		{"token add --kind client --name a --zone 31 --role officer", 2, `--role "officer": a client has none`},
	} {
		x.run("", c.line).refused(c.code, c.want)
	}
	if c := x.run("", "token add --kind relay --name a --ttl soon"); c.code != program.ExitUsage || !strings.Contains(c.err, "-ttl") {
		t.Errorf("%s: exit %d, %s", c.args, c.code, c.err)
	}
}

func TestAPITokens(t *testing.T) {
	x := newTerminal(t)
	plain := x.run("", "token add --kind api --role officer --zone 31").ok()
	named := x.run("", "token add --kind api --role auditor --zone 31/11296 --name %s --ttl 1h", "Máy thống kê").ok()
	s := x.open()
	defer s.Close()
	now := time.Now()
	people, err := accounts.New(accounts.Options{Records: s, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	p, err := people.ByAPIToken(t.Context(), plain)
	if err != nil || p.Name != "api" || p.Role != accounts.Officer || p.Zone != "31" || !p.Machine {
		t.Errorf("%+v, %v", p, err)
	}
	if q, err := people.ByAPIToken(t.Context(), named); err != nil || q.Name != "Máy thống kê" || q.Role != accounts.Auditor || q.Zone != "31/11296" {
		t.Errorf("%+v, %v", q, err)
	}
	enrolment := x.run("", "token add --kind client --name loa-1 --zone 31").ok()

	list := x.run("", "token list")
	lines := strings.Split(strings.TrimSpace(list.out), "\n")
	if list.code != 0 || list.err != "" || len(lines) != 4 || strings.Join(strings.Fields(lines[0]), " ") != "ID KIND NAME ZONE ROLE EXPIRES STATE" {
		t.Fatalf("token list: exit %d\n%s%s", list.code, list.out, list.err)
	}
	for _, secret := range []string{plain, named, enrolment} {
		if strings.Contains(list.out, secret) || strings.Contains(list.out, secret[4:30]) {
			t.Error("the list shows a secret")
		}
	}
	if !strings.Contains(lines[1], "client  loa-1") || !strings.HasSuffix(lines[3], "good") || !strings.Contains(lines[3], "never") || !strings.HasPrefix(lines[3], p.ID) {
		t.Errorf("token list:\n%s", list.out)
	}

	for range 2 {
		if c := x.run("", "token revoke "+p.ID); c.code != 0 || c.out+c.err != "" {
			t.Errorf("revoke: exit %d, %s%s", c.code, c.out, c.err)
		}
	}
	if _, err := people.ByAPIToken(t.Context(), plain); err == nil {
		t.Error("a revoked token is good")
	}
	now = now.Add(2 * time.Hour)
	if _, err := people.ByAPIToken(t.Context(), named); err == nil {
		t.Error("a token is good after its end")
	}
	if list := x.run("", "token list"); !strings.HasSuffix(strings.TrimSpace(list.out), "revoked") {
		t.Errorf("token list:\n%s", list.out)
	}
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"token revoke 01930000-0000-7000-8000-000000000000", 1, "not found"},
		{"token add --kind api --zone 31", 2, `--role "": want one of`},
		{"token add --kind api --role king --zone 31", 2, `--role "king": want one of`},
		{"token add --kind api --role officer --zone 99", 1, `unknown zone "99"`},
		{"token add --kind api --role officer --zone 31 --ttl -1h", 2, "--ttl -1h0m0s"},
	} {
		x.run("", c.line).refused(c.code, c.want)
	}
	if c := x.run("", "token revoke"); c.code != program.ExitUsage {
		t.Errorf("token revoke without an id: exit %d", c.code)
	}
}

func TestTokenState(t *testing.T) {
	now := time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC)
	for want, token := range map[string]store.Token{
		"good":       {Expires: now.Add(1)},
		"expired":    {Expires: now.Add(-1)},
		"used by n1": {Expires: now.Add(-1), Used: now, UsedBy: "n1"},
		"revoked":    {Used: now, UsedBy: "n1", Revoked: now},
	} {
		if got := tokenState(token, now); got != want {
			t.Errorf("state of %+v = %q, want %q", token, got, want)
		}
	}
	if got := tokenState(store.Token{}, now); got != "good" {
		t.Errorf("state of a token without an end = %q", got)
	}
}

// TestStoreFaults: what the disk or the configuration does to every command.
func TestStoreFaults(t *testing.T) {
	x := newTerminal(t)
	bad := x.write("bad.yaml", "store: {dir: \"\"}\nhttp: {listn: \":1\"}\n")
	file := x.write("file.yaml", "store: {dir: "+x.config+"}\n")
	for _, line := range []string{"user add minh", "token list", "token add --kind api --role officer", "zone import " + x.config, "token revoke x"} {
		c := x.run(password, line+" --config "+bad)
		if c.code != program.ExitUsage || c.out != "" || !strings.Contains(c.err, "http.listn: unknown key") || !strings.Contains(c.err, "store.dir: name a directory") {
			t.Errorf("%s: exit %d\n%s%s", c.args, c.code, c.out, c.err)
		}
		x.run(password, line+" --config "+x.dir+"/none.yaml").refused(2, "none.yaml: no such file")
		x.run(password, line+" --config "+file).refused(1, "not a directory")
	}
}

// TestCheck prints every fault, one a line, each with its path.
func TestCheck(t *testing.T) {
	x := newTerminal(t)
	if got := x.run("", "check").ok(); got != "ok" {
		t.Errorf("check = %q", got)
	}
	if got := x.run("", "check --config ../configs/streamer.yaml").ok(); got != "ok" {
		t.Errorf("check of the sample = %q", got)
	}
	bad := x.write("bad.yaml", `http: {listen: "0.0.0.0:8080", tls: {cert: a.pem, acme_domain: loa.example}}
webrtc: {listen: ":70000", public_ips: [loa.example]}
admin: {listen: nowhere}
nodes: {control: "", media: ":x", public: "a b"}
redis: {url: "http://localhost"}
store: {dir: ""}
sessions: {microphone_wait: soon, encoder: {bitrate: 1, complexity: 11}}
unknown: 1
`)
	c := x.run("", "check --config "+bad)
	var paths []string
	for line := range strings.Lines(c.out) {
		path, what, _ := strings.Cut(line, ": ")
		paths = append(paths, path)
		if strings.TrimSpace(what) == "" {
			t.Errorf("no word about %s", path)
		}
	}
	want := []string{
		"sessions.microphone_wait", "unknown", "http.tls", "http.tls.acme_domain", "webrtc.listen", "webrtc.public_ips.0", "admin.listen",
		"nodes.control", "nodes.media", "nodes.public", "redis.url", "store.dir", "sessions.encoder.bitrate", "sessions.encoder.complexity",
	}
	if c.code != program.ExitUsage || c.err != "" || fmt.Sprint(paths) != fmt.Sprint(want) {
		t.Errorf("check: exit %d, faults of\n%v\nwant\n%v\n%s%s", c.code, paths, want, c.out, c.err)
	}
	serve := x.run("", "serve --config "+bad)
	if serve.code != program.ExitUsage || serve.out != "" || strings.Count(serve.err, "\n") < len(want) {
		t.Errorf("serve: exit %d\n%s", serve.code, serve.err)
	}
}

func TestVersionAndUsage(t *testing.T) {
	x := newTerminal(t)
	var out bytes.Buffer
	std := program.IO{In: strings.NewReader(""), Out: &out, Err: &out}
	if code := commands().Run(context.Background(), std, []string{"version"}); code != 0 || !strings.HasPrefix(out.String(), "streamer ") {
		t.Errorf("version: exit %d, %s", code, out.String())
	}
	out.Reset()
	if code := commands().Run(context.Background(), std, nil); code != program.ExitUsage {
		t.Errorf("no command: exit %d", code)
	}
	for _, name := range []string{"serve", "check", "user add NAME", "zone import FILE", "token add", "token list", "token revoke ID", "version"} {
		if !strings.Contains(out.String(), "streamer "+name) {
			t.Errorf("the usage does not tell of %q:\n%s", name, out.String())
		}
	}
	if c := x.run("", "sevre"); c.code != program.ExitUsage || !strings.Contains(c.err, `unknown command "sevre"`) {
		t.Errorf("sevre: exit %d, %s", c.code, c.err)
	}
}
