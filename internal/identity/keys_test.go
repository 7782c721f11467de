package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dongthanh/internal/signed"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRequest(t *testing.T) {
	k := must(NewKeys())(t)
	signing, sealing, err := ParseRequest(must(k.Request())(t))
	if err != nil || !signing.Equal(k.Signing.Public()) || !sealing.Equal(k.Sealing.PublicKey()) {
		t.Fatalf("ParseRequest(Request()) = %v", err)
	}
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	request := func(key any, uris ...string) []byte {
		r := &x509.CertificateRequest{}
		for _, s := range uris {
			r.URIs = append(r.URIs, must(url.Parse(s))(t))
		}
		return must(x509.CreateCertificateRequest(rand.Reader, r, key))(t)
	}
	hpke := sealingURI(k.Sealing.PublicKey()).String()
	good := request(k.Signing, hpke)
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	point := func(b byte) string { // points of low order: 0 and 1
		return prefix + labelHPKE + ":" + base64.RawURLEncoding.EncodeToString(append([]byte{b}, make([]byte, 31)...))
	}
	for _, c := range []struct {
		name string
		der  []byte
		want string // in the error; empty: accepted
	}{
		{"good", good, ""},
		{"with names it may not choose", request(k.Signing, hpke, "urn:dongthanh:zone:"), ""}, // they are ignored
		{"P-256", request(ec, hpke), "want Ed25519"},
		{"signature altered", forged, "own key"},
		{"no sealing key", request(k.Signing), "0 names"},
		{"two sealing keys", request(k.Signing, hpke, hpke), "2 names"},
		{"sealing key of no base64", request(k.Signing, "urn:dongthanh:hpke:!"), "sealing key"},
		{"sealing key of 3 bytes", request(k.Signing, "urn:dongthanh:hpke:AAAA"), "sealing key"},
		{"sealing key 0", request(k.Signing, point(0)), "low order"},
		{"sealing key 1", request(k.Signing, point(1)), "low order"},
		{"empty", nil, "parse"},
		{"trailing bytes", append(bytes.Clone(good), 0), "parse"},
		{"large", make([]byte, signed.MaxLen+1), "bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := ParseRequest(c.der)
			if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("ParseRequest() = %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzRequest(f *testing.F) {
	der, err := seeded(f, 1).Request()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Fuzz(func(t *testing.T, der []byte) {
		if signing, sealing, err := ParseRequest(der); err == nil && (len(signing) != ed25519.PublicKeySize || sealing == nil) {
			t.Errorf("ParseRequest(%x) gives no keys and no error", der)
		}
	})
}

// FuzzIssuer: certificates come from anybody.
func FuzzIssuer(f *testing.F) {
	n := newNetwork(f, "31", signed.ClassPriority)
	good := n.issuer.Certificate.Raw
	f.Add(good)
	f.Fuzz(func(t *testing.T, der []byte) {
		if _, err := n.roots.VerifyIssuer(der, day); err == nil && !bytes.Equal(der, good) {
			t.Errorf("VerifyIssuer accepts %x", der)
		}
	})
}

// goldens makes one certificate of each sort from fixed keys, serials and times: Ed25519 signs without chance.
func goldens(t testing.TB) map[string][]byte {
	t.Helper()
	root, issuer, node := seeded(t, 1), seeded(t, 2), seeded(t, 3)
	number := func(n int64) *big.Int { return big.NewInt(n) }
	public := func(k Keys) ed25519.PublicKey { return k.Signing.Public().(ed25519.PublicKey) }
	rt := rootTemplate(public(root), number(1), day, 10*year)
	rc := must(issue(rt, rt, public(root), root.Signing))(t)
	ic := must(issue(issuerTemplate(public(issuer), "31", signed.ClassEmergency, number(2), day, day.Add(year)), rc, public(issuer), root.Signing))(t)
	client := must(issue(nodeTemplate(speaker, node.Sealing.PublicKey(), number(3), day, day.Add(year)), ic, public(node), issuer.Signing))(t)
	relay := must(issue(nodeTemplate(mailman, node.Sealing.PublicKey(), number(4), day, day.Add(year)), ic, public(node), issuer.Signing))(t)
	return map[string][]byte{
		"root": rc.Raw, "issuer": ic.Raw, "client": client.Raw, "relay": relay.Raw, "request": must(node.Request())(t),
	}
}

// TestGolden holds the formats: what is enrolled today must be understood in ten years.
func TestGolden(t *testing.T) {
	made := goldens(t)
	for name, der := range made {
		file := filepath.Join("testdata", name+".pem")
		kind := "CERTIFICATE"
		if name == "request" {
			kind = "CERTIFICATE REQUEST"
		}
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if *update {
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	// The stored ones are understood.
	read := func(name string) []byte {
		return must(ReadCertificates(filepath.Join("testdata", name+".pem")))(t)[0]
	}
	roots := must(NewRoots(read("root")))(t)
	issuer := must(roots.VerifyIssuer(read("issuer"), day))(t)
	if issuer.Scope != "31" || issuer.MaxClass != signed.ClassEmergency {
		t.Errorf("golden issuer = %+v", issuer)
	}
	for name, want := range map[string]Node{"client": speaker, "relay": mailman} {
		chain := must(parse([][]byte{read(name), read("issuer"), read("root")}))(t)
		got, _, err := roots.node(chain, day, x509.ExtKeyUsageClientAuth)
		if err != nil || got != want {
			t.Errorf("golden %s = %+v, %v, want %+v", name, got, err, want)
		}
	}
}

// TestStructure holds what other programs will look for.
func TestStructure(t *testing.T) {
	made := goldens(t)
	type shape struct {
		CA           bool
		PathLen      int
		Usage        x509.KeyUsage
		Uses         []x509.ExtKeyUsage
		From, Until  time.Time
		URIs         []string
		Others       int // names of other kinds
		Subject      string
		HasAuthority bool
	}
	// The keys were computed by openssl from the same seeds.
	sealing := "urn:dongthanh:hpke:Xf7dO2vUf2-ijuFdlp1bsOpTd01Ii9r53xxuASSz7yI"
	for name, want := range map[string]shape{
		"root": {
			CA: true, PathLen: 1, Usage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, From: day.Add(-time.Hour), Until: day.Add(10 * year),
			Subject: "CN=root 34750f98,O=Dong Thanh",
		},
		"issuer": {
			CA: true, PathLen: 0, Usage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, From: day, Until: day.Add(year),
			URIs:    []string{"urn:dongthanh:issuer", "urn:dongthanh:zone:31", "urn:dongthanh:class:2"},
			Subject: "CN=issuer 6a3803d5,O=Dong Thanh", HasAuthority: true,
		},
		"client": {
			PathLen: -1, Usage: x509.KeyUsageDigitalSignature, Uses: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, From: day, Until: day.Add(year),
			URIs: []string{
				"urn:dongthanh:node:client-1", "urn:dongthanh:kind:client", "urn:dongthanh:zone:31/11296", sealing,
				"urn:dongthanh:name:Loa%20%C4%91%C3%ACnh%20l%C3%A0ng",
			},
			Subject: "CN=client client-1,O=Dong Thanh", HasAuthority: true,
		},
		"relay": {
			PathLen: -1, Usage: x509.KeyUsageDigitalSignature, Uses: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
			From: day, Until: day.Add(year),
			URIs:    []string{"urn:dongthanh:node:relay-1", "urn:dongthanh:kind:relay", "urn:dongthanh:zone:31/11296", sealing},
			Subject: "CN=relay relay-1,O=Dong Thanh", HasAuthority: true,
		},
	} {
		c := must(x509.ParseCertificate(made[name]))(t)
		got := shape{
			CA: c.IsCA, PathLen: c.MaxPathLen, Usage: c.KeyUsage, Uses: c.ExtKeyUsage, From: c.NotBefore, Until: c.NotAfter,
			Others: len(c.DNSNames) + len(c.IPAddresses) + len(c.EmailAddresses), Subject: c.Subject.String(), HasAuthority: len(c.AuthorityKeyId) > 0,
		}
		for _, u := range c.URIs {
			got.URIs = append(got.URIs, u.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	r := must(x509.ParseCertificateRequest(made["request"]))(t)
	if len(r.URIs) != 1 || r.URIs[0].String() != sealing || r.Subject.String() != "" || r.SignatureAlgorithm != x509.PureEd25519 {
		t.Errorf("request: URIs %v, subject %q, algorithm %s", r.URIs, r.Subject, r.SignatureAlgorithm)
	}
}

// TestOpenSSL: the field's own tool reads and verifies what we make.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	run := func(arguments ...string) string {
		t.Helper()
		out, err := exec.Command(openssl, arguments...).CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(arguments, " "), err, out)
		}
		return string(out)
	}
	file := func(name string) string { return filepath.Join("testdata", name+".pem") }
	for name, want := range map[string][]string{
		"client":  {"ED25519", "URI:urn:dongthanh:zone:31/11296", "URI:urn:dongthanh:hpke:", "TLS Web Client Authentication", "CA:FALSE"},
		"relay":   {"TLS Web Server Authentication", "URI:urn:dongthanh:kind:relay"},
		"issuer":  {"URI:urn:dongthanh:issuer", "CA:TRUE, pathlen:0"},
		"root":    {"CA:TRUE, pathlen:1"},
		"request": {"URI:urn:dongthanh:hpke:", "ED25519"},
	} {
		command := "x509"
		if name == "request" {
			command = "req"
		}
		out := run(command, "-in", file(name), "-noout", "-text")
		for _, s := range want {
			if !strings.Contains(out, s) {
				t.Errorf("openssl's text of %s lacks %q:\n%s", name, s, out)
			}
		}
	}
	run("req", "-in", file("request"), "-noout", "-verify")
	at := "1795500000" // 2026-11-24
	run("verify", "-attime", at, "-CAfile", file("root"), "-untrusted", file("issuer"), "-purpose", "sslclient", file("client"))
	run("verify", "-attime", at, "-CAfile", file("root"), "-untrusted", file("issuer"), "-purpose", "sslserver", file("relay"))
}
