package console

import (
	"fmt"
	"net/http"
	"strings"
)

// plainBody is what who comes by plain http reads.
type plainBody struct {
	Link  string // the same page over https
	Probe string // an address that only a browser which trusts us can fetch
}

// Plain answers plain http from other machines: the page that helps to install the certificate, and for all else a
// sentence that says why and leads to https. It takes no cookie and sets none.
func (c *Console) Plain() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ca", func(w http.ResponseWriter, r *http.Request) { c.showCA(w, r, true) })
	mux.HandleFunc("GET /ca/{file}", c.caFile)
	mux.Handle("GET /assets/", c.assets)
	mux.HandleFunc("/", c.plain)
	return mux
}

// plain sends who can follow on to https. A browser that does not know the own authority would show a warning instead
// of a page, so it gets the page first; its script goes on by itself where https works.
func (c *Console) plain(w http.ResponseWriter, r *http.Request) {
	link := secureURL(r, r.URL.RequestURI())
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !reads {
		link = secureURL(r, "/")
	}
	if reads && (!c.Trust.Own(hostOnly(r.Host)) || !strings.Contains(r.Header.Get("Accept"), "text/html")) {
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Cache-Control", "no-store") // permanent for today: the certificate may change
		h.Set("Location", link)
		w.WriteHeader(http.StatusPermanentRedirect)
		fmt.Fprintf(w, "%s\n%s\n", table(languageOf(r)).say("plain.why"), link)
		return
	}
	allowProbe(w, r)
	c.render(w, r, http.StatusForbidden, "plain", page{Title: "plain.title", Plain: true, Body: plainBody{Link: link, Probe: secureURL(r, "/ca/"+probeFile)}})
}
