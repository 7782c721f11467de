package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/api"
	"dongthanh/streamer/internal/store"
)

const (
	// rowsOfListeners bounds each of the two tables of loudspeakers; the API tells all. Taste: what a page can show.
	rowsOfListeners = 300
	// recordingWait is how long after its end a session's recording may still be in the making.
	recordingWait = time.Minute
	// worthTelling is from when on missing sound is told: less is a hiccup that nobody hears. Seconds.
	worthTelling = 0.1
)

// sessionDetail is one broadcast as its own page tells it.
type sessionDetail struct {
	sessionRow
	Source    string         // key of a text
	Recording *recordingView // nil: there is none
	Removed   string         // the day on which it was removed; empty: it was not
	Waiting   bool           // it is being finished
	Hearers   []listenerRow  // in the person's own zone
	Others    []listenerRow  // that did not hear
	More      int            // of both, left out
	Known     bool           // there is something to tell of loudspeakers
}

type recordingView struct {
	URL     string
	Lasts   string
	Size    string
	Missing string // empty: nothing worth telling
	Replay  string // the live page with it chosen; empty: for whoever may not broadcast
}

type listenerRow struct {
	Name, Zone string
	From, To   string
	Share      string // of the frames that came, in percent
	Whole      bool
	State      string // key of a text: why it did not hear
	Since      string
}

// session shows one broadcast: what, where, who, how long, its sound, and who heard it.
func (c *Console) session(w http.ResponseWriter, r *http.Request, p accounts.Principal) {
	x, err := c.Store.Session(r.Context(), r.PathValue("id"))
	if errors.Is(err, store.ErrNotFound) || err == nil && !api.MaySee(p, x.Zones) {
		c.render(w, r, http.StatusNotFound, "fault", page{Title: "fault.lost", Who: &p, Body: "fault.lost_hint"})
		return
	}
	var body sessionDetail
	if err == nil {
		body, err = c.detail(r.Context(), p, x)
	}
	if err != nil {
		c.fail(w, r, err)
		return
	}
	c.render(w, r, http.StatusOK, "session", page{Title: "detail.title", Who: &p, Body: body})
}

func (c *Console) detail(ctx context.Context, p accounts.Principal, x store.Session) (sessionDetail, error) {
	names := &names{store: c.Store, zones: map[zone.Zone]string{}, people: map[string]string{}}
	now := time.Now()
	d := sessionDetail{sessionRow: names.row(ctx, x, now), Source: "source." + x.SourceKind}
	if _, ok := inVietnamese[d.Source]; !ok {
		d.Source = "source.other"
	}
	rec, err := c.Store.Recording(ctx, x.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		d.Waiting = d.Sounded && !d.OnAir && now.Sub(x.Ended) < recordingWait
	case err != nil:
		return d, err
	case !rec.Removed.IsZero():
		d.Removed = local(rec.Removed).Format("02/01/2006")
	default:
		d.Recording = &recordingView{
			URL: "/api/v1/sessions/" + x.ID + "/recording", Lasts: clock(time.Duration(rec.Seconds * float64(time.Second))), Size: size(rec.Bytes),
		}
		if p.Can(accounts.SpeakNormal|accounts.Upload, p.Zone) {
			d.Recording.Replay = "/live?replay=" + x.ID
		}
		if rec.Missing >= worthTelling {
			d.Recording.Missing = decimal(rec.Missing)
		}
	}
	list, err := c.listeners(ctx, x.ID)
	for _, l := range list {
		if !p.Zone.Contains(l.Zone) {
			continue // every role sees the nodes of its zone, and of no other
		}
		d.Known = true
		rows := &d.Others
		if !l.From.IsZero() {
			rows = &d.Hearers
		}
		if len(*rows) == rowsOfListeners {
			d.More++
			continue
		}
		*rows = append(*rows, listenerOf(l, names.zone(ctx, l.Zone)))
	}
	return d, err
}

// listeners tells who hears a session, or heard it.
func (c *Console) listeners(ctx context.Context, session string) ([]store.Listener, error) {
	if list := c.Nodes.Heard(session); list != nil {
		return list, nil
	}
	return c.Store.Listeners(ctx, session)
}

func listenerOf(l store.Listener, place string) listenerRow {
	row := listenerRow{Name: l.Name, Zone: place, State: "was." + l.State}
	if !l.Seen.IsZero() {
		row.Since = local(l.Seen).Format("15:04 02/01/2006")
	}
	if l.From.IsZero() {
		return row
	}
	row.From, row.To = local(l.From).Format("15:04:05"), local(l.To).Format("15:04:05")
	all, good := l.Played+l.Repaired+l.Concealed+l.Late, l.Played+l.Repaired
	row.Whole = good == all
	switch share := 100 * float64(good) / float64(max(all, 1)); {
	case all == 0:
		row.Share = "–"
	case row.Whole:
		row.Share = "100 %"
	default:
		row.Share = decimal(min(share, 99.9)) + " %" // what is not whole must not look it
	}
	return row
}

// decimal writes a number with one digit after the comma, as Vietnamese does.
func decimal(v float64) string {
	return strings.Replace(strconv.FormatFloat(v, 'f', 1, 64), ".", ",", 1)
}

// size writes a number of bytes for people.
func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d kB", max(n>>10, 1))
	}
	return decimal(float64(n)/(1<<20)) + " MB"
}

// detailPath reports whether a path is that of a session's own page.
func detailPath(path string) bool {
	id, ok := strings.CutPrefix(path, "/sessions/")
	u, err := uuid.Parse(id)
	return ok && err == nil && u.String() == id
}
