package api

import (
	"net/http"
	"time"

	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/nodes"
	"dongthanh/streamer/internal/store"
)

// nodeJSON is a relay or loudspeaker.
type nodeJSON struct {
	ID       string      `json:"id"`
	Name     string      `json:"name"`
	Kind     string      `json:"kind"`
	Zone     string      `json:"zone"`
	State    string      `json:"state"` // offline, online or playing
	Upstream string      `json:"upstream"`
	Standby  []string    `json:"standby"`
	Version  string      `json:"version"`
	Address  string      `json:"address"`
	Since    *time.Time  `json:"since"`             // connected since; offline: not connected since, null if it never was
	Session  string      `json:"session"`           // the one it is hearing
	Health   *healthJSON `json:"health"`            // its own last report; null: none yet
	Volume   *float64    `json:"volume_db"`         // as wished; null: no loudspeaker
	Applied  *float64    `json:"applied_volume_db"` // as the loudspeaker itself says; null: it has not
}

type healthJSON struct {
	ReportedAt     time.Time `json:"reported_at"`
	Played         uint32    `json:"frames_played"`
	Repaired       uint32    `json:"frames_repaired"`
	Concealed      uint32    `json:"frames_concealed"`
	Late           uint32    `json:"frames_late"`
	RTTSeconds     float64   `json:"rtt_seconds"`
	Loss           float64   `json:"loss_ratio"`
	ClockError     float64   `json:"clock_error_seconds"`
	ArrivalSeconds float64   `json:"arrival_seconds"`
}

func nodeOf(n nodes.Node) nodeJSON {
	j := nodeJSON{
		ID: n.ID, Name: n.Name, Kind: string(n.Kind), Zone: string(n.Zone), State: string(n.State), Upstream: n.Upstream,
		Standby: append([]string{}, n.Standby...), Version: n.Version, Address: n.Address, Since: instant(n.Since), Session: n.Session,
	}
	if n.Kind == store.NodeClient {
		j.Volume, j.Applied = decibels(&n.Volume), decibels(n.Applied)
	}
	if r := n.Report; !n.ReportedAt.IsZero() {
		const micro = 1e-6
		j.Health = &healthJSON{
			ReportedAt: n.ReportedAt.UTC(), Played: r.Played, Repaired: r.Repaired, Concealed: r.Concealed, Late: r.Late,
			RTTSeconds: float64(r.RTTMicros) * micro, Loss: float64(r.LossPermille) / 1000,
			ClockError: float64(r.ClockMicros) * micro, ArrivalSeconds: float64(r.ArrivalMS) / 1000,
		}
	}
	return j
}

// instant is a time for JSON: null where there is none.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (a *api) nodes(w http.ResponseWriter, r *http.Request) error {
	p, list := who(r), []nodeJSON{}
	for _, n := range a.Nodes.List() {
		if p.Can(accounts.View, n.Zone) {
			list = append(list, nodeOf(n))
		}
	}
	return write(w, http.StatusOK, list)
}

func (a *api) node(w http.ResponseWriter, r *http.Request) error {
	n, ok := a.Nodes.Get(r.PathValue("id"))
	if !ok || !who(r).Can(accounts.View, n.Zone) {
		return errNoSuchNode
	}
	return write(w, http.StatusOK, nodeOf(n))
}

var errNoSuchNode = problemf(http.StatusNotFound, "not_found", "Không có thiết bị này.")
