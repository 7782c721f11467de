package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"dongthanh/internal/identity"
)

// maxBoot is the largest boot count that a datagram's counter can carry (24 bits); the next is 1.
const maxBoot = 1<<24 - 1

// NextBoot adds one to the boot count in dir and returns it, on disk when it returns: the upper part of the counters of
// all datagrams until the next start, so that they rise across a crash without a write per datagram.
func NextBoot(dir string) (uint32, error) {
	path := filepath.Join(dir, "boot")
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("read boot count: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if len(text) > 0 && err != nil {
		return 0, fmt.Errorf("read boot count %s: %q is no number", path, text)
	}
	n++
	if n > maxBoot {
		n = 1
	}
	if err := identity.WriteFile(dir, "boot", strconv.AppendUint(nil, n, 10)); err != nil {
		return 0, fmt.Errorf("write boot count: %w", err)
	}
	return uint32(n), nil
}
