//go:build !linux

package library

import "log/slog"

// restrict does nothing: only Linux can bound another process. The wall clock still does.
func restrict(int, *slog.Logger) {}
