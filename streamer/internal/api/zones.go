package api

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/store"
)

// zoneNode is a zone with what lies directly beneath it.
type zoneNode struct {
	Code     string      `json:"code"` // the whole path
	Name     string      `json:"name"`
	Children []*zoneNode `json:"children"`
}

// zones answers the tree that the principal may see.
func (a *api) zones(w http.ResponseWriter, r *http.Request) error {
	list, err := a.Store.Zones(r.Context())
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, tree(list, who(r).Zone))
}

// tree joins zones at or beneath top into trees, in the order of their codes.
func tree(list []store.Zone, top zone.Zone) []*zoneNode {
	list = slices.DeleteFunc(slices.Clone(list), func(z store.Zone) bool { return z.Code == "" || !top.Contains(z.Code) })
	slices.SortFunc(list, func(a, b store.Zone) int { return cmp.Compare(a.Code, b.Code) })
	roots, byCode := []*zoneNode{}, map[zone.Zone]*zoneNode{}
	for _, z := range list {
		n := &zoneNode{Code: string(z.Code), Name: z.Name, Children: []*zoneNode{}}
		byCode[z.Code] = n
		if parent := byCode[z.Code.Parent()]; parent != nil {
			parent.Children = append(parent.Children, n)
		} else {
			roots = append(roots, n)
		}
	}
	return roots
}

func (a *api) addZone(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Code string `json:"code"`
		Name string `json:"name"`
	}
	if err := read(r, &body); err != nil {
		return err
	}
	z, err := zone.Parse(body.Code)
	if err != nil || z == "" {
		return problemf(http.StatusUnprocessableEntity, "code", "Mã địa bàn %q không hợp lệ.", body.Code)
	}
	if !who(r).Can(accounts.ManageZones, z.Parent()) {
		return errForbidden
	}
	if _, _, err := a.Store.UpsertZones(r.Context(), []store.Zone{{Code: z, Name: body.Name, Parent: z.Parent()}}, time.Now()); err != nil {
		return err
	}
	kept, err := a.Store.Zone(r.Context(), z)
	if err != nil {
		return err
	}
	return write(w, http.StatusCreated, zoneNode{Code: string(z), Name: kept.Name, Children: []*zoneNode{}})
}
