package console

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/api"
)

// maxForm bounds what a form may send, in bytes.
const maxForm = 16 << 10

// loginForm is what the login page shows.
type loginForm struct {
	Next  string // the page that the login leads to
	Name  string // as typed before
	Error string // a whole sentence; empty: none
	CA    bool   // the browser may have warned of our certificate
}

func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	next := home(r.URL.Query().Get("next"))
	if _, ok := c.who(r); ok {
		redirect(w, r, next)
		return
	}
	c.showLogin(w, r, http.StatusOK, loginForm{Next: next})
}

func (c *Console) showLogin(w http.ResponseWriter, r *http.Request, status int, f loginForm) {
	f.CA = r.TLS != nil && c.Trust.Own(r.TLS.ServerName)
	c.render(w, r, status, "login", page{Title: "login.title", Body: f})
}

// signIn takes the login page's form; it works without a script.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	say := table(languageOf(r)).say
	if err := r.ParseForm(); err != nil {
		c.showLogin(w, r, http.StatusBadRequest, loginForm{Next: "/live", Error: say("login.failed")})
		return
	}
	form := loginForm{Next: home(r.PostFormValue("next")), Name: r.PostFormValue("username")}
	c.dropLogin(r)
	in, err := c.Accounts.SignIn(r.Context(), form.Name, r.PostFormValue("password"), api.Remote(r))
	var throttled *accounts.Throttled
	status := http.StatusUnauthorized
	switch {
	case err == nil:
		http.SetCookie(w, api.Cookie(r, in.Token, in.Expires))
		redirect(w, r, form.Next)
		return
	case errors.Is(err, accounts.ErrCredentials):
		form.Error = say("login.refused")
	case errors.As(err, &throttled):
		seconds := strconv.Itoa(int(throttled.RetryAfter.Seconds()))
		w.Header().Set("Retry-After", seconds)
		status, form.Error = http.StatusTooManyRequests, say("login.throttled", seconds)
	case errors.Is(err, accounts.ErrBusy):
		status, form.Error = http.StatusServiceUnavailable, say("login.busy")
	default:
		c.Log.Error("sign in", "error", err)
		status, form.Error = http.StatusInternalServerError, say("login.failed")
	}
	c.showLogin(w, r, status, form)
}

// dropLogin ends the login that a request brings, so that tokens rotate and nothing is left behind.
func (c *Console) dropLogin(r *http.Request) {
	cookie, err := r.Cookie(api.CookieName(r))
	if err != nil {
		return
	}
	if err := c.Accounts.SignOut(r.Context(), cookie.Value); err != nil {
		c.Log.Error("sign out", "error", err)
	}
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	c.dropLogin(r)
	http.SetCookie(w, api.NoCookie(r))
	redirect(w, r, "/login")
}

// languageCookie remembers the language for a year; scripts of the page have no use for it.
func (c *Console) language(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	http.SetCookie(w, &http.Cookie{
		Name: languageCookie, Value: known(r.PostFormValue("to")), Path: "/", MaxAge: int((365 * 24 * time.Hour).Seconds()),
		Secure: r.TLS != nil, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	redirect(w, r, home(r.PostFormValue("next"))) // who is not signed in is sent on to the login page
}
