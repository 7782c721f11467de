package api

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"dongthanh/streamer/internal/accounts"
)

func TestSignInAndOut(t *testing.T) {
	b := newBed(t)
	a := b.nobody().do("POST", "/login", object{"username": "lan", "password": password}).ok("sign in", http.StatusOK)
	c := a.cookies[0]
	if c.Name != "dongthanh" || !c.HttpOnly || c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || len(c.Value) < 32 {
		t.Errorf("cookie %+v", c)
	}
	if left := time.Until(c.Expires); left > accounts.Absolute || left < accounts.Absolute-time.Minute {
		t.Errorf("cookie lives for %v, want %v", left, accounts.Absolute)
	}
	for what, x := range map[string]answer{"login": a, "me": b.nobody("Cookie: dongthanh="+c.Value).get("/me").ok("me", http.StatusOK)} {
		if x.text("name") != "lan" || x.text("role") != "officer" || x.text("zone") != "31/11296" || x.text("id") == "" || strings.Contains(x.raw, "argon") {
			t.Errorf("%s: %s", what, x.raw)
		}
		if x.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be cached: %s", what, x.header.Get("Cache-Control"))
		}
	}
	first := b.nobody("Cookie: dongthanh=" + c.Value)
	second := first.do("POST", "/login", object{"username": "lan", "password": password}).ok("again", http.StatusOK)
	first.get("/me").refused("the login before", http.StatusUnauthorized, "unauthenticated")
	next := b.nobody("Cookie: dongthanh=" + second.cookies[0].Value)
	out := next.do("POST", "/logout", nil).ok("sign out", http.StatusNoContent)
	if gone := out.cookies[0]; gone.Name != "dongthanh" || gone.Value != "" || !gone.Expires.Before(time.Now()) {
		t.Errorf("the cookie is not taken away: %+v", gone)
	}
	next.get("/me").refused("after signing out", http.StatusUnauthorized, "unauthenticated")
	next.do("POST", "/logout", nil).ok("sign out twice", http.StatusNoContent)
	b.nobody().do("POST", "/logout", nil).ok("sign out without having signed in", http.StatusNoContent)
}

// TestCookieOverHTTPS: browsers hold a cookie of this name to its promises (RFC 6265bis, __Host-).
func TestCookieOverHTTPS(t *testing.T) {
	r := &http.Request{TLS: &tls.ConnectionState{}}
	c := Cookie(r, "secret", time.Now().Add(time.Hour))
	if c.Name != "__Host-dongthanh" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("cookie %+v", c)
	}
	if err := c.Valid(); err != nil {
		t.Error(err)
	}
	if c := NoCookie(r); c.Name != "__Host-dongthanh" || c.Value != "" || !c.Secure || !c.Expires.Before(time.Now()) {
		t.Errorf("no cookie %+v", c)
	}
}

func TestSignInRefused(t *testing.T) {
	b := newBed(t)
	for _, c := range []struct {
		name   string
		body   any
		status int
		code   string
	}{
		{"a wrong password", object{"username": "lan", "password": "sai"}, 401, "credentials"},
		{"an unknown person", object{"username": "ai", "password": password}, 401, "credentials"},
		{"nothing", object{}, 401, "credentials"},
		{"no JSON", strings.NewReader("username=lan"), 400, "malformed"},
		{"no body", nil, 400, "malformed"},
		{"a list", strings.NewReader("[]"), 400, "malformed"},
		{"another field", object{"username": "lan", "password": password, "role": "admin"}, 400, "malformed"},
		{"two objects", strings.NewReader(`{"username":"lan"}{"password":"x"}`), 400, "malformed"},
		{"a number", object{"username": 1}, 400, "malformed"},
		{"more than 64 kB", object{"username": "lan", "password": strings.Repeat("x", 70<<10)}, 413, "too_large"},
	} {
		a := b.nobody().do("POST", "/login", c.body)
		a.refused(c.name, c.status, c.code)
		if len(a.cookies) != 0 {
			t.Errorf("%s: a cookie", c.name)
		}
		if c.status == 413 && !strings.Contains(a.text("detail"), "64 kB") {
			t.Errorf("%s: %q does not name the limit", c.name, a.text("detail"))
		}
	}
	unknown, wrong := b.nobody().do("POST", "/login", object{"username": "nobody", "password": "sai"}), b.nobody().do("POST", "/login", object{"username": "minh", "password": "sai"})
	if unknown.raw != wrong.raw {
		t.Errorf("who is unknown can be told from who is known:\n%s%s", unknown.raw, wrong.raw)
	}
}

func TestTooManyAttempts(t *testing.T) {
	b := newBed(t)
	for n := range 50 {
		a := b.nobody().do("POST", "/login", object{"username": "lan", "password": fmt.Sprint("sai ", n)})
		if a.status == http.StatusUnauthorized {
			continue
		}
		a.refused("too many attempts", http.StatusTooManyRequests, "too_many_attempts")
		if s, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || s < 1 || !strings.Contains(a.text("detail"), fmt.Sprintf("%d giây", s)) {
			t.Errorf("Retry-After %q, %q", a.header.Get("Retry-After"), a.text("detail"))
		}
		return
	}
	t.Error("fifty wrong passwords in a row were looked at")
}

// TestWhoIsAsking: what does not prove who asks gets 401, on every route but those that need nobody.
func TestWhoIsAsking(t *testing.T) {
	b := newBed(t)
	secret, machine, err := b.accounts.AddMachine(t.Context(), accounts.Machine{Name: "máy", Role: accounts.Officer, Zone: "31", By: "cli"})
	b.must(err)
	short, _, err := b.accounts.AddMachine(t.Context(), accounts.Machine{Name: "máy", Role: accounts.Officer, Zone: "31", By: "cli", TTL: time.Minute})
	b.must(err)
	cookie := strings.TrimPrefix(b.as("lan").headers[0], "Cookie: ")
	for _, h := range []string{"Authorization: Bearer " + secret, "Authorization: bearer " + secret, "Authorization: BEARER  " + secret, "Cookie: " + cookie, "Authorization: Bearer " + short} {
		b.nobody(h).get("/zones").ok(h, http.StatusOK)
	}
	if a := b.nobody("Authorization: Bearer " + secret).get("/me"); a.text("id") != machine.ID || a.text("name") != "máy" {
		t.Errorf("a machine: %s", a.raw)
	}
	enrolment, _, err := b.issuer.AddToken(t.Context(), "client", "loa", "31", time.Hour, "cli")
	b.must(err)
	refused := map[string]string{
		"nobody":                    "",
		"another scheme":            "Authorization: Basic " + secret,
		"a scheme alone":            "Authorization: Bearer",
		"a token alone":             "Authorization: " + secret,
		"a wrong token":             "Authorization: Bearer dt_aaaa",
		"half a token":              "Authorization: Bearer " + secret[:len(secret)/2],
		"the token's id":            "Authorization: Bearer " + machine.ID,
		"an enrolment token":        "Authorization: Bearer " + enrolment,
		"a wrong token and a login": "Authorization: Bearer dt_aaaa", // with the cookie, below
		"a cookie that is none":     "Cookie: dongthanh=abc",
		"the cookie of https":       "Cookie: __Host-" + cookie,
		"a token as a cookie":       "Cookie: dongthanh=" + secret,
		"a login as a token":        "Authorization: Bearer " + strings.TrimPrefix(cookie, "dongthanh="),
	}
	for what, h := range refused {
		c := b.nobody()
		if h != "" {
			c = b.nobody(h)
		}
		if what == "a wrong token and a login" {
			c = b.nobody(h, "Cookie: "+cookie)
		}
		a := c.get("/zones")
		a.refused(what, http.StatusUnauthorized, "unauthenticated")
		if a.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: WWW-Authenticate = %q", what, a.header.Get("WWW-Authenticate"))
		}
	}
	for _, route := range []string{
		"GET /me", "GET /zones", "POST /zones", "GET /nodes", "GET /nodes/x", "POST /audio", "POST /sessions", "GET /sessions",
		"GET /sessions/x", "POST /sessions/x/stop", "GET /sessions/x/microphone", "GET /events",
	} {
		method, path, _ := strings.Cut(route, " ")
		b.nobody().do(method, path, nil).refused(route, http.StatusUnauthorized, "unauthenticated")
	}
	b.nobody().get("/nothing").refused("a path that is none", http.StatusNotFound, "not_found")

	b.must(b.store.RevokeToken(t.Context(), machine.ID, time.Now()))
	b.nobody("Authorization: Bearer "+secret).get("/zones").refused("a revoked token", http.StatusUnauthorized, "unauthenticated")
	b.ahead.Store(int64(2 * time.Minute))
	b.nobody("Authorization: Bearer "+short).get("/zones").refused("an expired token", http.StatusUnauthorized, "unauthenticated")
	b.nobody("Cookie: "+cookie).get("/me").ok("a login in use", http.StatusOK)
	b.ahead.Store(int64(2*time.Minute + accounts.Idle))
	b.nobody("Cookie: "+cookie).get("/me").refused("a login that nobody used", http.StatusUnauthorized, "unauthenticated")

	fresh := b.as("lan")
	u, err := b.store.UserByName(t.Context(), "lan")
	b.must(err)
	b.must(b.accounts.Disable(t.Context(), u.ID))
	fresh.get("/me").refused("somebody who was disabled", http.StatusUnauthorized, "unauthenticated")
}

func TestRemote(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.7:4711": "192.0.2.7", "[2001:db8::1]:80": "2001:db8::1", "[::ffff:192.0.2.7]:80": "192.0.2.7", "": "invalid IP", "x": "invalid IP", "name:80": "invalid IP",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = from
		if got := Remote(r).String(); got != want {
			t.Errorf("Remote(%q) = %s, want %s", from, got, want)
		}
	}
}
