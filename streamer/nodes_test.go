package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/streamer/internal/store"
)

// enrolled puts a loudspeaker on record and returns its id.
func (x *terminal) enrolled() string {
	x.t.Helper()
	token := x.run("", "token add --kind client --name Loa --zone 31").ok()
	s := x.open()
	defer s.Close()
	cfg := defaults()
	cfg.Store.Dir = x.dir
	i, err := openIssuer(x.t.Context(), cfg, s, slog.New(slog.DiscardHandler))
	if err != nil {
		x.t.Fatal(err)
	}
	k, err := identity.NewKeys()
	if err != nil {
		x.t.Fatal(err)
	}
	csr, err := k.Request()
	if err != nil {
		x.t.Fatal(err)
	}
	if _, err := i.Enrol(x.t.Context(), control.EnrolRequest{Token: token, Kind: "client", CSR: csr}); err != nil {
		x.t.Fatal(err)
	}
	nodes, err := s.Nodes(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Kind == store.NodeClient {
			return n.ID
		}
	}
	x.t.Fatal("no loudspeaker is on record")
	return ""
}

func TestNodeCommands(t *testing.T) {
	x := newTerminal(t)
	id := x.enrolled()
	x.run("", "node list").says("Loa", "good", id)
	x.run("", "node move "+id).refused(2, "--zone or --name")
	x.run("", "node move "+id+" --zone 99").refused(1, "99")
	x.run("", "node move nobody --zone 31").refused(1, "nobody")
	x.run("", "node move "+id+" --zone 31/11296 --name Chợ").says("31/11296", "Chợ")
	x.run("", "node list").says("Chợ", "31/11296")
	x.run("", "node remove "+id).says()
	if out := x.run("", "node list").out; strings.Contains(out, id) {
		t.Errorf("it is listed still: %s", out)
	}
	x.run("", "node list --all").says(id, "removed")
	x.run("", "node move "+id+" --zone 31").refused(1, "revoked")
}

func TestBackupCommands(t *testing.T) {
	x := newTerminal(t)
	id := x.enrolled()
	x.run(password, "user add lan --role officer --zone 31").ok()
	secret := x.write("secret", "hoa phượng đỏ bên sông\n")
	file := filepath.Join(t.TempDir(), "b.tar")
	if b := x.run("", "backup "+file); !strings.Contains(b.err, "WARNING") {
		t.Errorf("a backup in clear warns of nothing: %q", b.err)
	}
	x.run("", "backup "+file).refused(1, "exists")
	x.run("", "backup "+file+".age --passphrase-file "+secret).ok()
	x.run("", "restore "+file).refused(1, "not empty")
	was := x.dir
	for _, c := range []struct{ from, flag string }{{file, ""}, {file + ".age", " --passphrase-file " + secret}} {
		x.dir = filepath.Join(t.TempDir(), "new")
		x.write("streamer.yaml", "store: {dir: "+x.dir+"}\n")
		x.run("", "restore "+c.from+c.flag).says("restored", x.dir)
		x.run("", "node list").says(id)
	}
	x.dir = filepath.Join(t.TempDir(), "none")
	x.write("streamer.yaml", "store: {dir: "+x.dir+"}\n")
	x.run("", "backup "+file+"2").refused(1, "no store")
	if _, err := os.Stat(x.dir); err == nil {
		t.Error("backing up nothing has made a store")
	}
	x.run("", "restore "+file+".age").refused(1, "sealed")
	x.run("", "restore "+was).refused(1, was)
}

// says checks that a command succeeded and that what it prints holds each part.
func (c typed) says(parts ...string) {
	c.t.Helper()
	for _, part := range parts {
		if !strings.Contains(c.out, part) {
			c.t.Errorf("%s: want %q in\n%s", c.args, part, c.out)
		}
	}
	if c.code != 0 || c.err != "" {
		c.t.Errorf("%s: exit %d\n%s", c.args, c.code, c.err)
	}
}
