package api

import (
	"context"
	"encoding/hex"
	"errors"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode"

	"dongthanh/streamer/internal/recording"
	"dongthanh/streamer/internal/session"
)

// downloadWait is how long a client may take to read a recording: the longest session at 64 kbit/s over a line of 128.
const downloadWait = 2 * time.Hour

var errNoRecording = problemf(http.StatusNotFound, "no_recording", "Buổi phát này không có bản ghi âm.")

// recordingJSON is a recording as the API tells it.
type recordingJSON struct {
	Seconds float64 `json:"seconds"`
	Bytes   int64   `json:"bytes"`
	Missing float64 `json:"missing_seconds"`
}

// recordingOf tells of a session's recording; nil: there is none, or not yet, or no more.
func (a *api) recordingOf(ctx context.Context, id string) *recordingJSON {
	x, err := a.Store.Recording(ctx, id)
	if err != nil || !x.Removed.IsZero() {
		return nil
	}
	return &recordingJSON{Seconds: x.Seconds, Bytes: x.Bytes, Missing: x.Missing}
}

// recording sends the sound of a session that is over, whole or in parts (RFC 9110 §14).
func (a *api) recording(w http.ResponseWriter, r *http.Request) error {
	s, err := a.visible(r)
	if err != nil {
		return err
	}
	f, x, err := a.Recordings.Open(r.Context(), s.ID)
	if errors.Is(err, recording.ErrNone) {
		return errNoRecording
	}
	if err != nil {
		return err
	}
	defer f.Close()
	disposition := "inline"
	if r.URL.Query().Has("download") {
		disposition = "attachment"
	}
	flush := http.NewResponseController(w)
	_ = flush.SetWriteDeadline(time.Now().Add(downloadWait))   // every connection of the server has one
	defer func() { _ = flush.SetWriteDeadline(time.Time{}) }() // the next request on it has its own
	h := w.Header()
	h.Set("Content-Type", "audio/ogg")
	h.Set("ETag", `"`+hex.EncodeToString(x.SHA256[:])+`"`)
	h.Set("Cache-Control", "private, no-cache") // kept by the browser, and asked for with its rights each time
	h.Set("Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": fileName(s)}))
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range") // no player asks for parts apart, and thousands of them would cost more than the whole
	}
	http.ServeContent(w, r, "", x.Recorded, f)
	return nil
}

// fileName is what a downloaded recording is called: when and what.
func fileName(s session.Session) string {
	title := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) || strings.ContainsRune(`/\:*?"<>|`, c) {
			return ' ' // no system takes these in a name
		}
		return c
	}, s.Title)
	words := []rune(strings.Join(strings.Fields(title), " "))
	at := s.Started.In(time.FixedZone("ICT", 7*60*60)) // the time of Viet Nam
	name := strings.TrimSpace(at.Format("2006-01-02 15h04") + " " + strings.Trim(string(words[:min(len(words), 80)]), ". "))
	return name + ".ogg"
}

// listenerJSON is a loudspeaker that a session was meant for.
type listenerJSON struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Zone      string     `json:"zone"`
	Heard     bool       `json:"heard"`
	From      *time.Time `json:"from"` // of what it heard
	To        *time.Time `json:"to"`
	Played    uint64     `json:"played"` // frames of 20 ms
	Repaired  uint64     `json:"repaired"`
	Concealed uint64     `json:"concealed"`
	Late      uint64     `json:"late"`
	State     string     `json:"state"`     // offline, online or playing (something else), at the session's end
	LastSeen  *time.Time `json:"last_seen"` // its last report of any kind; null: none is known
}

// listeners tells who heard a session and who did not, of the loudspeakers in the principal's zone. While it is on air
// that is how it stands now.
func (a *api) listeners(w http.ResponseWriter, r *http.Request) error {
	s, err := a.visible(r)
	if err != nil {
		return err
	}
	list := a.Nodes.Heard(s.ID)
	if list == nil {
		if list, err = a.Store.Listeners(r.Context(), s.ID); err != nil {
			return err
		}
	}
	out := []listenerJSON{}
	for _, l := range list {
		if !who(r).Zone.Contains(l.Zone) { // every role sees the nodes of its zone, and of no other
			continue
		}
		out = append(out, listenerJSON{
			ID: l.Node, Name: l.Name, Zone: string(l.Zone), Heard: !l.From.IsZero(), From: instant(l.From), To: instant(l.To),
			Played: l.Played, Repaired: l.Repaired, Concealed: l.Concealed, Late: l.Late, State: l.State, LastSeen: instant(l.Seen),
		})
	}
	return write(w, http.StatusOK, out)
}
