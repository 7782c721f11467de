// Package api is the HTTP interface of the streamer for machines and for the pages' own scripts: /api/v1 in JSON, as
// INTERFACES §4 and openapi.json say. It translates and checks rights; what happens is decided in the packages it
// calls. Texts that an official reads are Vietnamese.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/library"
	"dongthanh/streamer/internal/nodes"
	"dongthanh/streamer/internal/recording"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/store"
)

// Records is the part of the store that the API reads.
type Records interface {
	Zones(ctx context.Context) ([]store.Zone, error)
	Zone(ctx context.Context, code zone.Zone) (store.Zone, error)
	UpsertZones(ctx context.Context, list []store.Zone, at time.Time) (added, renamed int, err error)
	User(ctx context.Context, id string) (store.User, error)
	Tokens(ctx context.Context) ([]store.Token, error)
	Recording(ctx context.Context, session string) (store.Recording, error)
	Listeners(ctx context.Context, session string) ([]store.Listener, error)
}

// Options are what the API needs; all are required.
type Options struct {
	Accounts    *accounts.Accounts
	Sessions    *session.Manager
	Nodes       *nodes.Picture
	Registry    Registry
	Store       Records
	Library     *library.Library
	Recordings  *recording.Recorder
	Microphones *ingest.Microphones
	ICEServers  []string // for WHIP clients, each the value of a Link header
	Log         *slog.Logger
}

type api struct {
	Options
	streams streams
	listens listens
	pulse   time.Duration // of event streams
}

// New returns the handler of everything below /api/v1/.
func New(o Options) http.Handler {
	a := &api{Options: o, pulse: eventsPulse}
	mux := http.NewServeMux()
	handle := func(pattern string, h handler) { mux.Handle(pattern, a.wrap(h)) }
	handle("POST /api/v1/login", a.login)
	handle("POST /api/v1/logout", a.logout)
	handle("GET /api/v1/me", a.signedIn(a.me))
	handle("GET /api/v1/zones", a.signedIn(a.zones))
	handle("POST /api/v1/zones", a.signedIn(a.addZone))
	handle("GET /api/v1/nodes", a.signedIn(a.nodes))
	handle("GET /api/v1/nodes/{id}", a.signedIn(a.node))
	handle("PATCH /api/v1/nodes/{id}", a.signedIn(a.changeNode))
	handle("POST /api/v1/nodes/{id}/tone", a.signedIn(a.tone))
	handle("DELETE /api/v1/nodes/{id}", a.signedIn(a.removeNode))
	handle("POST /api/v1/tokens", a.signedIn(a.addToken))
	handle("POST /api/v1/audio", a.signedIn(a.upload))
	handle("POST /api/v1/sessions", a.signedIn(a.start))
	handle("GET /api/v1/sessions", a.signedIn(a.sessions))
	handle("GET /api/v1/sessions/{id}", a.signedIn(a.session))
	handle("POST /api/v1/sessions/{id}/stop", a.signedIn(a.stop))
	handle("GET /api/v1/sessions/{id}/recording", a.signedIn(a.recording))
	handle("POST /api/v1/sessions/{id}/recording/audio", a.signedIn(a.reuse))
	handle("GET /api/v1/sessions/{id}/listeners", a.signedIn(a.listeners))
	handle("POST /api/v1/sessions/{id}/listen", a.signedIn(a.listen))
	handle("DELETE /api/v1/sessions/{id}/listen/{listener}", a.signedIn(a.endListen))
	handle("GET /api/v1/sessions/{id}/microphone", a.signedIn(a.microphone))
	handle("POST /api/v1/sessions/{id}/hold", a.signedIn(a.hold))
	handle("POST /api/v1/whip/{id}", forPages(a.signedIn(a.whip)))
	handle("OPTIONS /api/v1/whip/{id}", a.whipOptions)
	handle("GET /api/v1/whip/{id}", whipNothing)
	handle("/api/v1/whip/{id}", whipMethod)
	handle("DELETE /api/v1/whip/{id}/microphone", forPages(a.signedIn(a.endWhip)))
	handle("OPTIONS /api/v1/whip/{id}/microphone", a.whipMicrophoneOptions)
	handle("GET /api/v1/whip/{id}/microphone", whipNothing)
	handle("PATCH /api/v1/whip/{id}/microphone", patchWhip)
	handle("/api/v1/whip/{id}/microphone", microphoneMethod)
	handle("GET /api/v1/events", a.signedIn(a.events))
	handle("GET /api/v1/openapi.json", openapi)
	handle("/api/v1/", func(http.ResponseWriter, *http.Request) error { return errNoSuchPage })
	return mux
}
