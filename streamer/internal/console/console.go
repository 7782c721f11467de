// Package console is what an official sees: the pages in Vietnamese and English, their style and their scripts.
package console

import (
	"context"
	"log/slog"
	"net/http"

	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/store"
)

// Records is the part of the store that the pages read.
type Records interface {
	Zones(ctx context.Context) ([]store.Zone, error)
}

// Options are what the console needs; all are required.
type Options struct {
	Accounts *accounts.Accounts
	Store    Records
	Version  string
	Secure   bool // served over https: decides the name of the cookie
	Log      *slog.Logger
}

// New returns the handler of every page.
func New(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusSeeOther) })
	return mux
}
