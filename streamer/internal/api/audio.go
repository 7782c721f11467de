package api

import (
	"net/http"
	"strings"
	"time"

	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/library"
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
	return write(w, http.StatusCreated, struct {
		ID      string  `json:"id"`
		Seconds float64 `json:"seconds"`
		LUFS    float64 `json:"lufs"`
	}{audio.ID, audio.Seconds, audio.LUFS})
}
