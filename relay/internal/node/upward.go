package node

import (
	"context"
	"encoding/hex"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/wire"
)

// enrolWait is how long an enrolment waits for an upstream, and for its answer.
const enrolWait = 30 * time.Second

// upward is where the Hub turns towards the streamer.
type upward struct{ *Node }

// Changes goes to every upstream, so that a standby knows whom it would feed.
func (u upward) Changes(c control.Changes) { u.links.Send(control.Message{Changes: &c}) }

// Digest goes to every upstream.
func (u upward) Digest(d control.Digest) { u.links.Send(control.Message{Digest: &d}) }

// Reports go to the active upstream; while there is none they are lost, and the loudspeakers send new ones.
func (u upward) Reports(raw [][]byte) {
	u.links.SendActive(control.Message{Reports: &control.Reports{Reports: raw}})
}

// Nack asks for what a downstream misses and the ring does not hold. For a bad tag the other upstream is asked too, for
// the copy there may be whole.
func (u upward) Nack(n wire.NackBody) { u.links.Nack(n, n.Reason == wire.BadTag) }

// enrolment is a request under way.
type enrolment struct {
	to     int // upstream
	answer chan control.EnrolReply
}

// Enrol forwards a request to the active upstream and waits for its answer. It implements control.Enroller.
func (u upward) Enrol(ctx context.Context, r control.EnrolRequest) (*control.EnrolResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, enrolWait)
	defer cancel()
	ref, e, err := u.forward(ctx, r)
	if err != nil {
		return nil, err
	}
	defer func() {
		u.mu.Lock()
		delete(u.enrols, ref)
		u.mu.Unlock()
	}()
	select {
	case <-ctx.Done():
		return nil, noAnswer()
	case a := <-e.answer:
		if a.Reply == nil {
			return nil, &control.Refused{Code: orElse(a.Code, control.CodeInternal), Reason: orElse(a.Error, "refused without a reason")}
		}
		return a.Reply, nil
	}
}

// forward sends a request to the active upstream as soon as there is one.
func (u upward) forward(ctx context.Context, r control.EnrolRequest) (uint64, enrolment, error) {
	for {
		u.mu.Lock()
		u.nextRef++
		ref, changed := u.nextRef, u.joined
		e := enrolment{to: u.links.State().Active, answer: make(chan control.EnrolReply, 1)}
		u.enrols[ref] = e
		u.mu.Unlock()
		if e.to >= 0 && u.links.SendTo(e.to, control.Message{Enrol: &control.Enrol{Ref: ref, Request: r}}) {
			return ref, e, nil
		}
		u.mu.Lock()
		delete(u.enrols, ref)
		u.mu.Unlock()
		select {
		case <-ctx.Done():
			return 0, enrolment{}, noAnswer()
		case <-changed:
		}
	}
}

func noAnswer() error {
	return &control.Refused{Code: control.CodeBusy, Reason: "the relay cannot reach the issuer just now; try again", After: 5 * time.Second}
}

// enrolled hands an answer to the request that waits for it. One from another upstream than was asked counts for
// nothing.
func (n *Node) enrolled(m control.EnrolReply, from int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e, ok := n.enrols[m.Ref]; ok && e.to == from {
		delete(n.enrols, m.Ref)
		e.answer <- m // capacity 1, and it was the only one
	}
}

func hexID(id [16]byte) string { return hex.EncodeToString(id[:]) }
