package api

import (
	"math"
	"net/http"
	"time"

	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/nodes"
	"dongthanh/streamer/internal/store"
)

const (
	leastVolume = float64(signed.MinVolume) / 100 // dB
	toneSeconds = 3                               // where the request does not say
	mostTone    = float64(signed.MaxTone) / float64(time.Second)
)

// nodeChange is the body of PATCH /nodes/{id}: what is left out stays as it is.
type nodeChange struct {
	Name   *string  `json:"name,omitempty"`
	Zone   *string  `json:"zone,omitempty"`
	Volume *float64 `json:"volume_db,omitempty"`
}

// changeNode changes what is wished of a node.
func (a *api) changeNode(w http.ResponseWriter, r *http.Request) error {
	n, err := a.managed(r)
	if err != nil {
		return err
	}
	var body nodeChange
	if err := read(r, &body); err != nil {
		return err
	}
	if body == (nodeChange{}) {
		return problemf(http.StatusUnprocessableEntity, "no_change", "Yêu cầu không nêu điều gì cần thay đổi.")
	}
	if body.Volume != nil { // all or nothing
		if err := checkVolume(n, *body.Volume); err != nil {
			return err
		}
	}
	if body.Name != nil || body.Zone != nil {
		if err := a.moveNode(r, n, body.Name, body.Zone); err != nil {
			return err
		}
	}
	if body.Volume != nil {
		if err := a.turn(r, n, *body.Volume); err != nil {
			return err
		}
	}
	n, ok := a.Nodes.Get(n.ID)
	if !ok {
		return errNoSuchNode
	}
	return write(w, http.StatusOK, nodeOf(n))
}

// checkVolume reports why a volume cannot be wished of a node.
func checkVolume(n nodes.Node, db float64) error {
	switch {
	case !(leastVolume <= db && db <= 0):
		return problemf(http.StatusUnprocessableEntity, "volume", "Âm lượng phải từ %g đến 0 dB.", leastVolume)
	case n.Kind != store.NodeClient:
		return nodes.ErrNotLoudspeaker
	}
	return nil
}

// turn wishes a loudspeaker's volume. One that is not connected takes it on when it is back.
func (a *api) turn(r *http.Request, n nodes.Node, db float64) error {
	if err := a.Nodes.TurnTo(r.Context(), n.ID, int32(math.Round(db*100))); err != nil {
		return err
	}
	a.Log.Info("volume of a loudspeaker", "node", n.ID, "name", n.Name, "decibels", db, "by", who(r).Name)
	return nil
}

// tone has a loudspeaker sound the test tone.
func (a *api) tone(w http.ResponseWriter, r *http.Request) error {
	n, err := a.managed(r)
	if err != nil {
		return err
	}
	body := struct {
		Seconds float64 `json:"seconds"`
	}{toneSeconds}
	if err := read(r, &body); err != nil {
		return err
	}
	if !(1 <= body.Seconds && body.Seconds <= mostTone) {
		return problemf(http.StatusUnprocessableEntity, "seconds", "Tiếng thử phải dài từ 1 đến %g giây.", mostTone)
	}
	if err := a.Nodes.Tone(n.ID, time.Duration(body.Seconds*float64(time.Second))); err != nil {
		return err
	}
	a.Log.Info("test tone", "node", n.ID, "name", n.Name, "seconds", body.Seconds, "by", who(r).Name)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// managed returns the node that a request names, if whoever asks manages it. One that they cannot even see is not there.
func (a *api) managed(r *http.Request) (nodes.Node, error) {
	n, ok := a.Nodes.Get(r.PathValue("id"))
	switch p := who(r); {
	case !ok || !p.Can(accounts.View, n.Zone):
		return nodes.Node{}, errNoSuchNode
	case !p.Can(accounts.ManageNodes, n.Zone):
		return nodes.Node{}, errMayNotManage
	}
	return n, nil
}

var errMayNotManage = problemf(http.StatusForbidden, "forbidden", "Chỉ kỹ thuật viên hoặc quản trị viên của địa bàn được chỉnh thiết bị này.")

// decibels is a volume for JSON: null where there is none.
func decibels(hundredths *int32) *float64 {
	if hundredths == nil {
		return nil
	}
	db := float64(*hundredths) / 100
	return &db
}
