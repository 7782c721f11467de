package link

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dongthanh/internal/identity"
)

// maxBoot is the largest boot count that a datagram's counter can carry (24 bits); the next is 1.
const maxBoot = 1<<24 - 1

// CountBoot is NextBoot for a node that must come up whatever its disk does: where the count cannot be read or written,
// it is taken from the clock, far above any real count, and the log says so. A worn-out disk must not silence a
// loudspeaker; what the count is for holds within one join in any case, since each has keys of its own.
func CountBoot(dir string, now time.Time, log *slog.Logger) uint32 {
	n, err := NextBoot(dir)
	if err == nil {
		return n
	}
	log.Error("starts cannot be counted; look at the disk", "error", oneLine(err))
	return uint32(now.Unix()/bootStep) & maxBoot // #nosec G115 -- the mask is meant
}

// bootStep is how many seconds one start counts by the clock: 24 bits then last until 2106.
const bootStep = 256

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
