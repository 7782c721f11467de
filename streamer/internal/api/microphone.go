package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/store"
)

const (
	maxOffer   = 64 << 10
	offerWait  = 10 * time.Second
	levelEvery = 100 * time.Millisecond
	pingEvery  = 5 * time.Second
	silentFor  = 15 * time.Second // without a pong the page is gone
	writeWait  = 5 * time.Second
	touchEvery = time.Minute // an open microphone keeps its official signed in
)

// signal is a message on a microphone's WebSocket. The page sends one offer; the streamer answers it and then tells
// how loud listeners get it, when nothing comes any more and when it does again, until the session ends or another
// page takes this one's place. A page that closes the connection with 1000 or 1001 (RFC 6455 §7.4.1) has left; with any
// other code, or none, it comes back.
type signal struct {
	Type   string       `json:"type"` // offer, answer, level, lost, back, taken, ended, error
	SDP    string       `json:"sdp,omitempty"`
	Gap    float64      `json:"gap_seconds,omitempty"` // of answer: how long the session outlives its microphone; of lost: how long still
	Level  *levelJSON   `json:"level,omitempty"`
	Reason string       `json:"reason,omitempty"`
	Error  *problem     `json:"error,omitempty"`
	State  *sessionJSON `json:"session,omitempty"`
}

// ownSession finds the session whose microphone the principal may bring: only whoever began it, who needs the right to
// speak as it does wherever it does.
func (a *api) ownSession(r *http.Request) (session.Session, error) {
	s, err := a.visible(r)
	if err != nil {
		return s, err
	}
	if class, _ := session.ParseClass(s.Class); !maySpeak(who(r), class, s.Zones) {
		return s, errForbidden
	}
	if s.SourceKind != session.SourceBrowser || over(s.State) {
		return s, session.ErrOver
	}
	if s.CreatedBy != who(r).ID {
		return s, session.ErrNotSpeaker
	}
	return s, nil
}

// hold tells a session whose page has left that whoever spoke is back: it waits for the microphone as long as for one
// whose connection broke.
func (a *api) hold(w http.ResponseWriter, r *http.Request) error {
	s, err := a.ownSession(r)
	if err != nil {
		return err
	}
	a.Sessions.Hold(s.ID)
	if s, err = a.Sessions.Get(r.Context(), s.ID); err != nil {
		return err
	}
	return write(w, http.StatusOK, a.sessionOf(r.Context(), who(r), s))
}

// microphone signals one browser microphone for a session over WebSocket (RFC 6455): the first, or one that takes the
// place of another.
func (a *api) microphone(w http.ResponseWriter, r *http.Request) error {
	s, err := a.ownSession(r)
	if err != nil {
		return err
	}
	upgrader := websocket.Upgrader{HandshakeTimeout: writeWait, Error: func(w http.ResponseWriter, r *http.Request, status int, reason error) {
		http.Error(w, reason.Error(), status)
	}}
	conn, err := upgrader.Upgrade(w, r, nil) // its default origin check is the same host
	if err != nil {
		return nil // Upgrade has answered
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // frees whoever reads when the streamer ends
	m := &microphone{api: a, conn: conn, session: s.ID, by: who(r), gap: a.Sessions.Gap(s.Session), cancel: cancel}
	m.run(ctx, r)
	return nil
}

// microphone is one page's connection. One goroutine reads, one writes.
type microphone struct {
	api     *api
	conn    *websocket.Conn
	session string
	by      accounts.Principal
	gap     time.Duration // that the session bears
	cancel  context.CancelFunc
	mic     *ingest.Microphone
	taken   <-chan struct{} // another page has taken this one's place
}

func (m *microphone) run(ctx context.Context, r *http.Request) {
	defer m.conn.Close()
	m.conn.SetReadLimit(maxOffer)
	if err := m.accept(ctx); err != nil {
		_ = m.send(signal{Type: "error", Error: translate(err)})
		return
	}
	var wg sync.WaitGroup
	wg.Go(m.watchPage)
	m.report(ctx, r)
	_ = m.conn.Close() // frees the reader
	wg.Wait()
}

// accept reads the offer, answers it, and gives the session its microphone.
func (m *microphone) accept(ctx context.Context) error {
	_ = m.conn.SetReadDeadline(time.Now().Add(offerWait))
	kind, raw, err := m.conn.ReadMessage()
	if err != nil {
		return problemf(http.StatusBadRequest, "no_offer", "Trình duyệt không gửi yêu cầu micrô.")
	}
	var offer signal
	if err := json.Unmarshal(raw, &offer); err != nil || kind != websocket.TextMessage || offer.Type != "offer" {
		return ingest.ErrBadOffer
	}
	answer, mic, err := m.api.Microphones.Accept(ctx, offer.SDP)
	if err != nil {
		return err
	}
	m.mic = mic
	if m.taken, err = m.api.Sessions.Attach(m.session, mic, session.Claim{By: m.by.ID}); err != nil {
		return err
	}
	return m.send(signal{Type: "answer", SDP: answer, Gap: m.gap.Seconds()})
}

// watchPage reads until the page is gone. A tab that was closed says so at once; when merely the connection broke, the
// sound may still come and decides for itself.
func (m *microphone) watchPage() {
	defer m.cancel()
	alive := func(string) error { return m.conn.SetReadDeadline(time.Now().Add(silentFor)) }
	m.conn.SetPongHandler(alive)
	_ = alive("")
	for {
		if _, _, err := m.conn.ReadMessage(); err != nil {
			if websocket.IsCloseError(err, websocket.CloseGoingAway, websocket.CloseNormalClosure) {
				m.api.Sessions.Leave(m.session, m.mic)
			}
			return
		}
	}
}

// report tells the page how loud it is and whether its sound comes, until the session ends, another page has taken its
// place, or it is gone.
func (m *microphone) report(ctx context.Context, r *http.Request) {
	level, ping, touch := time.NewTicker(levelEvery), time.NewTicker(pingEvery), time.NewTicker(touchEvery)
	defer level.Stop()
	defer ping.Stop()
	defer touch.Stop()
	var err error
	for lost := false; err == nil; {
		select {
		case <-ctx.Done():
			return
		case <-m.taken:
			err = errors.Join(m.send(signal{Type: "taken"}), errEnded)
		case <-ping.C:
			err = m.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeWait))
		case <-touch.C:
			if c, noCookie := r.Cookie(CookieName(r)); noCookie == nil {
				_ = m.api.Accounts.Touch(ctx, c.Value) // an ended login is no reason to cut whoever speaks
			}
		case <-level.C:
			var s session.Session
			if s, err = m.api.Sessions.Get(ctx, m.session); err != nil {
				return
			}
			if over(s.State) {
				j := m.api.sessionOf(ctx, m.by, s)
				err = errors.Join(m.send(signal{Type: "ended", Reason: s.EndReason, State: &j}), errEnded)
			} else if s.State == store.SessionLive {
				lost, err = m.tell(s, lost)
			}
		}
	}
}

// tell sends how the session's sound is; lost is what the page knows.
func (m *microphone) tell(s session.Session, lost bool) (bool, error) {
	switch now := s.Presence.Lost(); {
	case now && !lost:
		return true, m.send(signal{Type: "lost", Gap: time.Until(s.Presence.Until).Seconds()})
	case !now && lost:
		return false, m.send(signal{Type: "back"})
	}
	return lost, m.send(signal{Type: "level", Level: levelOf(s.Level)})
}

var errEnded = errors.New("session has ended")

func (m *microphone) send(s signal) error {
	_ = m.conn.SetWriteDeadline(time.Now().Add(writeWait))
	return m.conn.WriteJSON(s)
}
