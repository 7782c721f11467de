package main

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCA: the command makes the authority if there is none, prints the file and its fingerprint, and the same again.
func TestCA(t *testing.T) {
	x := newTerminal(t)
	first, again := x.run("", "ca"), x.run("", "ca")
	out := first.out
	if first.code != 0 || again.code != 0 || again.out != out {
		t.Fatalf("the second time it says %s%s, the first time %s%s", again.out, again.err, out, first.err)
	}
	path := filepath.Join(x.dir, "keys", "https", "ca", "cert.pem")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("%s holds no PEM", path)
	}
	print := fmt.Sprintf("%X", sha256.Sum256(block.Bytes))
	if !strings.Contains(out, path) || !strings.Contains(strings.ReplaceAll(out, " ", ""), "SHA-256"+print) {
		t.Errorf("it prints\n%s\nwant %s and %s", out, path, print)
	}
	x.write("given.yaml", "http: {tls: {cert: /c.pem, key: /k.pem}}\nstore: {dir: "+x.dir+"}\n")
	x.run("", "ca --config "+filepath.Join(filepath.Dir(x.config), "given.yaml")).refused(1, "/c.pem")
}
