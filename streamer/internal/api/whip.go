package api

import (
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

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
	if err != nil {
		return err
	}
	if _, err := a.Sessions.Attach(s.ID, mic, session.Claim{By: who(r).ID, Yield: true}); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", typeSDP)
	h.Set("Location", "/api/v1/whip/"+s.ID+"/microphone")
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

// whipOptions tells what is taken. There is nothing in it that allows pages of other sites to speak.
func whipOptions(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Accept-Post", typeSDP)
	w.Header().Set("Allow", "OPTIONS, POST")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// patchWhip refuses trickled candidates and ICE restarts: all candidates are in the answer, and a client's own are
// not needed (RFC 9725 §4.3).
func patchWhip(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Allow", "DELETE")
	return problemf(http.StatusMethodNotAllowed, "method", "Micrô này không nhận thay đổi; hãy kết nối lại từ đầu.")
}
