package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/session"
)

const typeSDP = "application/sdp"

// whipURL is where the microphone of a session is to be brought, under the name by which the caller reached us.
func (a *api) whipURL(r *http.Request, s session.Session) string {
	if s.SourceKind != session.SourceWHIP || over(s.State) {
		return ""
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host + "/api/v1/whip/" + s.ID
}

// whipSession finds the session of a WHIP request, if the principal may speak as it does wherever it does.
func (a *api) whipSession(r *http.Request) (session.Session, error) {
	s, err := a.visible(r)
	if err != nil {
		return s, err
	}
	if class, _ := session.ParseClass(s.Class); !maySpeak(who(r), class, s.Zones) {
		return s, errForbidden
	}
	if s.SourceKind != session.SourceWHIP || over(s.State) {
		return s, session.ErrOver
	}
	return s, nil
}

// whip takes a microphone by WHIP (RFC 9725 §4.2): an SDP offer, answered with all candidates. A client whose connection
// broke comes again, since there is nothing to resume: a new microphone takes the place of one that is dead, and only of
// such a one.
func (a *api) whip(w http.ResponseWriter, r *http.Request) error {
	s, err := a.whipSession(r)
	if err != nil {
		return err
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != typeSDP {
		w.Header().Set("Accept-Post", typeSDP)
		return problemf(http.StatusUnsupportedMediaType, "media_type", "Yêu cầu micrô phải có Content-Type là application/sdp.")
	}
	offer, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOffer))
	if err != nil {
		return err
	}
	answer, mic, err := a.Microphones.Accept(r.Context(), string(offer))
	if errors.Is(err, ingest.ErrTooMany) {
		w.Header().Set("Retry-After", "5")
	}
	if err != nil {
		return err
	}
	if _, err := a.Sessions.Attach(s.ID, mic, session.Claim{By: who(r).ID, Yield: true}); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", typeSDP)
	h.Set("Location", "/api/v1/whip/"+s.ID+"/microphone")
	a.tellServers(w)
	h.Set("ETag", strconv.Quote(iceUfrag(answer))) // names the ICE session (RFC 9725 §4.3.1)
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, answer) // an error means that the client is gone
	return nil
}

// iceUfrag is the answer's name for its ICE session.
func iceUfrag(answer string) string {
	_, rest, _ := strings.Cut(answer, "a=ice-ufrag:")
	ufrag, _, _ := strings.Cut(rest, "\r\n")
	return ufrag
}

// endWhip ends the microphone, and with it the session once its last words are due (RFC 9725 §4.2).
func (a *api) endWhip(w http.ResponseWriter, r *http.Request) error {
	s, err := a.whipSession(r)
	if err != nil {
		return err
	}
	if !a.Sessions.EndMicrophone(s.ID) {
		return problemf(http.StatusNotFound, "not_found", "Buổi phát này chưa có micrô.")
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// forPages lets pages of other sites use what h answers, as WHIP asks (RFC 9725 §4.2), by a token that they hold: cookies
// are SameSite=Strict and without Access-Control-Allow-Credentials, so that no page speaks for whoever is signed in.
func forPages(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		allowPages(w)
		return h(w, r)
	}
}

func allowPages(w http.ResponseWriter) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Expose-Headers", "Location, ETag, Link, Accept-Post")
}

const (
	whipMethods       = "GET, HEAD, OPTIONS, POST"
	whipMicrophone    = "DELETE, GET, HEAD, OPTIONS"
	preflightLifetime = "600" // seconds; browsers keep it no longer than two hours
)

// whipOptions tells what is taken, and answers a page's preflight (RFC 9725 §4.2). Only who is not a page, and says who it
// is, learns the ICE servers here, for they may come with a password; a page learns them with its answer.
func (a *api) whipOptions(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Accept-Post", typeSDP)
	a.tellOptions(w, r, whipMethods)
	return nil
}

// whipMicrophoneOptions does the same for a microphone that there is.
func (a *api) whipMicrophoneOptions(w http.ResponseWriter, r *http.Request) error {
	a.tellOptions(w, r, whipMicrophone)
	return nil
}

func (a *api) tellOptions(w http.ResponseWriter, r *http.Request, methods string) {
	allowPages(w)
	h := w.Header()
	h.Set("Allow", methods)
	if r.Header.Get("Access-Control-Request-Method") == "" {
		if _, err := a.principal(r); err == nil {
			a.tellServers(w)
		}
	} else {
		h.Set("Access-Control-Allow-Methods", methods)
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match")
		h.Set("Access-Control-Max-Age", preflightLifetime)
	}
	w.WriteHeader(http.StatusOK)
}

// tellServers names the ICE servers that a client may need where it is (RFC 9725 §4.6).
func (a *api) tellServers(w http.ResponseWriter) {
	for _, link := range a.ICEServers {
		w.Header().Add("Link", link)
	}
}

// whipNothing answers GET, for which WHIP has no content (RFC 9725 §4).
func whipNothing(w http.ResponseWriter, _ *http.Request) error {
	allowPages(w)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// whipMethod and microphoneMethod refuse what WHIP has no use for.
func whipMethod(w http.ResponseWriter, _ *http.Request) error {
	allowPages(w)
	w.Header().Set("Allow", whipMethods)
	return problemf(http.StatusMethodNotAllowed, "method", "Địa chỉ WHIP chỉ nhận POST để mở micrô.")
}

func microphoneMethod(w http.ResponseWriter, _ *http.Request) error {
	allowPages(w)
	w.Header().Set("Allow", whipMicrophone)
	return problemf(http.StatusMethodNotAllowed, "method", "Micrô này không nhận thay đổi; hãy kết nối lại từ đầu.")
}

// patchWhip refuses trickled candidates and ICE restarts: all candidates are in the answer, and a client's own are
// not needed (RFC 9725 §4.3).
func patchWhip(w http.ResponseWriter, r *http.Request) error { return microphoneMethod(w, r) }
