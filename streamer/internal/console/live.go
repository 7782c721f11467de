package console

import (
	"context"
	"net/http"
	"strconv"

	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/library"
	"dongthanh/streamer/internal/speech"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/voice"
)

const (
	// foldFrom is the number of zones from which communes show their hamlets only when asked to, and a box to search
	// appears. Taste: what a phone shows in three screens.
	foldFrom = 40
	// mostZones bounds the tree of a page, whose boxes would take an old phone seconds to draw: the deepest levels are
	// left out beyond. All provinces with all communes are 3355.
	mostZones = 5000
)

// liveBody is what the live page shows.
type liveBody struct {
	Zones    []*zoneBox
	Many     bool // more than foldFrom: with a box to search
	Cut      bool // levels were left out
	Total    int
	MaxZones int // that one broadcast can name
	MaySpeak bool
	MayStop  bool
	Within   zone.Zone // where the person acts

	ChimeSeconds float64
	MaxText      int   // characters of a text to be read
	MaxFile      int64 // bytes of a file
}

// MaxFileMB is MaxFile as people read it.
func (b liveBody) MaxFileMB() string { return strconv.FormatInt(b.MaxFile>>20, 10) }

// zoneBox is a zone with what lies directly beneath it.
type zoneBox struct {
	Code     zone.Zone
	Name     string
	Folded   bool // its children are shown only when asked for
	Children []*zoneBox
}

// live shows the page to speak from. What it may not do is not offered, but it is the API that refuses.
func (c *Console) live(w http.ResponseWriter, r *http.Request, p accounts.Principal) {
	body, err := c.zones(r.Context(), p.Zone)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	body.MaySpeak = p.Can(accounts.SpeakNormal, p.Zone)
	body.MayStop = p.Can(accounts.Stop, p.Zone)
	c.render(w, r, http.StatusOK, "live", page{Title: "live.title", Who: &p, Body: body})
}

// zones reads the tree at and beneath within.
func (c *Console) zones(ctx context.Context, within zone.Zone) (liveBody, error) {
	list, err := c.Store.Zones(ctx)
	if err != nil {
		return liveBody{}, err
	}
	shown, total := visible(list, within)
	return liveBody{
		Zones: grow(shown, len(shown) > foldFrom), Many: len(shown) > foldFrom, Cut: len(shown) < total, Total: total,
		MaxZones: signed.MaxZones, Within: within, ChimeSeconds: voice.ChimeFrames / 50.0,
		MaxText: speech.MaxText, MaxFile: library.MaxBytes,
	}, nil
}

// visible returns the zones at or beneath within, without the deepest levels if they are more than a page can hold,
// and how many there are in all.
func visible(list []store.Zone, within zone.Zone) (shown []store.Zone, total int) {
	perLevel := make([]int, zone.MaxDepth+1)
	for _, z := range list {
		if z.Code != "" && within.Contains(z.Code) {
			perLevel[z.Code.Level()]++
			total++
		}
	}
	deepest := zone.MaxDepth
	for n := total; n > mostZones; deepest-- {
		n -= perLevel[deepest]
	}
	for _, z := range list {
		if z.Code != "" && within.Contains(z.Code) && z.Code.Level() <= deepest {
			shown = append(shown, z)
		}
	}
	return shown, total
}

// grow joins zones, given in tree order, into trees. With fold, what lies beneath a commune is shown only when asked
// for.
func grow(list []store.Zone, fold bool) (roots []*zoneBox) {
	byCode := map[zone.Zone]*zoneBox{}
	for _, z := range list {
		box := &zoneBox{Code: z.Code, Name: z.Name}
		byCode[z.Code] = box
		parent := byCode[z.Code.Parent()]
		if parent == nil {
			roots = append(roots, box)
			continue
		}
		parent.Children = append(parent.Children, box)
		parent.Folded = fold && parent.Code.Level() > 1 && byCode[parent.Code.Parent()] != nil // roots stay open
	}
	return roots
}
