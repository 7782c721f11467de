package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

func relayNode(id string) identity.Node {
	return identity.Node{ID: id, Kind: identity.Relay, Zone: "31", Name: id}
}

// relay joins a relay and binds its datagrams.
func (b *bed) relay(id string) *speaker {
	b.t.Helper()
	s := b.join(relayNode(id), false)
	s.open("127.0.0.1")
	s.bind(true)
	return s
}

func member(node, via string, z zone.Zone) control.Member {
	return control.Member{Node: node, Via: via, Kind: "client", Zone: z}
}

func gone(m control.Member) control.Member { m.Gone = true; return m }

func TestMembersGoUp(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	s := b.speaker("c1", "31/11407") // of a neighbouring commune: served all the same
	b.up.sees(t, "c1@hub")
	b.up.mu.Lock()
	m := b.up.members[[2]string{"c1", "hub"}]
	b.up.mu.Unlock()
	if m.Kind != "client" || m.Zone != "31/11407" || m.Version != "1.2.3" || !strings.HasPrefix(m.Address, "127.0.0.1:") ||
		time.Since(time.UnixMilli(m.Since)) > time.Minute {
		t.Errorf("member %+v", m)
	}
	r := b.relay("r1")
	r.say(control.Message{Changes: &control.Changes{Full: true, Members: []control.Member{member("c2", "r1", "31/2")}}})
	b.up.sees(t, "c1@hub", "r1@hub", "c2@r1")
	if got := b.Members(); len(got) != 3 {
		t.Errorf("Members() = %+v", got)
	}
	began := time.Now()
	s.leave()
	b.up.sees(t, "r1@hub", "c2@r1")
	if d := time.Since(began); d > time.Second {
		t.Errorf("a loudspeaker that left was reported after %s", d)
	}
}

func TestTwoRoutesCountOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	r1, r2 := b.relay("r1"), b.relay("r2")
	c := member("c", "deep", "31/2")
	r1.say(control.Message{Changes: &control.Changes{Full: true, Members: []control.Member{c}}})
	r2.say(control.Message{Changes: &control.Changes{Full: true, Members: []control.Member{c}}})
	b.up.sees(t, "r1@hub", "r2@hub", "c@deep")
	r1.say(control.Message{Changes: &control.Changes{Members: []control.Member{gone(c), member("mark", "r1", "31/2")}}})
	b.up.sees(t, "r1@hub", "r2@hub", "c@deep", "mark@r1")
	r2.leave()
	b.up.sees(t, "r1@hub", "mark@r1")
}

func TestRoutingByChanges(t *testing.T) {
	b := newBed(t, nil)
	r := b.relay("r1")
	x := b.transmit("31/2")
	b.Open(x.Transmission)
	b.fed(x, 0, 0) // no loudspeaker beneath it yet
	r.say(control.Message{Changes: &control.Changes{Full: true, Members: []control.Member{member("c", "r1", "31/2/7")}}})
	b.fed(x, 1, 1)
	r.wait("the session", func() bool { return r.message(func(m control.Message) bool { return m.Session != nil }) != nil })
	b.Media(x.packet(t, 1))
	r.hears(x, x.packet(t, 1))
	r.say(control.Message{Changes: &control.Changes{Members: []control.Member{gone(member("c", "r1", "31/2/7"))}}})
	b.fed(x, 0, 0)
	r.say(control.Message{Changes: &control.Changes{Members: []control.Member{{Node: "c", Via: "r1", Kind: "client", Zone: "31/2", Standby: true}}}})
	b.fed(x, 1, 1) // a standby counts: its relay keeps the ring warm
}

func TestALoudspeakerHasNobodyBeneathIt(t *testing.T) {
	b := newBed(t, nil)
	s := b.speaker("c1", "31/1")
	s.say(control.Message{Changes: &control.Changes{Members: []control.Member{member("c2", "c1", "31/2")}}})
	s.say(control.Message{Digest: &control.Digest{Count: 5}})
	s.say(control.Message{Path: &control.Path{}})
	s.say(control.Message{Reports: &control.Reports{Reports: [][]byte{[]byte("r")}}}) // behind them
	b.up.wait(t, "the report", func() bool { return len(b.up.reports) == 1 })
	b.up.sees(t, "c1@hub")
}

func TestLoopsAreRefused(t *testing.T) {
	b := newBed(t, nil)
	tests := []struct {
		name string
		node identity.Node
		path []string
		code string
	}{
		{"in the path", relayNode("streamer"), nil, "loop"},
		{"itself", relayNode("hub"), nil, "loop"},
		{"too deep", relayNode("r1"), strings.Split(strings.Repeat("x,", 15)+"hub", ","), "loop"},
		{"a streamer", identity.Node{ID: "s2", Kind: identity.Streamer, Zone: "31"}, nil, "kind"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.mu.Lock()
			path := b.path
			if tt.path != nil {
				b.path = tt.path
			}
			b.mu.Unlock()
			s := b.dial(tt.node)
			s.say(control.Message{Join: &control.Join{}})
			<-s.done
			s.mu.Lock()
			m := s.message(func(m control.Message) bool { return m.Refuse != nil })
			if m == nil || m.Refuse.Code != tt.code || s.message(func(m control.Message) bool { return m.Welcome != nil }) != nil {
				t.Errorf("answer %+v, want it refused as %s", m, tt.code)
			}
			s.mu.Unlock()
			b.mu.Lock()
			b.path = path
			b.mu.Unlock()
		})
	}
	b.up.sees(t)
}

func TestPathChanges(t *testing.T) {
	b := newBed(t, nil)
	r, c := b.relay("r1"), b.speaker("c1", "31/1")
	r.mu.Lock()
	if w := r.message(func(m control.Message) bool { return m.Welcome != nil }).Welcome; fmt.Sprint(w.Path) != "[streamer hub]" || w.Media != fmt.Sprintf(":%d", b.MediaAddr().Port()) {
		t.Errorf("welcome %+v", w)
	}
	r.mu.Unlock()
	b.mu.Lock()
	b.path = []string{"streamer", "r1", "hub"}
	b.mu.Unlock()
	b.PathChanged()
	<-r.done
	var refused *control.Refused
	r.mu.Lock()
	m := r.message(func(m control.Message) bool { return m.Refuse != nil })
	r.mu.Unlock()
	if m == nil && !(errors.As(r.err, &refused) && refused.Code == "loop") {
		t.Errorf("a loop was not refused: %v", r.err)
	}
	c.wait("the path", func() bool {
		m := c.message(func(m control.Message) bool { return m.Path != nil })
		return m != nil && fmt.Sprint(m.Path.Nodes) == "[streamer r1 hub]"
	})
	b.up.sees(t, "c1@hub")
}

func TestResyncAndDigest(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	r := b.relay("r1")
	r.say(control.Message{Changes: &control.Changes{Full: true, Members: []control.Member{member("c", "r1", "31/2")}}})
	b.up.sees(t, "r1@hub", "c@r1")
	resyncs := func() (n int) {
		for _, m := range r.messages {
			if m.Resync != nil {
				n++
			}
		}
		return n
	}
	r.say(control.Message{Digest: &control.Digest{Count: 1, Sum: 1}})
	r.wait("a resync", func() bool { return resyncs() == 1 })
	r.say(control.Message{Digest: &control.Digest{Count: 1, Sum: 1}}) // not at once again
	r.say(control.Message{Reports: &control.Reports{Reports: [][]byte{[]byte("mark")}}})
	b.up.wait(t, "the mark", func() bool { return len(b.up.reports) == 1 })
	r.mu.Lock()
	if n := resyncs(); n != 1 {
		t.Errorf("%d resyncs, want 1", n)
	}
	r.mu.Unlock()

	b.up.mu.Lock()
	words := len(b.up.words)
	b.up.mu.Unlock()
	b.Resync()
	b.up.wait(t, "the whole picture", func() bool {
		return len(b.up.words) > words && b.up.words[words].Full && len(b.up.words[words].Members) == 2
	})
	if !b.sumUp() {
		t.Fatal("no digest though all was told")
	}
	b.up.wait(t, "a digest", func() bool { return len(b.up.digests) == 1 && b.up.digests[0].Count == 2 })
}

func TestManyMembersGoUpInParts(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	r := b.relay("r1")
	var members []control.Member
	want := []string{"r1@hub"}
	for i := range 700 {
		id := fmt.Sprintf("loudspeaker-%03d", i)
		members = append(members, member(id, "r1", zone.Zone(fmt.Sprint("31/", i%7))))
		want = append(want, id+"@r1")
	}
	for _, part := range control.SplitChanges(control.Changes{Full: true, Members: members}) {
		r.say(control.Message{Changes: &part})
	}
	b.up.sees(t, want...)
	b.Resync()
	b.up.wait(t, "all again", func() bool {
		n, full := 0, false
		for _, w := range b.up.words {
			if w.Full {
				n, full = 0, true
			}
			n += len(w.Members)
			if _, err := control.Encode(control.Message{Changes: &w}); err != nil || len(w.Members) > membersEach {
				t.Errorf("a word of %d members: %v", len(w.Members), err)
			}
		}
		return full && n == 701
	})
}

func TestReportsGoUpUnaltered(t *testing.T) {
	b := newBed(t, nil)
	s := b.speaker("c1", "31/1")
	report := bytes.Repeat([]byte("signed by the loudspeaker "), 15)
	began := time.Now()
	s.send(wire.Report, report)
	b.up.wait(t, "the report", func() bool { return len(b.up.reports) == 1 && bytes.Equal(b.up.reports[0], report) })
	if d := time.Since(began); d > time.Second {
		t.Errorf("a report took %s", d)
	}
	r := b.relay("r1")
	r.say(control.Message{Reports: &control.Reports{Reports: [][]byte{report, []byte("two")}}})
	b.up.wait(t, "two more", func() bool { return len(b.up.reports) == 3 && string(b.up.reports[2]) == "two" })
}

func TestReportsAreBounded(t *testing.T) {
	b := &bed{Hub: &Hub{}}
	b.m, _ = newMetrics("x_", newBed(t, nil).metrics)
	for i := range maxReports + 10 {
		b.report([]byte{byte(i)})
	}
	if len(b.reports) != maxReports || b.reports[0][0] != 10 {
		t.Errorf("%d reports, the first is %d; want the oldest ten lost", len(b.reports), b.reports[0][0])
	}
}

func TestKeysFindTheirNode(t *testing.T) {
	b := newBed(t, nil)
	r, c := b.relay("r1"), b.speaker("c1", "31/1")
	r.say(control.Message{Changes: &control.Changes{Full: true, Members: []control.Member{member("c2", "r1", "31/2")}}})
	b.up.sees(t, "r1@hub", "c1@hub", "c2@r1")
	for node, at := range map[string]*speaker{"c1": c, "c2": r, "r1": r} {
		if !b.Deliver(control.Keys{Node: node, Envelopes: [][]byte{[]byte("sealed for " + node)}, Issuer: []byte("der")}) {
			t.Errorf("Deliver to %s = false", node)
		}
		at.wait("keys for "+node, func() bool {
			m := at.message(func(m control.Message) bool { return m.Keys != nil && m.Keys.Node == node })
			return m != nil && string(m.Keys.Envelopes[0]) == "sealed for "+node && string(m.Keys.Issuer) == "der"
		})
	}
	if b.Deliver(control.Keys{Node: "nobody", Envelopes: [][]byte{{1}}}) {
		t.Error("Deliver to nobody = true")
	}
}

// TestOrdersFindTheirNode: an order goes to the downstream that has its node beneath it, byte for byte, and to no other.
func TestOrdersFindTheirNode(t *testing.T) {
	b := newBed(t, nil)
	r, c := b.relay("r1"), b.speaker("c1", "31/1")
	r.say(control.Message{Changes: &control.Changes{Full: true, Members: []control.Member{member("c2", "r1", "31/2")}}})
	b.up.sees(t, "r1@hub", "c1@hub", "c2@r1")
	has := func(at *speaker, node string) bool {
		m := at.message(func(m control.Message) bool { return m.Order != nil && m.Order.Node == node })
		return m != nil && string(m.Order.Order) == "\x00signed\xff for "+node && string(m.Order.Issuer) == "der"
	}
	for node, at := range map[string]*speaker{"c1": c, "c2": r} {
		if !b.Order(control.Order{Node: node, Order: []byte("\x00signed\xff for " + node), Issuer: []byte("der")}) {
			t.Errorf("Order to %s = false", node)
		}
		at.wait("order for "+node, func() bool { return has(at, node) })
	}
	if has(c, "c2") || has(r, "c1") {
		t.Error("an order went to another node too")
	}
	if b.Order(control.Order{Node: "nobody", Order: []byte{1}, Issuer: []byte{1}}) {
		t.Error("Order to nobody = true")
	}
}

// TestNobodyIsCutOffByAWord: a relay that says of another's loudspeaker that it were its own does not keep keys, orders
// and certificates from it.
func TestNobodyIsCutOffByAWord(t *testing.T) {
	b := newBed(t, nil)
	honest, liar := b.relay("r2"), b.relay("r1")
	honest.say(control.Message{Changes: &control.Changes{Full: true, Members: []control.Member{member("c", "r2", "31/2")}}})
	b.up.sees(t, "r1@hub", "r2@hub", "c@r2")
	liar.say(control.Message{Changes: &control.Changes{Full: true, Members: []control.Member{member("c", "r1", "31/2")}}})
	b.up.sees(t, "r1@hub", "r2@hub", "c@r1", "c@r2")
	if !b.Deliver(control.Keys{Node: "c", Envelopes: [][]byte{{1}}, Issuer: []byte{1}}) {
		t.Error("Deliver = false")
	}
	honest.wait("keys for c", func() bool {
		return honest.message(func(m control.Message) bool { return m.Keys != nil && m.Keys.Node == "c" }) != nil
	})
}

func TestEnrolmentIsForwarded(t *testing.T) {
	b := newBed(t, nil)
	b.up.enrol = func(r control.EnrolRequest) (*control.EnrolResponse, error) {
		switch r.Token {
		case "good":
			return &control.EnrolResponse{Chain: [][]byte{[]byte("leaf"), r.CSR}}, nil
		case "used":
			return nil, fmt.Errorf("ask the issuer: %w", &control.Refused{Code: "used", Reason: "the token was used"})
		}
		return nil, errors.New("no upstream")
	}
	r := b.relay("r1")
	for i, token := range []string{"good", "used", "down"} {
		r.say(control.Message{Enrol: &control.Enrol{Ref: uint64(i), Request: control.EnrolRequest{Token: token, Kind: "client", CSR: []byte("csr")}}})
	}
	answer := func(ref uint64) (a *control.EnrolReply) {
		r.wait(fmt.Sprint("answer ", ref), func() bool {
			m := r.message(func(m control.Message) bool { return m.EnrolReply != nil && m.EnrolReply.Ref == ref })
			if m != nil {
				a = m.EnrolReply
			}
			return m != nil
		})
		return a
	}
	if a := answer(0); a.Reply == nil || string(a.Reply.Chain[1]) != "csr" || a.Code != "" {
		t.Errorf("good token: %+v", a)
	}
	if a := answer(1); a.Reply != nil || a.Code != "used" || a.Error != "the token was used" {
		t.Errorf("used token: %+v", a)
	}
	if a := answer(2); a.Reply != nil || a.Code != "busy" || strings.Contains(a.Error, "upstream") {
		t.Errorf("no issuer: %+v", a)
	}
}
