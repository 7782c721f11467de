package web

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// hsts has browsers use https alone for a year, by a name whose certificate they know by themselves. Never with the own
// authority's: a machine that has not installed it would be locked out even from the page that helps to. Browsers ignore
// it for addresses (RFC 6797 §8.1.1).
const hsts = "max-age=31536000"

// guard leads each request to who answers it. To every answer it adds what keeps browsers safe; it refuses what comes
// from another site and bodies that trickle in, and survives a handler that panics.
func (s *Server) guard() http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "Yêu cầu đến từ một trang khác và bị từ chối.", http.StatusForbidden)
	}))
	// WHIP is for pages of other sites, too. A token lets them in, never a cookie: the API takes no request there that a
	// browser would send without asking, and does not let it send cookies when it asks.
	crossOrigin.AddInsecureBypassPattern("/api/v1/whip/")
	protected := crossOrigin.Handler(s.o.Handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(v)
				}
				s.o.Log.Error("http handler panicked", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
				http.Error(w, "Hệ thống gặp lỗi. Hãy thử lại.", http.StatusInternalServerError)
			}
		}()
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "microphone=(self), camera=(), geolocation=()")
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.bodyWait)) // a real connection has one
		}
		switch {
		case r.TLS != nil:
			if !s.o.Certificates.Own(r.TLS.ServerName) {
				h.Set("Strict-Transport-Security", hsts)
			}
			protected.ServeHTTP(w, r)
		case onThisMachine(r):
			protected.ServeHTTP(w, r)
		default:
			r.Header.Del("Cookie")        // whoever answers cannot take them by mistake
			r.Header.Del("Authorization") // it is known to others by now
			r.Host = s.secureHost(r)
			s.o.Plain.ServeHTTP(w, r)
		}
	})
}

// onThisMachine reports whether a request came by loopback, from end to end: a router's rule that leads strangers to a
// loopback address leaves theirs.
func onThisMachine(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok || !addrOf(local).IsLoopback() {
		return false
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && remote.Addr().Unmap().IsLoopback()
}

// secureHost is host:port where what was asked for by plain http is served by https: the same, since one port speaks
// both, unless it came by the further address for ACME. A public name leads to port 443 then, anything else to ours.
func (s *Server) secureHost(r *http.Request) string {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	ours, came := s.Addr().(*net.TCPAddr), local.(*net.TCPAddr)
	port := strconv.Itoa(ours.Port)
	switch host := hostOnly(r.Host); {
	case r.Host == "": // HTTP/1.0 may leave it out
		return net.JoinHostPort(addrOf(came).String(), port)
	case came.Port == ours.Port:
		return r.Host
	case strings.EqualFold(host, s.o.Config.TLS.ACME):
		return host
	default:
		return net.JoinHostPort(host, port)
	}
}

// hostOnly is a Host header without its port and brackets.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}
