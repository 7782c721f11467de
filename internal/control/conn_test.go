package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"dongthanh/internal/identity"
	"dongthanh/internal/wire"
)

// TestJoin is the ordinary life of a connection.
func TestJoin(t *testing.T) {
	n := newNetwork(t)
	relay, client := n.node(t, identity.Relay, "relay-1"), n.node(t, identity.Client, "client-1")
	p := listen(t, relay, nil)
	c := must(Dial(t.Context(), p.url, client))(t)
	got, end := start(t, c)
	s := next(t, "the connection", p.conns)

	if c.Peer() != relay.Node || s.Peer() != client.Node {
		t.Errorf("peers %+v and %+v, want %+v and %+v", c.Peer(), s.Peer(), relay.Node, client.Node)
	}
	if !c.Certificate().Equal(relay.Chain[0]) || !s.Certificate().Equal(client.Chain[0]) {
		t.Error("certificates are not the peers'")
	}
	if c.LocalAddr() != s.RemoteAddr() || s.LocalAddr() != c.RemoteAddr() || c.RemoteAddr() != p.Addr() {
		t.Errorf("addresses %s→%s and %s→%s", c.LocalAddr(), c.RemoteAddr(), s.LocalAddr(), s.RemoteAddr())
	}

	// One key for a flow at both ends, another for another flow, another on another connection.
	other := must(Dial(t.Context(), p.url, client))(t)
	start(t, other)
	next(t, "the second connection", p.conns)
	keys := make(map[[wire.KeyLen]byte]string)
	for _, flow := range []wire.FlowID{{}, {1}, {7: 1}} {
		if c.FlowKey(flow) != s.FlowKey(flow) {
			t.Errorf("flow %x has two keys", flow)
		}
		for name, conn := range map[string]*Conn{"first": c, "second": other} {
			if was, ok := keys[conn.FlowKey(flow)]; ok {
				t.Errorf("flow %x of the %s connection has the key of %s", flow, name, was)
			}
			keys[conn.FlowKey(flow)] = fmt.Sprintf("%s %x", name, flow)
		}
	}

	// Every sort of message both ways, in order.
	if err := c.Send(Message{Join: &Join{Version: "1"}}); err != nil {
		t.Fatal(err)
	}
	if m := next(t, "join", p.got); m.Join == nil || m.Join.Version != "1" {
		t.Errorf("got %+v, want the join", m)
	}
	large := Message{Reports: &Reports{}}
	for range 30 {
		large.Reports.Reports = append(large.Reports.Reports, make([]byte, 1500))
	}
	for _, m := range append(each(), large) {
		for _, way := range []struct {
			from *Conn
			to   chan Message
		}{{c, p.got}, {s, got}} {
			if err := way.from.Send(m); err != nil {
				t.Fatal(err)
			}
			if r := next(t, "a message", way.to); fmt.Sprintf("%+v", r.members()) != "1" || string(must(Encode(r))(t).text) != string(must(Encode(m))(t).text) {
				t.Errorf("sent %+v, got %+v", m, r)
			}
		}
	}
	if got := p.count("control_connections", ""); got != 2 {
		t.Errorf("control_connections = %v, want 2", got)
	}

	s.Close(nil)
	if err := next(t, "the client's end", end); !errors.Is(err, ErrClosed) {
		t.Errorf("Run() of the other end = %v, want ErrClosed", err)
	}
	if err := next(t, "the server's end", p.ends); !errors.Is(err, ErrClosed) {
		t.Errorf("Run() of this end = %v, want ErrClosed", err)
	}
	for name, conn := range map[string]*Conn{"client": c, "server": s} {
		next(t, name+" done", conn.Done())
		if err := conn.Send(Message{Resync: &Resync{}}); !errors.Is(err, ErrClosed) {
			t.Errorf("Send() on the closed %s = %v, want ErrClosed", name, err)
		}
		if err := conn.Run(t.Context(), nil); err == nil {
			t.Errorf("a second Run() on the %s = nil, want an error", name)
		}
		conn.Close(nil)
	}
	other.Close(nil)
	eventually(t, "no connection left", func() bool { return p.count("control_connections", "") == 0 })
}

// TestRefuse: the reason arrives behind what was queued, though the peer goes on sending.
func TestRefuse(t *testing.T) {
	n := newNetwork(t)
	refused := make(chan error, 1)
	p := listen(t, n.node(t, identity.Relay, "relay-1"), func(o *ServerOptions) {
		o.Accept = func(c *Conn) {
			refused <- c.Run(context.Background(), func(m Message) {
				if m.Join == nil {
					return
				}
				_ = c.Send(Message{Path: &Path{Nodes: []string{"s"}}})
				_ = c.Refuse(Refuse{Code: CodeZone, Reason: "not from here"})
			})
		}
	})
	c := must(Dial(t.Context(), p.url, n.node(t, identity.Client, "client-1")))(t)
	for i := range QueueLen - 1 {
		m := Message{Digest: &Digest{Count: i}}
		if i == 0 {
			m = Message{Join: &Join{}}
		}
		if err := c.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	got, end := start(t, c)
	if m := next(t, "path", got); m.Path == nil {
		t.Errorf("got %+v first, want the path", m)
	}
	if m := next(t, "refusal", got); m.Refuse == nil || *m.Refuse != (Refuse{Code: CodeZone, Reason: "not from here"}) {
		t.Errorf("got %+v, want the refusal", m)
	}
	if err := next(t, "the end", end); !errors.Is(err, ErrClosed) {
		t.Errorf("Run() = %v, want ErrClosed", err)
	}
	var r *Refused
	if err := next(t, "the server's end", refused); !errors.As(err, &r) || r.Code != CodeZone {
		t.Errorf("Run() of the refusing end = %v, want the refusal", err)
	}
}

// TestSlow: a peer that reads nothing costs one queue and is let go; nobody waits for it.
func TestSlow(t *testing.T) {
	n := newNetwork(t)
	hold := make(chan struct{})
	p := listen(t, n.node(t, identity.Relay, "relay-1"), func(o *ServerOptions) {
		accept := o.Accept
		o.Accept = func(c *Conn) {
			if c.Peer().ID == "deaf" {
				<-hold
				return
			}
			accept(c)
		}
	})
	defer close(hold)
	c := must(Dial(t.Context(), p.url, n.node(t, identity.Client, "deaf")))(t)
	_, end := start(t, c)
	large := must(Encode(Message{Refuse: &Refuse{Reason: strings.Repeat("x", 60<<10)}}))(t)
	sent := 0
	var err error
	eventually(t, "a full queue", func() bool {
		for range 10 {
			if err = c.SendFrame(large); err != nil {
				return true
			}
			sent++
		}
		return false
	})
	if !errors.Is(err, ErrSlow) || sent < QueueLen {
		t.Errorf("Send() = %v after %d messages, want ErrSlow after at least %d", err, sent, QueueLen)
	}
	select {
	case <-c.Done():
	default:
		t.Error("the connection of a slow peer does not end at once")
	}
	if err := next(t, "the end", end); !errors.Is(err, ErrSlow) {
		t.Errorf("Run() = %v, want ErrSlow", err)
	}
	if err := c.SendFrame(large); !errors.Is(err, ErrClosed) {
		t.Errorf("Send() after the end = %v, want ErrClosed", err)
	}
	// Another one is served meanwhile.
	d := must(Dial(t.Context(), p.url, n.node(t, identity.Client, "client-1")))(t)
	if err := d.Send(Message{Join: &Join{}}); err != nil {
		t.Fatal(err)
	}
	start(t, d)
	next(t, "a join", p.got)
	d.Close(nil)
}

// TestEnds: how a connection ends, at each end.
func TestEnds(t *testing.T) {
	n := newNetwork(t)
	p := listen(t, n.node(t, identity.Relay, "relay-1"), nil)
	mine := errors.New("my own reason")
	for _, c := range []struct {
		name       string
		do         func(c *Conn, cancel context.CancelCauseFunc)
		here, peer error
		word       string // in the peer's error
	}{
		{"closed", func(c *Conn, _ context.CancelCauseFunc) { c.Close(nil) }, ErrClosed, ErrClosed, "1000"},
		{"closed with a reason", func(c *Conn, _ context.CancelCauseFunc) { c.Close(mine) }, mine, ErrClosed, "my own reason"},
		{"context", func(_ *Conn, cancel context.CancelCauseFunc) { cancel(mine) }, mine, ErrClosed, "my own reason"},
		{"context without a cause", func(_ *Conn, cancel context.CancelCauseFunc) { cancel(nil) }, context.Canceled, ErrClosed, "1001"},
		{"socket cut", func(c *Conn, _ context.CancelCauseFunc) { _ = c.tls.NetConn().Close() }, ErrClosed, ErrClosed, "without a word"},
		{"TLS closed", func(c *Conn, _ context.CancelCauseFunc) { _ = c.tls.Close() }, ErrClosed, ErrClosed, "without a word"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := must(Dial(t.Context(), p.url, n.node(t, identity.Client, "client-1")))(t)
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			end := make(chan error, 1)
			go func() { end <- conn.Run(ctx, func(Message) {}) }()
			s := next(t, "the connection", p.conns)
			if err := conn.Send(Message{Join: &Join{}}); err != nil {
				t.Fatal(err)
			}
			next(t, "join", p.got)
			c.do(conn, cancel)
			if err := next(t, "the end", end); !errors.Is(err, c.here) {
				t.Errorf("Run() = %v, want %v", err, c.here)
			}
			if err := next(t, "the peer's end", p.ends); !errors.Is(err, c.peer) || !strings.Contains(err.Error(), c.word) {
				t.Errorf("Run() of the peer = %v, want %v with %q", err, c.peer, c.word)
			}
			next(t, "done", s.Done())
		})
	}
	t.Run("before Run", func(t *testing.T) {
		conn := must(Dial(t.Context(), p.url, n.node(t, identity.Client, "client-1")))(t)
		next(t, "the connection", p.conns)
		conn.Close(mine)
		if err := conn.Run(t.Context(), nil); !errors.Is(err, mine) {
			t.Errorf("Run() = %v, want %v", err, mine)
		}
		if err := next(t, "the peer's end", p.ends); !errors.Is(err, ErrClosed) {
			t.Errorf("Run() of the peer = %v, want ErrClosed", err)
		}
	})
}

// TestSetCredentials: a renewed certificate serves whoever comes next, and whoever is there stays.
func TestSetCredentials(t *testing.T) {
	n := newNetwork(t)
	p := listen(t, n.node(t, identity.Relay, "relay-1"), nil)
	client := n.node(t, identity.Client, "client-1")
	old := must(Dial(t.Context(), p.url, client))(t)
	start(t, old)
	renewed := n.node(t, identity.Relay, "relay-1")
	if err := p.SetCredentials(renewed); err != nil {
		t.Fatal(err)
	}
	c := must(Dial(t.Context(), p.url, client))(t)
	if !c.Certificate().Equal(renewed.Chain[0]) || old.Certificate().Equal(renewed.Chain[0]) {
		t.Error("the new connection has the old certificate, or the old one the new")
	}
	if err := old.Send(Message{Resync: &Resync{}}); err != nil {
		t.Error(err)
	}
	next(t, "a message on the old one", p.got)
	if err := p.SetCredentials(client); !errors.Is(err, identity.ErrUsage) {
		t.Errorf("SetCredentials(a loudspeaker) = %v, want ErrUsage", err)
	}
	old.Close(nil)
	c.Close(nil)
}

// TestSendAtOnce: many senders, one writer.
func TestSendAtOnce(t *testing.T) {
	n := newNetwork(t)
	p := listen(t, n.node(t, identity.Relay, "relay-1"), nil)
	c := must(Dial(t.Context(), p.url, n.node(t, identity.Client, "client-1")))(t)
	start(t, c)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 10 {
				if err := c.Send(Message{Digest: &Digest{Count: g*10 + i}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := make(map[int]bool)
	last := map[int]int{0: -1, 1: -1, 2: -1, 3: -1}
	for range 40 {
		n := next(t, "a digest", p.got).Digest.Count
		if seen[n] || n%10 <= last[n/10] {
			t.Errorf("%d comes twice, or late", n)
		}
		seen[n], last[n/10] = true, n%10
	}
	c.Close(nil)
}

// TestShutdown: the server tells its nodes, and waits.
func TestShutdown(t *testing.T) {
	n := newNetwork(t)
	p := listen(t, n.node(t, identity.Relay, "relay-1"), nil)
	var ends []chan error
	for i := range 5 {
		c := must(Dial(t.Context(), p.url, n.node(t, identity.Client, fmt.Sprintf("client-%d", i))))(t)
		_, end := start(t, c)
		ends = append(ends, end)
		next(t, "the connection", p.conns)
	}
	stranger := must(net.Dial("tcp", p.Addr().String()))(t) // in the middle of nothing
	defer stranger.Close()
	eventually(t, "the stranger", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.raw) == 1 })
	p.stop()
	for _, end := range ends {
		if err := next(t, "the end", end); !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "1001 shutting down") {
			t.Errorf("Run() = %v, want ErrClosed with 1001 shutting down", err)
		}
		if err := next(t, "the server's end", p.ends); !errors.Is(err, ErrShutdown) {
			t.Errorf("Run() at the server = %v, want ErrShutdown", err)
		}
	}
	if _, err := Dial(t.Context(), p.url, n.node(t, identity.Client, "client-9")); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Dial() afterwards = %v, want ErrUnreachable", err)
	}
}

func TestBind(t *testing.T) {
	n := newNetwork(t)
	relay := n.node(t, identity.Relay, "relay-1")
	p := listen(t, relay, nil)
	for _, c := range []struct {
		listen, key string
		want        []string
	}{
		{p.Addr().String(), "", []string{"nodes.control", p.Addr().String(), "address already in use"}},
		{"nowhere", "x.y", []string{"x.y", `"nowhere"`, "missing port"}},
		{"127.0.0.1:99999", "", []string{"99999"}},
	} {
		q := newPort(t, relay, func(o *ServerOptions) { o.Listen, o.Key = c.listen, c.key })
		if err := q.Run(t.Context()); err == nil || !contains(err.Error(), c.want...) {
			t.Errorf("Run() on %q = %v, want %q", c.listen, err, c.want)
		}
	}
	for name, change := range map[string]func(*ServerOptions){
		"no credentials": func(o *ServerOptions) { o.Credentials = nil },
		"no accept":      func(o *ServerOptions) { o.Accept = nil },
		"a loudspeaker":  func(o *ServerOptions) { o.Credentials = n.node(t, identity.Client, "client-1") },
		"metrics twice":  func(o *ServerOptions) { o.Registerer = p.reg },
	} {
		o := p.o
		change(&o)
		if _, err := NewServer(o); err == nil {
			t.Errorf("NewServer(%s) = nil, want an error", name)
		}
	}
}
