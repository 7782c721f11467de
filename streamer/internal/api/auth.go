package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"dongthanh/streamer/internal/accounts"
)

const maxJSON = 64 << 10

// CookieName is the session cookie's name on the connection of r: over https with the prefix that browsers hold to its
// promises (RFC 6265bis §4.1.3), so that nobody who can answer plain http under our name can plant one. Plain http is
// served on loopback only.
func CookieName(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-dongthanh"
	}
	return "dongthanh"
}

type principalKey struct{}

// signedIn lets a request pass that brings a person's cookie or a machine's token.
func (a *api) signedIn(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := a.principal(r)
		if err != nil {
			return err
		}
		return h(w, r.WithContext(context.WithValue(r.Context(), principalKey{}, p)))
	}
}

// who returns the principal of a request that has passed signedIn.
func who(r *http.Request) accounts.Principal {
	p, _ := r.Context().Value(principalKey{}).(accounts.Principal)
	return p
}

func (a *api) principal(r *http.Request) (accounts.Principal, error) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") { // RFC 9110 §11.1: without regard to case
			return accounts.Principal{}, errSignIn
		}
		return a.Accounts.ByAPIToken(r.Context(), strings.TrimLeft(token, " "))
	}
	c, err := r.Cookie(CookieName(r))
	if err != nil {
		return accounts.Principal{}, errSignIn
	}
	return a.Accounts.ByToken(r.Context(), c.Value)
}

// login signs a person in: a cookie, and who they are.
func (a *api) login(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	if err := read(r, &body); err != nil {
		return err
	}
	if c, err := r.Cookie(CookieName(r)); err == nil {
		if err := a.Accounts.SignOut(r.Context(), c.Value); err != nil {
			return err
		}
	}
	in, err := a.Accounts.SignIn(r.Context(), body.Username, body.Password, Remote(r))
	if err != nil {
		return err
	}
	http.SetCookie(w, Cookie(r, in.Token, in.Expires))
	return write(w, http.StatusOK, personOf(in.Principal))
}

func (a *api) logout(w http.ResponseWriter, r *http.Request) error {
	if c, err := r.Cookie(CookieName(r)); err == nil {
		if err := a.Accounts.SignOut(r.Context(), c.Value); err != nil {
			return err
		}
	}
	http.SetCookie(w, NoCookie(r))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Cookie is the session cookie, for the connection of r, that carries a login's token until it expires. Scripts never
// see it.
func Cookie(r *http.Request, token string, expires time.Time) *http.Cookie {
	return &http.Cookie{
		Name: CookieName(r), Value: token, Path: "/", Expires: expires,
		Secure: r.TLS != nil, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// NoCookie takes the session cookie away.
func NoCookie(r *http.Request) *http.Cookie { return Cookie(r, "", time.Unix(1, 0)) }

type person struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role string `json:"role"`
	Zone string `json:"zone"`
}

func personOf(p accounts.Principal) person {
	return person{ID: p.ID, Name: p.Name, Role: string(p.Role), Zone: string(p.Zone)}
}

func (a *api) me(w http.ResponseWriter, r *http.Request) error {
	return write(w, http.StatusOK, personOf(who(r)))
}

// Remote is the address that a request came from; the zero address if it cannot be told.
func Remote(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	ip, _ := netip.ParseAddr(host)
	return ip.Unmap()
}

// read decodes the request's one JSON object: no unknown field, nothing after it, at most 64 kB.
func read(r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxJSON))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("more than one JSON value")
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	return problemf(http.StatusBadRequest, "malformed", "Dữ liệu gửi lên không đúng dạng JSON (%v).", err)
}

func write(w http.ResponseWriter, status int, body any) error {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client is gone
	return nil
}
