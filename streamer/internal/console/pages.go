package console

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"strings"

	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/recording"
)

//go:embed templates
var templates embed.FS

// pages are the templates of one language by name.
type pages map[string]*template.Template

// page is what every template gets.
type page struct {
	Title    string              // key of a text
	Who      *accounts.Principal // nil: nobody is signed in
	Language string
	Path     string // of this page, to which a change of language returns
	Plain    bool   // came by plain http from another machine: no cookie may be set
	Version  string
	Notice   string            // key of a text: what is wrong with the system; empty: nothing
	Texts    map[string]string // handed to the page's script
	Body     any
}

// scripted names the groups of texts that a page's script needs.
var scripted = map[string][]string{
	"live":  {"live", "source", "mic", "air", "own", "end", "trouble", "problem", "zone", "common"},
	"nodes": {"nodes", "node", "manage", "add", "volume", "tone", "trouble", "problem", "common"},
}

// parsePages parses all templates once for each language: a template calls t for its texts.
func parsePages(a *assets) map[string]pages {
	all := map[string]pages{}
	for _, language := range languages() {
		say := table(language).say
		set := pages{}
		for _, name := range []string{"login", "live", "nodes", "sessions", "session", "ca", "plain", "fault"} {
			set[name] = template.Must(template.New(name).
				Funcs(template.FuncMap{"t": say, "asset": a.url}).
				ParseFS(templates, "templates/layout.html", "templates/"+name+".html"))
		}
		all[language] = set
	}
	return all
}

// render writes a page in the language that the visitor has chosen.
func (c *Console) render(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	p.Language, p.Version = languageOf(r), c.Version
	p.Path = home(r.URL.Path)
	if p.Who == nil && p.Path != "/ca" {
		p.Path = "/login"
	} else if trouble := c.Recorder.Trouble(); trouble != recording.TroubleNone {
		p.Notice = "notice." + string(trouble)
	}
	p.Texts = map[string]string{}
	for key, text := range table(p.Language) {
		for _, group := range scripted[name] {
			if strings.HasPrefix(key, group+".") {
				p.Texts[key] = text
			}
		}
	}
	var b bytes.Buffer
	if err := c.pages[p.Language][name].ExecuteTemplate(&b, "page", p); err != nil {
		c.Log.Error("render page", "page", name, "error", err)
		http.Error(w, table(p.Language).say("fault.ours_hint"), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", p.Language)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w) // an error means that the browser is gone
}

// fail answers that something of ours went wrong.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil {
		c.Log.Error("console", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	c.render(w, r, http.StatusInternalServerError, "fault", page{Title: "fault.ours", Body: "fault.ours_hint"})
}

// home returns path if it is one of the pages that a login or a change of language may lead to, else the live page:
// nobody can be sent elsewhere by a link.
func home(path string) string {
	switch path {
	case "/nodes", "/sessions", "/ca":
		return path
	}
	if detailPath(path) {
		return path
	}
	return "/live"
}
