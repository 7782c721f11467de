package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/api"
	"dongthanh/streamer/internal/store"
)

const (
	rowsAPage = 50
	// mostRead bounds how many sessions of others are passed over for one page of one's own.
	mostRead = 1000
)

// sessionRow is a past or present broadcast as the list tells it.
type sessionRow struct {
	ID       string
	Title    string
	Zones    []string
	By       string
	When     time.Time // local; the first sound, or the request if there was none
	OnAir    bool
	Sounded  bool
	Lasted   string
	Class    string
	Expected int
	Heard    int
	End      string // key of a text
	EndedBy  string
}

type sessionList struct {
	Rows   []sessionRow
	Before string // the page after this one; empty: none
	Later  bool   // this is not the first page
}

// sessions lists broadcasts, newest first.
func (c *Console) sessions(w http.ResponseWriter, r *http.Request, p accounts.Principal) {
	before := r.URL.Query().Get("before")
	list, next, err := c.recent(r.Context(), p, before)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	body := sessionList{Before: next, Later: before != ""}
	names := &names{store: c.Store, zones: map[zone.Zone]string{}, people: map[string]string{}}
	now := time.Now()
	for _, x := range list {
		body.Rows = append(body.Rows, names.row(r.Context(), x, now))
	}
	c.render(w, r, http.StatusOK, "sessions", page{Title: "sessions.title", Who: &p, Body: body})
}

// recent returns a page of the sessions that p may see, and the cursor of the next page.
func (c *Console) recent(ctx context.Context, p accounts.Principal, before string) (list []store.Session, next string, err error) {
	for read := 0; read < mostRead; read += rowsAPage {
		batch, err := c.Store.Sessions(ctx, before, rowsAPage)
		if err != nil {
			return nil, "", err
		}
		for _, x := range batch {
			if len(list) == rowsAPage {
				return list, before, nil
			}
			before = x.ID
			if api.MaySee(p, x.Zones) {
				list = append(list, x)
			}
		}
		if len(batch) < rowsAPage {
			return list, "", nil
		}
	}
	return list, before, nil
}

// names looks up what people call zones and each other, each once.
type names struct {
	store  Records
	zones  map[zone.Zone]string
	people map[string]string
	tokens bool // read
}

func (n *names) row(ctx context.Context, x store.Session, now time.Time) sessionRow {
	row := sessionRow{
		ID: x.ID, Title: x.Title, By: n.person(ctx, x.CreatedBy), When: local(x.Created), Class: x.Class, Sounded: !x.Started.IsZero(),
		Expected: x.Expected, Heard: x.Heard, EndedBy: n.person(ctx, x.EndedBy),
		OnAir: x.State == store.SessionStarting || x.State == store.SessionLive,
	}
	for _, z := range x.Zones {
		row.Zones = append(row.Zones, n.zone(ctx, z))
	}
	if row.Sounded {
		row.When = local(x.Started)
		end := x.Ended
		if row.OnAir {
			end = now
		}
		row.Lasted = clock(end.Sub(x.Started))
	}
	row.End = "end." + x.EndReason
	if _, ok := inVietnamese[row.End]; !ok {
		row.End = "end.other"
	}
	return row
}

func (n *names) zone(ctx context.Context, code zone.Zone) string {
	name, ok := n.zones[code]
	if !ok {
		name = string(code)
		if z, err := n.store.Zone(ctx, code); err == nil {
			name = z.Name
		}
		n.zones[code] = name
	}
	return name
}

// person is the name of a person or machine; the id itself where there is no record of it.
func (n *names) person(ctx context.Context, id string) string {
	if name, ok := n.people[id]; ok || id == "" {
		return name
	}
	u, err := n.store.User(ctx, id)
	if err == nil {
		n.people[id] = u.Name
		return u.Name
	}
	if errors.Is(err, store.ErrNotFound) && !n.tokens {
		n.tokens = true
		if list, err := n.store.Tokens(ctx); err == nil {
			for _, t := range list {
				n.people[t.ID] = t.Name
			}
		}
	}
	if _, ok := n.people[id]; !ok {
		n.people[id] = id
	}
	return n.people[id]
}

// clock writes a duration as mm:ss, with hours before it where there are any.
func clock(d time.Duration) string {
	s := int(max(d, 0).Seconds())
	if s >= 3600 {
		return strconv.Itoa(s/3600) + fmt.Sprintf(":%02d:%02d", s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}
