// Package webcert owns the certificates that browsers see: those of the streamer's own authority for a LAN without a
// public name, given files, or ACME's. It renews them without a restart. The nodes' keys are none of its business
// (package issuer): whoever steals these can pose as the console, never as a loudspeaker's streamer. Only the
// streamer's main package and its command line make one; web and console read it.
package webcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" // #nosec G505 -- for fingerprints that people compare
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dongthanh/internal/identity"
)

const (
	// caLife: a technician who walks from office to office must not do so twice in the life of a machine.
	caLife = 10 * 365 * 24 * time.Hour
	// leafLife is below the 398 days beyond which browsers refuse a certificate (Baseline Requirements §6.3.2); Apple
	// allows private authorities 825.
	leafLife = 397 * 24 * time.Hour
	// backdate forgives a visitor whose clock is slow.
	backdate = 24 * time.Hour

	caDir    = "ca"
	leafDir  = "server"
	keyName  = "key.pem"
	certName = "cert.pem"
)

// firstRelease is before any true date on which this program ran: a machine whose clock says less has lost it, and what
// it signs must be valid on machines that have not.
var firstRelease = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// Authority is the streamer's own certificate authority for browsers. Its methods may be called at once.
type Authority struct {
	Certificate *x509.Certificate
	Path        string // of the certificate, in PEM
	key         *ecdsa.PrivateKey
}

// OpenAuthority opens the authority that lies in dir/ca, and makes one if there is none: ECDSA P-256, valid for ten
// years, and limited to names and addresses of local networks, those of here and the further ones, so that whoever
// steals its key can pose as no other site.
func OpenAuthority(dir string, here Names, now time.Time) (*Authority, error) {
	a, err := readAuthority(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeAuthority(dir, here, now); err == nil {
			a, err = readAuthority(dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the certificate authority for browsers: %w", err)
	}
	return a, nil
}

func readAuthority(dir string) (*Authority, error) {
	path := filepath.Join(dir, caDir, certName)
	chain, key, err := readPair(filepath.Join(dir, caDir))
	if err != nil {
		return nil, err
	}
	if len(chain) != 1 || !chain[0].IsCA {
		return nil, fmt.Errorf("%s is not the certificate of an authority", path)
	}
	return &Authority{Certificate: chain[0], Path: path, key: key}, nil
}

func makeAuthority(dir string, here Names, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now = later(now, firstRelease)
	t := &x509.Certificate{
		SerialNumber: serial(),
		// The day tells two authorities of one machine apart in a browser's list.
		Subject:               pkix.Name{CommonName: fmt.Sprintf("Dong Thanh %s %s", here.Host, now.Format("2006-01-02")), Organization: []string{"Dong Thanh"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		// Not critical: a client that does not know name constraints would refuse the authority (RFC 5280 §4.2.1.10 asks
		// for critical; those that know them hold to them either way).
		PermittedDNSDomains: here.domains(),
		PermittedIPRanges:   here.ranges(),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	return writePair(dir, caDir, key, der)
}

// permits reports whether clients will accept a server certificate of a with the name or address.
func (a *Authority) permits(name string) bool {
	if ip := net.ParseIP(name); ip != nil {
		for _, n := range a.Certificate.PermittedIPRanges {
			if n.Contains(ip) {
				return true
			}
		}
		return len(a.Certificate.PermittedIPRanges) == 0
	}
	for _, d := range a.Certificate.PermittedDNSDomains {
		if d = strings.TrimPrefix(d, "."); name == d || strings.HasSuffix(name, "."+d) {
			return true
		}
	}
	return len(a.Certificate.PermittedDNSDomains) == 0
}

// issue makes a server certificate for names, of which all are permitted.
func (a *Authority) issue(dir string, names []string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now = later(now, firstRelease)
	t := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: a.Certificate.Subject.CommonName},
		NotBefore:    now.Add(-backdate),
		NotAfter:     earlier(now.Add(leafLife-backdate), a.Certificate.NotAfter),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},

		BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.Certificate, &key.PublicKey, a.key)
	if err != nil {
		return err
	}
	return writePair(dir, leafDir, key, der)
}

// Fingerprints are the SHA-256 and the SHA-1 of a certificate in DER, in groups of four hexadecimal digits that people
// can compare. SHA-1 is there since Windows shows no other before it installs one; to find a second certificate with
// the same is beyond anybody, though not to make two at once.
func Fingerprints(der []byte) (sha256Groups, sha1Groups string) {
	long, short := sha256.Sum256(der), sha1.Sum(der) // #nosec G401 -- see above
	return groups(long[:]), groups(short[:])
}

func groups(b []byte) string {
	var all []string
	for i := 0; i+1 < len(b); i += 2 {
		all = append(all, fmt.Sprintf("%02X%02X", b[i], b[i+1]))
	}
	return strings.Join(all, " ")
}

// readPair reads dir's key and certificates, leaf first.
func readPair(dir string) ([]*x509.Certificate, *ecdsa.PrivateKey, error) {
	ders, err := identity.ReadCertificates(filepath.Join(dir, certName))
	if err != nil {
		return nil, nil, err
	}
	var chain []*x509.Certificate
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, fmt.Errorf("parse %s: %w", filepath.Join(dir, certName), err)
		}
		chain = append(chain, c)
	}
	any, err := identity.ReadKey(filepath.Join(dir, keyName))
	if err != nil {
		return nil, nil, err
	}
	key, ok := any.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(chain[0].PublicKey) {
		return nil, nil, fmt.Errorf("%s is not the key of the certificate beside it", filepath.Join(dir, keyName))
	}
	return chain, key, nil
}

// writePair puts dir/name in place with key and certificate. A folder of that name is replaced; whoever reads meanwhile
// finds the old pair, the new one, or none.
func writePair(dir, name string, key *ecdsa.PrivateKey, der []byte) error {
	if err := identity.MakeDir(dir); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(dir, ".new-"+name+"-*") // mode 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp) // what is left of it; nothing if all went well
	err = errors.Join(identity.WriteKey(temp, keyName, key), identity.WriteCertificates(temp, certName, der))
	if err != nil {
		return err
	}
	final := filepath.Join(dir, name)
	if name == leafDir {
		if err := os.RemoveAll(final); err != nil {
			return err
		}
	}
	if err := os.Rename(temp, final); err != nil && !(name == caDir && errors.Is(err, fs.ErrExist)) {
		return err // an authority that another process made at the same moment is as good
	}
	return nil
}

// serial is a random serial number of 127 bits.
func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
