package identity

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a node's credentials. chainFile is the last to be put in place and so the sign that all are there.
const (
	keyFile     = "key.pem"
	sealingFile = "hpke.pem"
	rootsFile   = "roots.pem"
	chainFile   = "chain.pem"

	pending = ".new" // behind a name: prepared, not in force

	maxFile = 64 << 10
)

// Load reads a node's credentials from dir: key.pem and hpke.pem (PKCS #8, readable by their owner only), chain.pem
// (node, issuer, root), roots.pem (those pinned). It checks that they belong together. ErrNotEnrolled if there are
// none. A certificate that has expired is no error here, for sound must go on: see Valid.
func Load(dir string) (*Credentials, error) {
	if err := finish(dir); err != nil {
		return nil, fmt.Errorf("load credentials in %s: %w", dir, err)
	}
	c, err := load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no credentials in %s: %w: run the program's enrol command with a token first", dir, ErrNotEnrolled)
	}
	if err != nil {
		return nil, fmt.Errorf("load credentials in %s: %w", dir, err)
	}
	return c, nil
}

func load(dir string) (*Credentials, error) {
	chain, err := ReadCertificates(filepath.Join(dir, chainFile))
	if err != nil {
		return nil, err
	}
	pinned, err := ReadCertificates(filepath.Join(dir, rootsFile))
	if err != nil {
		return nil, err
	}
	roots, err := NewRoots(pinned...)
	if err != nil {
		return nil, err
	}
	certs, err := parse(chain)
	if err != nil {
		return nil, err
	}
	var k Keys
	key, err := ReadKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	sealing, err := ReadKey(filepath.Join(dir, sealingFile))
	if err != nil {
		return nil, err
	}
	var ok bool
	if k.Signing, ok = key.(ed25519.PrivateKey); !ok {
		return nil, fmt.Errorf("%s is no Ed25519 key", keyFile)
	}
	if k.Sealing, ok = sealing.(*ecdh.PrivateKey); !ok || k.Sealing.Curve() != ecdh.X25519() {
		return nil, fmt.Errorf("%s is no X25519 key", sealingFile)
	}
	return assemble(k, certs, roots)
}

// NewCredentials joins keys, chain (node, issuer, root) and roots, and checks that they belong together; validity is
// not judged.
func NewCredentials(k Keys, chain [][]byte, roots *Roots) (*Credentials, error) {
	certs, err := parse(chain)
	if err != nil {
		return nil, err
	}
	return assemble(k, certs, roots)
}

func assemble(k Keys, chain []*x509.Certificate, roots *Roots) (*Credentials, error) {
	leaf := chain[0]
	n, _, err := roots.node(chain, leaf.NotBefore, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	if !k.Signing.Public().(ed25519.PublicKey).Equal(leaf.PublicKey) {
		return nil, fmt.Errorf("certificate of %q: its key is not this node's", n.ID)
	}
	if sealing, err := SealingKey(leaf); err != nil || !sealing.Equal(k.Sealing.PublicKey()) {
		return nil, fmt.Errorf("certificate of %q: its sealing key is not this node's", n.ID)
	}
	return &Credentials{Node: n, Key: k.Signing, HPKE: k.Sealing, Chain: chain, Roots: roots}, nil
}

// Save stores credentials for Load. Whenever the power fails, Load finds the old ones whole or the new ones whole: all
// files are prepared under other names, the chain last, and only then put in place, the chain last.
func (c *Credentials) Save(dir string) error {
	if err := c.save(dir); err != nil {
		return fmt.Errorf("save credentials in %s: %w", dir, err)
	}
	return nil
}

func (c *Credentials) save(dir string) error {
	if err := MakeDir(dir); err != nil {
		return err
	}
	key, err := encodeKey(c.Key)
	if err != nil {
		return err
	}
	sealing, err := encodeKey(c.HPKE)
	if err != nil {
		return err
	}
	var chain [][]byte
	for _, x := range c.Chain {
		chain = append(chain, x.Raw)
	}
	// What an earlier Save left half prepared must not be taken for ours.
	if err := os.Remove(filepath.Join(dir, chainFile+pending)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{
		{keyFile, key},
		{sealingFile, sealing},
		{rootsFile, encodeCertificates(c.Roots.DER())},
		{chainFile, encodeCertificates(chain)},
	} {
		if err := WriteFile(dir, f.name+pending, f.data); err != nil {
			return err
		}
	}
	return finish(dir)
}

// finish puts prepared files in place if all were prepared: the chain's is, and it is the last.
func finish(dir string) error {
	_, err := os.Stat(filepath.Join(dir, chainFile+pending))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range []string{keyFile, sealingFile, rootsFile, chainFile} {
		path := filepath.Join(dir, name)
		if err := os.Rename(path+pending, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// MakeDir makes a folder, and those above it, that only its owner can enter.
func MakeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if i, err := os.Stat(dir); err == nil && i.Mode().Perm() == 0o700 {
		return nil // nothing to write: the disk may have become read-only, which must not keep a node from starting
	}
	return os.Chmod(dir, 0o700) // #nosec G302 -- a folder needs its x bit
}

// WriteFile replaces dir/name by data, readable by its owner only: whenever the power fails, the file holds the old
// bytes or the new. It is on the disk when WriteFile returns.
func WriteFile(dir, name string, data []byte) (err error) {
	f, err := os.CreateTemp(dir, "."+name+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	return errors.Join(f.Close(), syncDir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readFile reads a file of bounded size. A private one must be closed to others.
func readFile(path string, private bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only: nothing to lose
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); private && mode&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o): chmod 600 it", path, mode)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return data, nil
}

// WriteKey stores a private key as dir/name, PKCS #8 in PEM (RFC 5958, RFC 7468).
func WriteKey(dir, name string, key any) error {
	data, err := encodeKey(key)
	if err != nil {
		return err
	}
	return WriteFile(dir, name, data)
}

func encodeKey(key any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ReadKey reads what WriteKey stored: an ed25519.PrivateKey or an *ecdh.PrivateKey. It refuses a file that others can
// read.
func ReadKey(path string) (any, error) {
	data, err := readFile(path, true)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		return nil, fmt.Errorf("%s holds no private key in PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return key, nil
}

// WriteCertificates stores certificates (DER) as dir/name in PEM.
func WriteCertificates(dir, name string, ders ...[]byte) error {
	return WriteFile(dir, name, encodeCertificates(ders))
}

func encodeCertificates(ders [][]byte) []byte {
	var data []byte
	for _, der := range ders {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return data
}

// ReadCertificates reads what WriteCertificates stored.
func ReadCertificates(path string) ([][]byte, error) {
	data, err := readFile(path, false)
	if err != nil {
		return nil, err
	}
	var ders [][]byte
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			ders = append(ders, block.Bytes)
		}
	}
	if len(ders) == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return ders, nil
}
