package webcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/config"
)

const day = 24 * time.Hour

func TestOwnAuthority(t *testing.T) {
	now := time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	r := keep(t, dir, now, Config{Names: []string{"Loa.Xa-Tien-Lang.vn", "203.0.113.9"}})
	here := Here(nil)
	names := []string{"localhost", "127.0.0.1", "::1", "loa.xa-tien-lang.vn", "203.0.113.9", here.Host}
	for _, p := range here.Addresses {
		if !p.Addr().IsLinkLocalUnicast() {
			names = append(names, p.Addr().String())
		}
	}
	for _, name := range names {
		if err := r.trusts(name); err != nil {
			t.Errorf("who has installed the authority does not trust %s: %v", name, err)
		}
	}
	for _, name := range []string{"example.com", "loa.example", "203.0.113.10"} {
		if r.trusts(name) == nil {
			t.Errorf("the certificate is good for %s", name)
		}
	}
	ca, leaf := r.Authority().Certificate, r.shown("")
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 397*day || life < 396*day {
		t.Errorf("the certificate lives for %v, want 397 days", life)
	}
	if life := ca.NotAfter.Sub(now); life < 3649*day || !ca.IsCA || !ca.MaxPathLenZero || leaf.IsCA {
		t.Errorf("the authority lives for %v, want ten years: %+v", life, ca.Subject)
	}
	if r.gauge("own") != float64(leaf.NotAfter.Unix()) || r.Note() != "" || !r.Own("") {
		t.Errorf("metric %v, note %q, own %v", r.gauge("own"), r.Note(), r.Own(""))
	}
	for _, f := range []string{"ca/key.pem", "ca/cert.pem", "server/key.pem"} {
		if i, err := os.Stat(filepath.Join(dir, f)); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", f, i.Mode(), err)
		}
	}
	// The same again after a restart: browsers remember the exception of who has not installed the authority.
	if again := keep(t, dir, now.Add(day), Config{Names: []string{"loa.xa-tien-lang.vn", "203.0.113.9"}}); !again.shown("").Equal(leaf) {
		t.Error("a restart made another certificate")
	}
}

// TestStolenAuthority: a key that is stolen can vouch for no site of the Internet, for no client and for no further
// authority.
func TestStolenAuthority(t *testing.T) {
	now := time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)
	r := keep(t, t.TempDir(), now, Config{})
	a := r.Authority()
	for name, want := range map[string]bool{
		"localhost": true, "may-chu.local": true, "10.1.2.3": true, "192.168.9.9": true, "fd12::1": true,
		"example.com": false, "vietcombank.com.vn": false, "local.example.com": false, "203.0.113.77": false, "2001:db8:1::1": false,
	} {
		dir := t.TempDir()
		if err := a.issue(dir, []string{name}, now); err != nil {
			t.Fatal(err)
		}
		chain, _, err := readPair(leafPath(dir))
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(a.Certificate)
		_, err = chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: pool, CurrentTime: now})
		if (err == nil) != want {
			t.Errorf("a certificate for %s: %v, want accepted: %v", name, err, want)
		}
		if a.permits(name) != want {
			t.Errorf("permits(%s) = %v, want %v as clients judge", name, !want, want)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sub := &x509.Certificate{SerialNumber: serial(), NotBefore: now, NotAfter: now.Add(day), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, sub, a.Certificate, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: serial(), NotBefore: now, NotAfter: now.Add(day), DNSNames: []string{"localhost"}}
	if der, err = x509.CreateCertificate(rand.Reader, leaf, parsed, &key.PublicKey, key); err != nil {
		t.Fatal(err)
	}
	end, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(a.Certificate)
	between.AddCert(parsed)
	if _, err := end.Verify(x509.VerifyOptions{DNSName: "localhost", Roots: roots, Intermediates: between, CurrentTime: now}); err == nil {
		t.Error("a further authority is accepted")
	}
}

// TestRenewal: at two thirds of its life, and when a name is missing, the certificate is made anew without a restart;
// the authority stays.
func TestRenewal(t *testing.T) {
	now := time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)
	r := keep(t, t.TempDir(), now, Config{})
	first, ca := r.shown(""), r.Authority().Certificate
	r.set(now.Add(397 * day * 2 / 3).Add(-2 * day))
	r.look()
	if !r.shown("").Equal(first) {
		t.Error("renewed before two thirds of its life")
	}
	r.set(now.Add(397 * day * 2 / 3))
	r.look()
	second := r.shown("")
	if second.Equal(first) || second.NotAfter.Sub(r.time()) < 395*day || r.trusts("localhost") != nil {
		t.Errorf("not renewed at two thirds: ends %v at %v", second.NotAfter, r.time())
	}
	r.o.Config.Names = []string{"loa-xa.local"} // as a new address would
	r.look()
	if third := r.shown(""); third.Equal(second) || r.trusts("loa-xa.local") != nil {
		t.Errorf("a new name is missing: %v", third.DNSNames)
	}
	if !r.Authority().Certificate.Equal(ca) {
		t.Error("the authority was replaced")
	}
	// A name that the authority may not vouch for would spoil the others: clients refuse the whole certificate.
	r.o.Config.Names = []string{"loa.example"}
	r.look()
	r.look()
	if err := r.trusts("localhost"); err != nil {
		t.Errorf("a name outside the authority's spoils the rest: %v", err)
	}
	if n := strings.Count(r.log.String(), "loa.example"); n != 1 || !strings.Contains(r.log.String(), "remove its folder") {
		t.Errorf("a name outside the authority's is in the log %d times, want once, with the remedy: %s", n, r.log)
	}
	// A clock that was set back makes one that is valid now.
	r.set(now.Add(-30 * day))
	r.look()
	if c := r.shown(""); c.NotBefore.After(r.time()) {
		t.Errorf("valid from %v at %v", c.NotBefore, r.time())
	}
}

// TestEndOfAuthority: half a year before, somebody is told; the last certificate lives until then, and is not made anew
// again and again.
func TestEndOfAuthority(t *testing.T) {
	now := time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)
	r := keep(t, t.TempDir(), now, Config{})
	end := r.Authority().Certificate.NotAfter
	r.set(end.Add(-200 * day))
	r.look()
	last := r.shown("")
	if !last.NotAfter.Equal(end) || r.Note() != "" {
		t.Errorf("the last certificate ends %v, its authority %v, note %q", last.NotAfter, end, r.Note())
	}
	for _, before := range []time.Duration{179 * day, day, -day} {
		r.set(end.Add(-before))
		r.look()
		if !r.shown("").Equal(last) || !strings.Contains(r.Note(), "authority for browsers ends on "+end.Format(time.DateOnly)) {
			t.Errorf("%v before the end: another certificate, or note %q", before, r.Note())
		}
	}
}

// TestLostClock: what a machine makes that believes it is 1970 is valid on machines that know better.
func TestLostClock(t *testing.T) {
	r := keep(t, t.TempDir(), time.Unix(100, 0), Config{})
	r.look()
	r.set(firstRelease.Add(30 * day))
	if err := r.trusts("localhost"); err != nil {
		t.Error(err)
	}
}

func TestGivenFiles(t *testing.T) {
	now := time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	cfg := signed(t, dir, now.Add(60*day), "loa.example")
	r := keep(t, t.TempDir(), now, cfg)
	first := r.shown("loa.example")
	if r.Authority() != nil || r.Own("loa.example") || r.Note() != "" || r.gauge("given") != float64(now.Add(60*day).Unix()) {
		t.Errorf("authority %v, own %v, note %q, metric %v", r.Authority(), r.Own(""), r.Note(), r.gauge("given"))
	}
	r.set(now.Add(47 * day)) // 13 days before the end
	r.warn()
	r.warn()
	if !strings.Contains(r.Note(), "cert.pem ends on 2027-04-30") || strings.Count(r.log.String(), "ends soon") != 1 {
		t.Errorf("note %q, log %s, want both to complain, the log once a day", r.Note(), r.log)
	}
	r.set(now.Add(61 * day))
	if !strings.Contains(r.Note(), "has ended") {
		t.Errorf("note after the end: %q", r.Note())
	}
	// Half of a pair that is being replaced, then rubbish: the old one stays.
	old, err := os.ReadFile(cfg.Key)
	if err != nil {
		t.Fatal(err)
	}
	signed(t, dir, now.Add(150*day), "loa.example")
	whole, err := os.ReadFile(cfg.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range [][]byte{old, nil, []byte("rubbish")} {
		if err := os.WriteFile(cfg.Key, key, 0o600); err != nil {
			t.Fatal(err)
		}
		r.look()
		if !r.shown("loa.example").Equal(first) {
			t.Fatal("half a pair was put in force")
		}
	}
	if !strings.Contains(r.log.String(), "stays in force") {
		t.Errorf("nothing in the log: %s", r.log)
	}
	if err := os.WriteFile(cfg.Key, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	r.look()
	if c := r.shown("loa.example"); c.Equal(first) || r.Note() != "" || r.gauge("given") != float64(c.NotAfter.Unix()) {
		t.Errorf("the new pair is not in force: ends %v, note %q", c.NotAfter, r.Note())
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	now := time.Now()
	good, other := signed(t, t.TempDir(), now.Add(day)), signed(t, t.TempDir(), now.Add(day))
	missing := filepath.Join(t.TempDir(), "none.pem")
	for name, cfg := range map[string]Config{
		"no such file":        {Cert: missing, Key: missing},
		"somebody else's key": {Cert: good.Cert, Key: other.Key},
		"a key for a chain":   {Cert: good.Key, Key: good.Key},
	} {
		_, err := Open(Options{Config: cfg, Dir: t.TempDir(), Now: time.Now, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		if err == nil || !strings.HasPrefix(err.Error(), "http.tls: ") || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), ".pem") {
			t.Errorf("%s: %v, want one line that names the file", name, err)
		}
	}
}

// TestDamagedAuthority: files that were tampered with are refused, and never replaced: every computer would have to
// install the new ones.
func TestDamagedAuthority(t *testing.T) {
	for name, damage := range map[string]func(ca string) error{
		"a key that others can read": func(ca string) error { return os.Chmod(filepath.Join(ca, keyName), 0o644) },
		"no key":                     func(ca string) error { return os.WriteFile(filepath.Join(ca, keyName), nil, 0o600) },
		"no certificate":             func(ca string) error { return os.WriteFile(filepath.Join(ca, certName), []byte("x"), 0o600) },
	} {
		dir := t.TempDir()
		keep(t, dir, time.Now(), Config{})
		if err := damage(caPath(dir)); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenAuthority(dir, Here(nil), time.Now()); err == nil || !strings.Contains(err.Error(), ".pem") {
			t.Errorf("%s: %v, want an error that names the file", name, err)
		}
	}
	// A damaged server certificate is only made anew.
	dir := t.TempDir()
	keep(t, dir, time.Now(), Config{})
	if err := os.WriteFile(filepath.Join(leafPath(dir), certName), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keep(t, dir, time.Now(), Config{}).trusts("localhost"); err != nil {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	n := Names{Host: "May-Chu", Addresses: []netip.Prefix{
		netip.MustParsePrefix("192.168.1.5/24"), netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("fe80::1/64"),
		netip.MustParsePrefix("2001:db8::5/64"), netip.MustParsePrefix("198.51.100.7/28"),
	}, Further: []string{"LOA.example.", "::ffff:203.0.113.9"}}
	n.Host = strings.ToLower(n.Host)
	got := strings.Join(n.all(), " ")
	if want := "127.0.0.1 192.168.1.5 198.51.100.7 2001:db8::5 203.0.113.9 ::1 loa.example localhost may-chu may-chu.local"; got != want {
		t.Errorf("all = %s, want %s", got, want)
	}
	if got := strings.Join(n.domains(), " "); got != "loa.example local localhost may-chu" {
		t.Errorf("domains = %s", got)
	}
	var ranges []string
	for _, r := range n.ranges() {
		ranges = append(ranges, r.String())
	}
	if got, want := strings.Join(ranges[len(local):], " "), "2001:db8::/64 198.51.100.0/28 203.0.113.9/32"; got != want {
		t.Errorf("ranges beyond the local ones = %s, want %s", got, want)
	}
}

func TestValidate(t *testing.T) {
	acme := func(change func(*Config)) Config {
		c := DefaultConfig()
		c.ACME = "loa.example.vn"
		if change != nil {
			change(&c)
		}
		return c
	}
	for _, c := range []struct {
		cfg  Config
		want string // the paths of the faults
	}{
		{DefaultConfig(), ""},
		{Config{Cert: "c", Key: "k"}, ""},
		{Config{Cert: "c"}, "."},
		{Config{Key: "k"}, "."},
		{Config{Names: []string{"loa", "loa.xa.vn", "loa.", "10.0.0.1", "fd00::1", "xn--lng-fsa.vn"}}, ""},
		{Config{Names: []string{"ok", "https://loa", "loa:8080", "làng.vn", "", "-a", "10.0.0.256.", "a..b", "fe80::1%eth0", "0.0.0.0"}}, "names.1 names.2 names.3 names.4 names.5 names.6 names.7 names.8 names.9"},
		{acme(nil), ""},
		{acme(func(c *Config) { c.ACMEEmail, c.ACMEListen = "a@example.vn", ":80" }), ""},
		{acme(func(c *Config) { c.ACME = "10.0.0.1" }), "acme_domain"},
		{acme(func(c *Config) { c.ACME = "localhost" }), "acme_domain"},
		{acme(func(c *Config) { c.ACME = "https://loa.vn" }), "acme_domain"},
		{acme(func(c *Config) { c.ACMEDirectory = "http://ca.vn/dir" }), "acme_directory"},
		{acme(func(c *Config) { c.ACMEDirectory = "" }), "acme_directory"},
		{acme(func(c *Config) { c.ACMEEmail = "Nam <a@example.vn>" }), "acme_email"},
		{acme(func(c *Config) { c.ACMEListen = "80" }), "acme_listen"},
		{acme(func(c *Config) { c.Cert, c.Key = "c", "k" }), "acme_domain"},
		{Config{ACMEListen: ":80"}, "acme_listen"},
	} {
		var got []string
		for _, f := range c.cfg.Validate() {
			if f.Path == "" {
				f.Path = "."
			}
			got = append(got, f.Path)
			if strings.Contains(config.Faults{f}.Error(), "\n") {
				t.Errorf("%+v: fault of more than one line: %s", c.cfg, f)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("faults of %+v: %q, want %q", c.cfg, s, c.want)
		}
	}
}

func TestFingerprints(t *testing.T) {
	long, short := Fingerprints([]byte("abc"))
	if want := "BA78 16BF 8F01 CFEA 4141 40DE 5DAE 2223 B003 61A3 9617 7A9C B410 FF61 F200 15AD"; long != want { // FIPS 180-2 B.1
		t.Errorf("SHA-256 = %s, want %s", long, want)
	}
	if want := "A999 3E36 4706 816A BA3E 2571 7850 C26C 9CD0 D89D"; short != want { // FIPS 180-2 A.1
		t.Errorf("SHA-1 = %s, want %s", short, want)
	}
}
