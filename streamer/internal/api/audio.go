package api

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/library"
	"dongthanh/streamer/internal/recording"
)

// uploadWait is how long an upload may take: the largest file at 1 Mbit/s.
const uploadWait = library.MaxBytes / (1 << 17) * time.Second

// upload takes a sound file as the raw body; ?name= says what people call it.
func (a *api) upload(w http.ResponseWriter, r *http.Request) error {
	p := who(r)
	if !p.Can(accounts.Upload, p.Zone) {
		return errForbidden
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(uploadWait)) // every connection of the server has one
	name := strings.TrimSpace(r.URL.Query().Get("name"))
	if name == "" {
		name = "audio.wav"
	}
	audio, err := a.Library.Add(r.Context(), http.MaxBytesReader(w, r.Body, library.MaxBytes), name, p.ID)
	if err != nil {
		return err
	}
	return write(w, http.StatusCreated, audioJSON{audio.ID, audio.Seconds, audio.LUFS})
}

// audioJSON is a sound in the library.
type audioJSON struct {
	ID      string  `json:"id"`
	Seconds float64 `json:"seconds"`
	LUFS    float64 `json:"lufs"`
}

// reuse puts the recording of a session that is over into the library, so that it can be broadcast again.
func (a *api) reuse(w http.ResponseWriter, r *http.Request) error {
	s, err := a.visible(r)
	if err != nil {
		return err
	}
	p := who(r)
	if !p.Can(accounts.Upload, p.Zone) {
		return errForbidden
	}
	f, _, err := a.Recordings.Open(r.Context(), s.ID)
	if errors.Is(err, recording.ErrNone) {
		return errNoRecording
	}
	if err != nil {
		return err
	}
	defer f.Close()
	audio, err := a.Library.Add(r.Context(), f, fileName(s), p.ID)
	if err != nil {
		return err
	}
	return write(w, http.StatusCreated, audioJSON{audio.ID, audio.Seconds, audio.LUFS})
}
