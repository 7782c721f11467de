package issuer

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/streamer/internal/store"
)

// The layout beneath Dir: root/{key,cert}.pem, issuer-0001/{key,cert}.pem and so on (the highest number is in force),
// node/ as identity.Load reads it. A folder appears with both its files or not at all.
const (
	rootDir      = "root"
	issuerPrefix = "issuer-"
	nodeDir      = "node"
	keyName      = "key.pem"
	certName     = "cert.pem"
	lockName     = ".lock"
)

// ensureRoot returns the root's certificate; its key may be elsewhere.
func ensureRoot(dir string, now time.Time) ([]byte, error) {
	root, err := readRoot(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	a, err := identity.NewRoot(now, rootLife)
	if err != nil {
		return nil, err
	}
	if err := writePair(dir, rootDir, a); err != nil {
		return nil, err
	}
	return a.Certificate.Raw, nil
}

func readRoot(dir string) ([]byte, error) {
	ders, err := identity.ReadCertificates(filepath.Join(dir, rootDir, certName))
	if err != nil {
		return nil, err
	}
	if len(ders) != 1 {
		return nil, fmt.Errorf("%s/%s holds %d certificates, want 1", rootDir, certName, len(ders))
	}
	return ders[0], nil
}

// writePair makes dir/name, which is not there yet, with key and certificate in one step.
func writePair(dir, name string, a *identity.Authority) error {
	temp, err := os.MkdirTemp(dir, ".new-"+name+"-*") // mode 0700
	if err != nil {
		return err
	}
	err = errors.Join(
		identity.WriteKey(temp, keyName, a.Key),
		identity.WriteCertificates(temp, certName, a.Certificate.Raw),
	)
	if err == nil {
		err = os.Rename(temp, filepath.Join(dir, name)) // refuses to replace a folder that holds something
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ensureIssuer returns the issuer in force, a new one if the last has gone, grows old or has another scope.
func (i *Issuer) ensureIssuer(now time.Time) (*identity.Authority, error) {
	last, a, err := i.readIssuer()
	if err != nil {
		return nil, err
	}
	why := "there is none"
	if a != nil {
		if why = i.unfit(a, now); why == "" {
			return a, nil
		}
	}
	root, err := i.readRootKey()
	if errors.Is(err, fs.ErrNotExist) {
		if a != nil && now.Before(a.Certificate.NotAfter) && i.fits(a) {
			i.o.Log.Warn("the issuer grows old and the root's key is not here: put it back for a moment",
				"file", filepath.Join(i.o.Dir, rootDir, keyName), "expires", a.Certificate.NotAfter)
			return a, nil
		}
		return nil, fmt.Errorf("a new issuer is needed (%s) and the root's key is not here: put %s back for a moment",
			why, filepath.Join(i.o.Dir, rootDir, keyName))
	}
	if err != nil {
		return nil, err
	}
	if a, err = root.NewIssuer(i.o.Scope, i.o.MaxClass, now, issuerLife); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s%04d", issuerPrefix, last+1)
	if err := writePair(i.o.Dir, name, a); err != nil {
		return nil, err
	}
	if last > 0 { // a key that signs no more is only a risk
		old := filepath.Join(i.o.Dir, fmt.Sprintf("%s%04d", issuerPrefix, last), keyName)
		if err := os.Remove(old); err != nil {
			i.o.Log.Warn("the old issuer's key could not be removed", "err", err)
		}
	}
	i.o.Log.Info("new issuer", "why", why, "folder", name, "scope", string(i.o.Scope), "class", int(i.o.MaxClass))
	return a, nil
}

// unfit says why an issuer must be replaced; "" if it need not.
func (i *Issuer) unfit(a *identity.Authority, now time.Time) string {
	switch {
	case !i.fits(a):
		return "scope or class has changed"
	case aging(a.Certificate.NotBefore, a.Certificate.NotAfter, now):
		return "the last one grows old"
	}
	return ""
}

// fits reports whether an issuer's certificate says what the configuration says.
func (i *Issuer) fits(a *identity.Authority) bool {
	roots, err := identity.NewRoots(i.root)
	if err != nil {
		return false
	}
	grants, err := roots.VerifyIssuer(a.Certificate.Raw, time.Time{})
	return err == nil && grants.Scope == i.o.Scope && grants.MaxClass == i.o.MaxClass
}

// readIssuer returns the issuer with the highest number, nil if there is none.
func (i *Issuer) readIssuer() (number int, a *identity.Authority, err error) {
	entries, err := os.ReadDir(i.o.Dir)
	if err != nil {
		return 0, nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), issuerPrefix) {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return 0, nil, nil
	}
	name := slices.Max(names)
	if _, err := fmt.Sscanf(name, issuerPrefix+"%d", &number); err != nil {
		return 0, nil, fmt.Errorf("folder %s has no number", name)
	}
	key, der, err := readPair(filepath.Join(i.o.Dir, name))
	if err != nil {
		return 0, nil, err
	}
	a, err = identity.OpenIssuer(key, der, i.root)
	return number, a, err
}

func (i *Issuer) readRootKey() (*identity.Authority, error) {
	key, der, err := readPair(filepath.Join(i.o.Dir, rootDir))
	if err != nil {
		return nil, err
	}
	return identity.OpenRoot(key, der)
}

func readPair(dir string) (ed25519.PrivateKey, []byte, error) {
	key, err := identity.ReadKey(filepath.Join(dir, keyName))
	if err != nil {
		return nil, nil, err
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("%s is no Ed25519 key", filepath.Join(dir, keyName))
	}
	ders, err := identity.ReadCertificates(filepath.Join(dir, certName))
	if err != nil {
		return nil, nil, err
	}
	return ed, ders[0], nil
}

// ensureCredentials returns the streamer's own credentials, and sees that the database knows them.
func (i *Issuer) ensureCredentials(ctx context.Context, a *identity.Authority, now time.Time) (*identity.Credentials, error) {
	dir := filepath.Join(i.o.Dir, nodeDir)
	c, err := identity.Load(dir)
	if err != nil && !errors.Is(err, identity.ErrNotEnrolled) {
		return nil, err
	}
	n := identity.Node{ID: store.NewID(), Kind: identity.Streamer, Zone: i.o.Scope, Name: i.o.Name}
	if c != nil {
		n.ID = c.Node.ID
	}
	if c == nil || c.Node != n || c.Roots.Hash() != sha256.Sum256(i.root) || aging(c.Chain[0].NotBefore, c.Chain[0].NotAfter, now) {
		if c, err = a.Enlist(n, now, serverLife); err != nil {
			return nil, err
		}
		if err := c.Save(dir); err != nil {
			return nil, err
		}
	}
	c.Now = i.o.Now
	return c, i.record(ctx, c, now)
}

// record keeps the streamer's own entry in the database right.
func (i *Issuer) record(ctx context.Context, c *identity.Credentials, now time.Time) error {
	n := record(c.Node, c.Chain[0].Raw, c.Key.Public().(ed25519.PublicKey), c.HPKE.PublicKey())
	n.Serial, n.NotAfter, n.Enrolled = identity.Serial(c.Chain[0]), c.Chain[0].NotAfter, now
	old, err := i.o.Store.Node(ctx, n.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return i.o.Store.AddNode(ctx, n)
	case err != nil:
		return err
	case old.Serial != n.Serial:
		return i.o.Store.RenewNode(ctx, n)
	}
	return nil
}

func record(n identity.Node, der []byte, signing ed25519.PublicKey, sealing *ecdh.PublicKey) store.Node {
	return store.Node{
		ID: n.ID, Name: n.Name, Kind: store.NodeKind(n.Kind), Zone: n.Zone, Certificate: der,
		Signing: [32]byte(signing), Sealing: [32]byte(sealing.Bytes()),
	}
}

// Lock keeps others from renewing keys in dir (Options.Dir) until unlock is called, for a copy of all that is whole. A
// folder that is missing is an error.
func Lock(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the keys: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the keys: %w", err), f.Close())
	}
	return f.Close, nil // closing releases the lock
}

// Check reports what is wrong with the keys in dir (Options.Dir): root, issuer and the streamer's own credentials must be
// there and belong together. It changes nothing; validity is not judged.
func Check(dir string) error {
	root, err := readRoot(dir)
	if err != nil {
		return fmt.Errorf("check keys: %w", err)
	}
	i := &Issuer{o: Options{Dir: dir}, root: root}
	if _, a, err := i.readIssuer(); err != nil || a == nil {
		return fmt.Errorf("check keys: no issuer of this root: %w", errors.Join(err, fs.ErrNotExist))
	}
	c, err := identity.Load(filepath.Join(dir, nodeDir))
	if err != nil {
		return fmt.Errorf("check keys: %w", err)
	}
	if c.Roots.Hash() != sha256.Sum256(root) {
		return fmt.Errorf("check keys: the streamer's own certificate: %w", identity.ErrUnknownRoot)
	}
	return nil
}
