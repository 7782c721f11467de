package loudspeaker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
)

const (
	settingsFile = "settings.json"
	maxSettings  = 4096 // bytes
)

// settings are what orders have set. They lie in the store's folder, so that a loudspeaker that comes back is as loud
// as it was, and obeys no order a second time.
type settings struct {
	Node   string `json:"node"`
	Number uint64 `json:"number"` // the highest taken
	Volume int32  `json:"volume"` // hundredths of a decibel
}

// openSettings reads the settings of node. Where there are none, or they are another node's (this one was enrolled
// anew), the volume is full. So it is, with a warning, where they cannot be read: a broken disk must not silence a
// loudspeaker, and the streamer orders the volume again at the next join. A replay is then bounded by its validity.
func openSettings(dir, node string, log *slog.Logger) settings {
	fresh := settings{Node: node}
	kept, err := readSettings(filepath.Join(dir, settingsFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fresh
	case err != nil:
		log.Warn("settings cannot be read; playing at full volume until the next order", "error", err)
		return fresh
	case kept.Node != node:
		return fresh
	}
	return kept
}

func readSettings(path string) (s settings, err error) {
	f, err := os.Open(path)
	if err != nil {
		return settings{}, err
	}
	defer f.Close() // read only: nothing to lose
	text, err := io.ReadAll(io.LimitReader(f, maxSettings))
	if err != nil {
		return settings{}, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return settings{}, fmt.Errorf("read %s: %w", path, err)
	}
	if !signed.ValidVolume(s.Volume) {
		return settings{}, fmt.Errorf("read %s: volume %d", path, s.Volume)
	}
	return s, nil
}

// save writes the settings; they are on the disk when it returns, whole whenever the power fails.
func (s settings) save(dir string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := identity.WriteFile(dir, settingsFile, text); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}
