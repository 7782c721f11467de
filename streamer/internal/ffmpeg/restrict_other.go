//go:build !linux

package ffmpeg

import (
	"log/slog"
	"time"
)

// restrict does nothing: only Linux can bound another process. The wall clock still does.
func restrict(int, time.Duration, *slog.Logger) {}
