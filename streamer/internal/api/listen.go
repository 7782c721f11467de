package api

import (
	"io"
	"mime"
	"net/http"
	"strconv"
	"sync"

	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/store"
)

const (
	maxListensOne     = 4  // at once, of one person or machine: a page listens to one session at a time
	maxListensSession = 32 // of one session
)

// listens are the pages that hear what is on air, by the id in their Location. Those that have ended are dropped when
// another comes.
type listens struct {
	mu  sync.Mutex
	all map[string]*listen
}

type listen struct {
	session, principal string
	listener           *ingest.Listener // nil: it is being answered
}

// enter reserves a place for a listener of a session.
func (l *listens) enter(session, principal string) (id string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ofSession, ofOne := 0, 0
	for id, x := range l.all {
		if x.listener != nil && ended(x.listener.Done()) {
			delete(l.all, id)
			continue
		}
		if x.session == session {
			ofSession++
		}
		if x.principal == principal {
			ofOne++
		}
	}
	if ofSession >= maxListensSession || ofOne >= maxListensOne {
		return "", ingest.ErrTooManyListeners
	}
	if l.all == nil {
		l.all = map[string]*listen{}
	}
	id = store.NewID()
	l.all[id] = &listen{session: session, principal: principal}
	return id, nil
}

func ended(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// settle keeps the listener of a place; nil gives the place up.
func (l *listens) settle(id string, x *ingest.Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x == nil {
		delete(l.all, id)
		return
	}
	l.all[id].listener = x
}

// take returns a listener of a session and a principal, and forgets it; nil: there is none.
func (l *listens) take(id, session, principal string) *ingest.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.all[id]
	if x == nil || x.session != session || x.principal != principal || x.listener == nil {
		return nil
	}
	delete(l.all, id)
	return x.listener
}

// listen lets a page hear a session that is on air, for whoever may see it: an SDP offer to receive, answered with all
// candidates, as WHEP does it (draft-ietf-wish-whep). A browser plays it about 250 ms after it entered the encoder (Chromium
// 156), and so ahead of the loudspeakers, which wait for the session's whole delay.
func (a *api) listen(w http.ResponseWriter, r *http.Request) error {
	s, err := a.visible(r)
	if err != nil {
		return err
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != typeSDP {
		w.Header().Set("Accept-Post", typeSDP)
		return problemf(http.StatusUnsupportedMediaType, "media_type", "Yêu cầu nghe phải có Content-Type là application/sdp.")
	}
	offer, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOffer))
	if err != nil {
		return err
	}
	onAir, err := a.Sessions.Tap(s.ID)
	if err != nil {
		return err
	}
	id, err := a.listens.enter(s.ID, who(r).ID)
	if err != nil {
		return err
	}
	answer, listener, err := a.Microphones.Listen(r.Context(), string(offer), onAir.Join(ingest.ListenPackets))
	a.listens.settle(id, listener)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", typeSDP)
	h.Set("Location", "/api/v1/sessions/"+s.ID+"/listen/"+id)
	h.Set("ETag", strconv.Quote(iceUfrag(answer)))
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, answer) // an error means that the client is gone
	return nil
}

// endListen ends a listener of one's own.
func (a *api) endListen(w http.ResponseWriter, r *http.Request) error {
	l := a.listens.take(r.PathValue("listener"), r.PathValue("id"), who(r).ID)
	if l == nil {
		return problemf(http.StatusNotFound, "not_found", "Không có lượt nghe này.")
	}
	_ = l.Close() // what matters is that it is over
	w.WriteHeader(http.StatusOK)
	return nil
}
