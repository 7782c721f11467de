package api

import (
	"net/http"
	"strings"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
)

// tokenLife is how long an enrolment token can be used: a day is enough to get to the pole.
const tokenLife = 24 * time.Hour

// tokenJSON is a new enrolment token as the API tells it, once.
type tokenJSON struct {
	ID      string    `json:"id"`
	Token   string    `json:"token"`
	Expires time.Time `json:"expires_at"`
}

// addToken makes a one-time token by which a machine becomes a relay or loudspeaker. Only a person may: a token that
// makes tokens would outlive its revocation.
func (a *api) addToken(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
		Zone string `json:"zone"`
	}
	if err := read(r, &body); err != nil {
		return err
	}
	kind, name, p := identity.Kind(body.Kind), strings.TrimSpace(body.Name), who(r)
	z, err := zone.Parse(body.Zone)
	switch {
	case kind != identity.Relay && kind != identity.Client:
		return problemf(http.StatusUnprocessableEntity, "kind", "Loại thiết bị phải là relay (nút chuyển tiếp) hoặc client (loa).")
	case name == "":
		return errNoName
	case err != nil:
		return errNoZone
	case p.Machine || !p.Can(accounts.ManageNodes, z):
		return errForbidden
	}
	text, id, err := a.Registry.AddToken(r.Context(), kind, name, z, tokenLife, p.ID)
	if err != nil {
		return err
	}
	a.Log.Info("enrolment token", "id", id, "kind", body.Kind, "name", name, "zone", string(z), "by", p.Name)
	return write(w, http.StatusCreated, tokenJSON{ID: id, Token: text, Expires: time.Now().Add(tokenLife).UTC()})
}

var (
	errNoName = problemf(http.StatusUnprocessableEntity, "invalid", "Hãy đặt tên cho thiết bị.")
	errNoZone = problemf(http.StatusUnprocessableEntity, "unknown_zone", "Địa bàn không có trong hệ thống.")
)
