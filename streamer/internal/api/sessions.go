package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/nodes"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/voice"
)

const (
	maxTitle      = 200 // characters
	maxKey        = 255 // bytes of an Idempotency-Key
	sessionsAPage = 50
	maxPages      = 40 // looked through for one page of what a principal may see: 2000 sessions, a year of a commune
)

// startRequest is the body of POST /sessions.
type startRequest struct {
	Zones    []string      `json:"zones"`
	Priority string        `json:"priority"` // normal, priority or emergency; empty: normal
	Delay    string        `json:"delay"`
	Title    string        `json:"title"`
	Chime    bool          `json:"chime"` // the opening chime comes first
	Source   sourceRequest `json:"source"`
}

// sourceRequest names a source, and in answers tells how to reach it. URL belongs to a kind that this version does not
// have; it is known so that the answer is that the kind is not there, not that the request is malformed.
type sourceRequest struct {
	Kind   string `json:"kind"`
	Audio  string `json:"audio,omitempty"`
	WHIP   string `json:"whip_url,omitempty"` // told only
	From   string `json:"from,omitempty"`     // of rtp: network of the sender
	SRTP   bool   `json:"srtp,omitempty"`     // of rtp: only with a key
	Listen string `json:"listen,omitempty"`   // told only
	SDP    string `json:"sdp,omitempty"`      // told only
	URL    string `json:"url,omitempty"`      // of url
	Text   string `json:"text,omitempty"`     // of tts; asked only

	// Told only, of a microphone while on air.
	State  string     `json:"state,omitempty"`   // connected or lost
	LostAt *time.Time `json:"lost_at,omitempty"` // since when nothing comes
	EndsAt *time.Time `json:"ends_at,omitempty"` // the session ends then unless the microphone is back
	Left   float64    `json:"seconds_left,omitempty"`
}

// sessionJSON is a session as the API tells it.
type sessionJSON struct {
	ID        string        `json:"id"`
	State     string        `json:"state"`
	Title     string        `json:"title"`
	Zones     []string      `json:"zones"`
	Priority  string        `json:"priority"`
	Delay     string        `json:"delay"`
	Source    sourceRequest `json:"source"`
	CreatedBy string        `json:"created_by"`
	Mine      bool          `json:"mine"` // whoever asks began it
	CreatedAt *time.Time    `json:"created_at"`
	StartedAt *time.Time    `json:"started_at"`
	EndedAt   *time.Time    `json:"ended_at"`
	EndedBy   string        `json:"ended_by"`   // a person's or machine's name; empty: nobody, it ended by itself
	EndReason string        `json:"end_reason"` // one word
	Listeners listenersJSON `json:"listeners"`
	Level     *levelJSON    `json:"level,omitempty"` // while on air

	Recording *recordingJSON `json:"recording"` // null: there is none, or not yet, or no more
}

type listenersJSON struct {
	Expected int          `json:"expected"`
	Hearing  int          `json:"hearing"` // now; of an ended session: the most at once
	Missing  []string     `json:"missing"`
	Silent   []silentJSON `json:"silent"` // those missing, in the same order
}

// silentJSON is a loudspeaker that a session is meant for and that does not hear it.
type silentJSON struct {
	Node  string     `json:"node"`
	Since *time.Time `json:"since"` // null: it was never connected
}

func listenersOf(l nodes.Listeners) listenersJSON {
	j := listenersJSON{Expected: l.Expected, Hearing: len(l.Hearing), Missing: append([]string{}, l.Missing...), Silent: []silentJSON{}}
	for _, id := range l.Missing {
		j.Silent = append(j.Silent, silentJSON{Node: id, Since: instant(l.Silent[id])})
	}
	return j
}

type levelJSON struct {
	RMS       float64 `json:"rms_dbfs"`
	Peak      float64 `json:"peak_dbfs"`
	Momentary float64 `json:"momentary_lufs"`
}

func levelOf(l voice.Level) *levelJSON {
	return &levelJSON{RMS: l.RMS, Peak: l.Peak, Momentary: l.Momentary}
}

// sessionOf is a session as p is told of it.
func (a *api) sessionOf(ctx context.Context, p accounts.Principal, s session.Session) sessionJSON {
	j := sessionJSON{
		ID: s.ID, State: string(s.State), Title: s.Title, Zones: texts(s.Zones), Priority: s.Class, Delay: s.Delay,
		Source:    sourceOf(s.Session),
		CreatedBy: a.name(ctx, s.CreatedBy), Mine: s.CreatedBy == p.ID, EndedBy: a.name(ctx, s.EndedBy), EndReason: s.EndReason,
		CreatedAt: instant(s.Created), StartedAt: instant(s.Started), EndedAt: instant(s.Ended),
		Listeners: listenersJSON{Expected: s.Expected, Hearing: s.Heard, Missing: []string{}, Silent: []silentJSON{}},
	}
	if over(s.State) {
		j.Recording = a.recordingOf(ctx, s.ID)
		return j
	}
	l := a.Nodes.Listeners(s.ID)
	l.Missing = a.seen(p, l.Missing)
	j.Listeners = listenersOf(l)
	if s.State == store.SessionLive {
		j.Level = levelOf(s.Level)
		j.Source.presence(s)
	}
	return j
}

// presence tells whether the microphone of a session on air is there, where it has one.
func (j *sourceRequest) presence(s session.Session) {
	switch {
	case s.SourceKind != session.SourceBrowser && s.SourceKind != session.SourceWHIP:
	case s.Presence.Lost():
		j.State, j.LostAt, j.EndsAt = "lost", instant(s.Presence.LostAt), instant(s.Presence.Until)
		j.Left = max(0, time.Until(s.Presence.Until).Seconds())
	default:
		j.State = "connected"
	}
}

// seen returns the nodes of a list that p sees. How many there are in all is no secret to whoever sees the session.
func (a *api) seen(p accounts.Principal, ids []string) []string {
	out := []string{}
	for _, id := range ids {
		if n, ok := a.Nodes.Get(id); ok && p.Zone.Contains(n.Zone) {
			out = append(out, id)
		}
	}
	return out
}

func over(s store.SessionState) bool { return s == store.SessionEnded || s == store.SessionFailed }

// name is what people call whoever has an id; the id itself where there is no record of it.
func (a *api) name(ctx context.Context, id string) string {
	if id == "" {
		return ""
	}
	if u, err := a.Store.User(ctx, id); err == nil {
		return u.Name
	}
	if tokens, err := a.Store.Tokens(ctx); err == nil {
		for _, t := range tokens {
			if t.ID == id {
				return t.Name
			}
		}
	}
	return id
}

func texts(zones []zone.Zone) []string {
	out := make([]string, len(zones))
	for i, z := range zones {
		out[i] = string(z)
	}
	return out
}

// start begins a session.
func (a *api) start(w http.ResponseWriter, r *http.Request) error {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJSON))
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	var body startRequest
	if err := read(r, &body); err != nil {
		return err
	}
	request, err := a.request(r.Context(), who(r), body)
	if err != nil {
		return err
	}
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		if len(key) > maxKey {
			return problemf(http.StatusBadRequest, "idempotency_key", "Idempotency-Key dài quá %d ký tự.", maxKey)
		}
		request.Replay = &store.Replay{Principal: who(r).ID, Key: key, Request: sha256.Sum256(raw)}
	}
	x, _, err := a.Sessions.Start(r.Context(), request)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/api/v1/sessions/"+x.ID)
	s := session.Session{Session: x}
	if now, err := a.Sessions.Get(r.Context(), x.ID); err == nil {
		s.Line = now.Line
	}
	return write(w, http.StatusCreated, a.reachable(r, s))
}

// reachable is a session with how its source is reached.
func (a *api) reachable(r *http.Request, s session.Session) sessionJSON {
	j := a.sessionOf(r.Context(), who(r), s)
	j.Source.WHIP = a.whipURL(r, s)
	tellLine(who(r), s, &j.Source)
	return j
}

// request checks a body against what exists and against the principal's rights.
func (a *api) request(ctx context.Context, p accounts.Principal, body startRequest) (session.Request, error) {
	if body.Priority == "" {
		body.Priority = session.ClassName(signed.ClassNormal)
	}
	class, ok := session.ParseClass(body.Priority)
	if !ok {
		return session.Request{}, problemf(http.StatusUnprocessableEntity, "priority", "Mức ưu tiên phải là normal, priority hoặc emergency.")
	}
	if class == signed.ClassEmergency && p.Machine {
		return session.Request{}, errMachine
	}
	if len([]rune(body.Title)) > maxTitle {
		return session.Request{}, problemf(http.StatusUnprocessableEntity, "title", "Tiêu đề dài quá %d ký tự.", maxTitle)
	}
	zones, err := a.parseZones(ctx, body.Zones)
	if err != nil {
		return session.Request{}, err
	}
	if !maySpeak(p, class, zones) {
		return session.Request{}, errForbidden
	}
	line, err := lineOptions(body.Source)
	if err != nil {
		return session.Request{}, err
	}
	return session.Request{
		Zones: zones, Line: line, URL: strings.TrimSpace(body.Source.URL), Text: body.Source.Text, Class: class, Delay: body.Delay, Title: strings.TrimSpace(body.Title),
		Source: body.Source.Kind, Audio: body.Source.Audio, Chime: body.Chime, By: p.ID, Level: uint8(p.Zone.Level()), // #nosec G115 -- at most zone.MaxDepth
	}, nil
}

// maySpeak reports whether p may be heard in all of the zones with a bulletin of that class.
func maySpeak(p accounts.Principal, class signed.Class, zones []zone.Zone) bool {
	action := map[signed.Class]accounts.Action{
		signed.ClassNormal: accounts.SpeakNormal, signed.ClassPriority: accounts.SpeakPriority, signed.ClassEmergency: accounts.SpeakEmergency,
	}[class]
	for _, z := range zones {
		if !p.Can(action, z) {
			return false
		}
	}
	return true
}

func (a *api) parseZones(ctx context.Context, codes []string) ([]zone.Zone, error) {
	zones := make([]zone.Zone, len(codes))
	for i, c := range codes {
		z, err := zone.Parse(c)
		if err == nil {
			_, err = a.Store.Zone(ctx, z)
		}
		switch {
		case errors.Is(err, store.ErrNotFound), err != nil && z == "", z == "":
			return nil, problemf(http.StatusUnprocessableEntity, "unknown_zone", "Không có địa bàn mã %q.", c)
		case err != nil:
			return nil, err
		}
		zones[i] = z
	}
	return zones, nil
}

// visible returns a session if the principal may see it.
func (a *api) visible(r *http.Request) (session.Session, error) {
	s, err := a.Sessions.Get(r.Context(), r.PathValue("id"))
	if errors.Is(err, store.ErrNotFound) || (err == nil && !MaySee(who(r), s.Zones)) {
		return session.Session{}, problemf(http.StatusNotFound, "not_found", "Không có buổi phát này.")
	}
	return s, err
}

// MaySee reports whether a session concerns the principal's zone: it sounds there, or beneath, or all over the zone
// above, which is what a commune must know before it speaks. The console asks it too.
func MaySee(p accounts.Principal, zones []zone.Zone) bool {
	return p.Can(accounts.View, p.Zone) && slices.ContainsFunc(zones, p.Zone.Overlaps)
}

// mayStop reports whether the principal may end a session for all who hear it: whoever began it, or who may stop in
// every one of its zones. To leave a session of above out of one's own commune is another act, and not the session's end.
func mayStop(p accounts.Principal, s session.Session) bool {
	return s.CreatedBy == p.ID && p.Can(accounts.Stop, p.Zone) ||
		!slices.ContainsFunc(s.Zones, func(z zone.Zone) bool { return !p.Can(accounts.Stop, z) })
}

func (a *api) session(w http.ResponseWriter, r *http.Request) error {
	s, err := a.visible(r)
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, a.reachable(r, s))
}

// sessions lists newest first what the principal may see; ?before=ID continues after a page, ?limit=N bounds it.
func (a *api) sessions(w http.ResponseWriter, r *http.Request) error {
	limit := sessionsAPage
	if q := r.URL.Query().Get("limit"); q != "" {
		n, err := strconv.Atoi(q)
		if err != nil || n < 1 || n > sessionsAPage {
			return problemf(http.StatusBadRequest, "limit", "limit phải từ 1 đến %d.", sessionsAPage)
		}
		limit = n
	}
	out, before := []sessionJSON{}, r.URL.Query().Get("before")
	for range maxPages {
		list, err := a.Sessions.List(r.Context(), before, sessionsAPage)
		if err != nil {
			return err
		}
		for _, s := range list {
			before = s.ID
			if len(out) < limit && MaySee(who(r), s.Zones) {
				out = append(out, a.sessionOf(r.Context(), who(r), s))
			}
		}
		if len(out) == limit || len(list) < sessionsAPage {
			break
		}
	}
	return write(w, http.StatusOK, out)
}

// stop silences a session everywhere.
func (a *api) stop(w http.ResponseWriter, r *http.Request) error {
	s, err := a.visible(r)
	if err != nil {
		return err
	}
	if !mayStop(who(r), s) {
		return errForbidden
	}
	if err := a.Sessions.Stop(r.Context(), s.ID, who(r).ID); err != nil {
		return err
	}
	if s, err = a.Sessions.Get(r.Context(), s.ID); err != nil {
		return err
	}
	return write(w, http.StatusOK, a.sessionOf(r.Context(), who(r), s))
}
