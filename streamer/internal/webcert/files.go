package webcert

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxFile bounds a given file, in bytes; a long chain has 10 kB.
const maxFile = 1 << 20

// readFiles puts the given files in force if their content has changed. The content and not its date decides: those
// who renew certificates move links about.
func (k *Keeper) readFiles() error {
	var files [2]string
	for i, path := range []string{k.o.Config.Cert, k.o.Config.Key} {
		b, err := readSome(path)
		if err != nil {
			return err
		}
		files[i] = string(b)
	}
	if files == k.files {
		return nil
	}
	cert, err := tls.X509KeyPair([]byte(files[0]), []byte(files[1])) // sets Leaf
	if err != nil {
		return fmt.Errorf("%s and %s: %w", k.o.Config.Cert, k.o.Config.Key, err)
	}
	if k.given.Load() != nil {
		k.o.Log.Info("the certificate for https was read anew", "file", k.o.Config.Cert, "ends", cert.Leaf.NotAfter)
	}
	k.files = files
	k.given.Store(&cert)
	k.notAfter.WithLabelValues("given").Set(float64(cert.Leaf.NotAfter.Unix()))
	return nil
}

func readSome(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return b, err
}

func caPath(dir string) string   { return filepath.Join(dir, caDir) }
func leafPath(dir string) string { return filepath.Join(dir, leafDir) }
