// Package console is what an official sees: the pages in Vietnamese and English, with their style and scripts. It
// renders and signs people in; whatever happens on a page goes through the API, which alone checks rights. Only the
// streamer's HTTP side calls it.
package console

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/api"
	"dongthanh/streamer/internal/recording"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/webcert"
)

// Records is the part of the store that the pages read.
type Records interface {
	Zones(ctx context.Context) ([]store.Zone, error)
	Zone(ctx context.Context, code zone.Zone) (store.Zone, error)
	User(ctx context.Context, id string) (store.User, error)
	Tokens(ctx context.Context) ([]store.Token, error)
	Sessions(ctx context.Context, before string, limit int) ([]store.Session, error)
	Session(ctx context.Context, id string) (store.Session, error)
	Recording(ctx context.Context, session string) (store.Recording, error)
	Listeners(ctx context.Context, session string) ([]store.Listener, error)
}

// Trust is what the pages tell about the certificates that browsers see; a *webcert.Keeper is one.
type Trust interface {
	// Authority is the streamer's own; nil: it vouches for nothing here.
	Authority() *webcert.Authority
	// Own reports whether a connection to a server name is shown a certificate of that authority.
	Own(server string) bool
	// Public is a name by which browsers know the certificate without any help; empty: there is none.
	Public() string
}

// Options are what the console needs; all are required.
type Options struct {
	Accounts *accounts.Accounts
	Store    Records
	Trust    Trust
	Recorder interface{ Trouble() recording.Trouble }
	Nodes    interface { // tells who hears what is on air, and who heard what has just ended
		Heard(session string) []store.Listener
	}
	Version string // shown at the foot of each page
	Log     *slog.Logger
}

// Console is the pages, as an http.Handler.
type Console struct {
	http.Handler
	Options
	assets *assets
	pages  map[string]pages // by language
}

// New returns the handler of every page. Its caller puts on the headers that keep browsers safe and refuses forms
// that come from another site.
func New(o Options) *Console {
	c := &Console{Options: o, assets: newAssets()}
	c.pages = parsePages(c.assets)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.signedIn(func(w http.ResponseWriter, r *http.Request, _ accounts.Principal) { redirect(w, r, "/live") }))
	mux.HandleFunc("GET /login", c.login)
	mux.HandleFunc("POST /login", c.signIn)
	mux.HandleFunc("POST /logout", c.signOut)
	mux.HandleFunc("POST /language", c.language)
	mux.HandleFunc("GET /live", c.signedIn(c.live))
	mux.HandleFunc("GET /nodes", c.signedIn(c.nodes))
	mux.HandleFunc("GET /sessions", c.signedIn(c.sessions))
	mux.HandleFunc("GET /ca", c.ca)
	mux.HandleFunc("GET /ca/{file}", c.caFile)
	mux.HandleFunc("GET /sessions/{id}", c.signedIn(c.session))
	mux.Handle("GET /assets/", c.assets)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p := page{Title: "fault.lost", Body: "fault.lost_hint"}
		if who, ok := c.who(r); ok {
			p.Who = &who // with the pages to choose from
		} else {
			p.Body = "fault.lost_out"
		}
		c.render(w, r, http.StatusNotFound, "fault", p)
	})
	c.Handler = mux
	return c
}

// signedIn lets a request pass that brings a person's cookie, and sends all others to the login page.
func (c *Console) signedIn(next func(http.ResponseWriter, *http.Request, accounts.Principal)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, ok := c.who(r)
		if !ok {
			to := "/login"
			if page := home(r.URL.Path); page != "/live" { // which is where a login leads anyway
				to += "?next=" + url.QueryEscape(page)
			}
			redirect(w, r, to)
			return
		}
		next(w, r, p)
	}
}

// who returns the person of a request's cookie.
func (c *Console) who(r *http.Request) (accounts.Principal, bool) {
	cookie, err := r.Cookie(api.CookieName(r))
	if err != nil {
		return accounts.Principal{}, false
	}
	p, err := c.Accounts.ByToken(r.Context(), cookie.Value)
	return p, err == nil
}

func redirect(w http.ResponseWriter, r *http.Request, to string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// nodesBody is what the nodes page hands to its script.
type nodesBody struct {
	Names   map[zone.Zone]string
	Manages bool // whoever looks may set loudspeakers
}

// nodes shows the page that its script fills.
func (c *Console) nodes(w http.ResponseWriter, r *http.Request, p accounts.Principal) {
	list, err := c.Store.Zones(r.Context())
	if err != nil {
		c.fail(w, r, err)
		return
	}
	body := nodesBody{Names: map[zone.Zone]string{}, Manages: p.Can(accounts.ManageNodes, p.Zone)}
	shown, _ := visible(list, p.Zone)
	for _, z := range shown {
		body.Names[z.Code] = z.Name
	}
	c.render(w, r, http.StatusOK, "nodes", page{Title: "nodes.title", Who: &p, Body: body})
}

// local is the time of Viet Nam, which has one zone and no summer time.
func local(t time.Time) time.Time { return t.In(time.FixedZone("ICT", 7*60*60)) }
