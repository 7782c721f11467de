package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

// speaker is a node at the other end of the real wire: TLS, WebSocket and UDP, as a loudspeaker or a relay speaks them.
type speaker struct {
	t    testing.TB
	bed  *bed
	node identity.Node
	conn *control.Conn
	end  context.CancelFunc
	done chan struct{}
	err  error // why the connection ended; after done

	mu       sync.Mutex
	changed  chan struct{}
	messages []control.Message
	flow     wire.FlowID
	up, down *wire.Key
	counter  uint64
	udp      *net.UDPConn
	silent   bool // answers no challenge
	got      []heard
	reading  sync.WaitGroup
}

// heard is one datagram that came, parsed and with the tag checked.
type heard struct {
	kind  wire.Type // 0: media
	body  []byte    // of media: the whole packet
	index seq.Index // of media
	ssrc  uint32
	at    time.Time
}

// join connects a node and waits for the answer to its Join.
func (b *bed) join(node identity.Node, standby bool) *speaker {
	b.t.Helper()
	s := b.dial(node)
	s.say(control.Message{Join: &control.Join{Version: "1.2.3", Standby: standby, Boot: 5}})
	s.wait("a welcome", func() bool { return s.message(func(m control.Message) bool { return m.Welcome != nil }) != nil })
	return s
}

// speaker joins a loudspeaker and binds its datagrams.
func (b *bed) speaker(id string, z zone.Zone) *speaker {
	b.t.Helper()
	s := b.join(identity.Node{ID: id, Kind: identity.Client, Zone: z, Name: id}, false)
	s.open("127.0.0.1")
	s.bind(true)
	return s
}

func (b *bed) dial(node identity.Node) *speaker {
	b.t.Helper()
	credentials, err := b.issuer.Enlist(node, time.Now(), time.Hour)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	conn, err := control.Dial(ctx, "wss://"+b.ControlAddr().String(), credentials)
	if err != nil {
		end()
		b.t.Fatal(err)
	}
	s := &speaker{t: b.t, bed: b, node: node, conn: conn, end: end, done: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = conn.Run(ctx, func(m control.Message) {
			s.change(func() {
				s.messages = append(s.messages, m)
				if m.Welcome != nil {
					s.flow = wire.FlowID(m.Welcome.Flow)
					key := conn.FlowKey(s.flow)
					s.up, s.down = wire.NewKey(key, wire.Up), wire.NewKey(key, wire.Down)
				}
			})
		})
		s.change(func() {})
	}()
	b.t.Cleanup(s.leave)
	return s
}

// leave ends everything of the speaker.
func (s *speaker) leave() {
	s.end()
	<-s.done
	if s.udp != nil {
		_ = s.udp.Close()
	}
	s.reading.Wait()
}

func (s *speaker) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *speaker) wait(what string, cond func() bool) {
	s.t.Helper()
	if !s.within(patience, cond) {
		s.t.Fatalf("%s waited for %s; heard %s", s.node.ID, what, s.summary())
	}
}

func (s *speaker) within(d time.Duration, cond func() bool) bool {
	end := time.After(d)
	for {
		s.mu.Lock()
		ok, changed := cond(), s.changed
		s.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-end:
			return false
		}
	}
}

func (s *speaker) summary() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var kinds []string
	for _, h := range s.got {
		kinds = append(kinds, fmt.Sprint(h.kind))
	}
	return fmt.Sprint(kinds, " and ", len(s.messages), " messages")
}

// say sends a control message.
func (s *speaker) say(m control.Message) {
	s.t.Helper()
	if err := s.conn.Send(m); err != nil {
		s.t.Fatal(err)
	}
}

// message finds a message that came; the caller holds mu.
func (s *speaker) message(is func(control.Message) bool) *control.Message {
	if i := slices.IndexFunc(s.messages, is); i >= 0 {
		return &s.messages[i]
	}
	return nil
}

// open makes a socket towards the Hub at the given address of its machine, and reads from it.
func (s *speaker) open(host string) {
	s.t.Helper()
	c, err := net.Dial("udp", net.JoinHostPort(host, fmt.Sprint(s.bed.MediaAddr().Port())))
	if err != nil {
		s.t.Fatal(err)
	}
	u := c.(*net.UDPConn)
	s.mu.Lock()
	old := s.udp
	s.udp = u
	s.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	s.reading.Go(func() {
		b := make([]byte, 2000)
		for {
			n, err := u.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				s.take(slices.Clone(b[:n]))
			}
		}
	})
}

func (s *speaker) take(b []byte) {
	h := heard{at: time.Now()}
	if p, err := packet.Parse(b); err == nil {
		h.body, h.index, h.ssrc = b, p.Index, p.SSRC
	} else if d, err := wire.Parse(b); err == nil && d.Flow == s.flow && d.Verify(s.down) == nil {
		h.kind, h.body = d.Type, d.Body
	} else {
		s.t.Errorf("%s got something that is neither media nor of its flow: %x", s.node.ID, b)
		return
	}
	s.mu.Lock()
	echo := h.kind == wire.Challenge && !s.silent
	s.mu.Unlock()
	if echo {
		s.send(wire.Challenge, h.body)
	}
	s.change(func() { s.got = append(s.got, h) })
}

// send sends one datagram of the flow.
func (s *speaker) send(kind wire.Type, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counter++
	b := s.up.Append(nil, wire.Header{Type: kind, Flow: s.flow, Counter: wire.MakeCounter(5, s.counter)}, body)
	if _, err := s.udp.Write(b); err != nil && !errors.Is(err, net.ErrClosed) {
		s.t.Errorf("%s: %v", s.node.ID, err)
	}
}

func (s *speaker) ping(active bool) {
	s.send(wire.Ping, wire.PingBody{T1: time.Now().UnixNano(), Active: active}.Append(nil))
}

// bind pings until a pong says that the address is proved.
func (s *speaker) bind(active bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; {
		s.mu.Lock()
		n := len(s.got)
		s.mu.Unlock()
		s.ping(active)
		var p wire.PongBody
		if s.within(time.Second, func() bool {
			for _, h := range s.got[n:] {
				if h.kind == wire.Pong {
					p, _ = wire.ParsePong(h.body)
					return true
				}
			}
			return false
		}) && p.Bound {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s was not bound", s.node.ID)
		}
	}
}

// count is how many datagrams of a kind came; 0 is media.
func (s *speaker) count(kind wire.Type) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counted(kind)
}

func (s *speaker) counted(kind wire.Type) (n int) {
	for _, h := range s.got {
		if h.kind == kind {
			n++
		}
	}
	return n
}

// indices are those of the media that came for a transmission, in order of arrival.
func (s *speaker) indices(x *transmission) (all []seq.Index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.indexed(x)
}

func (s *speaker) indexed(x *transmission) (all []seq.Index) {
	for _, h := range s.got {
		if h.kind == 0 && h.ssrc == x.Cert.SSRC {
			all = append(all, h.index)
		}
	}
	return all
}

// hears waits for the packet with index i of x, and that its bytes are those that were sent.
func (s *speaker) hears(x *transmission, p packet.Packet) {
	s.t.Helper()
	s.wait(fmt.Sprint("packet ", p.Index), func() bool {
		return slices.ContainsFunc(s.got, func(h heard) bool {
			return h.kind == 0 && h.ssrc == x.Cert.SSRC && h.index == p.Index && string(h.body) == string(p.Raw)
		})
	})
}

// hearsBeacon waits for a beacon by its body. It may come twice: the greeting of a new subscriber holds it too.
func (s *speaker) hearsBeacon(body []byte) {
	s.t.Helper()
	s.wait("a beacon", func() bool {
		return slices.ContainsFunc(s.got, func(h heard) bool { return h.kind == wire.Beacon && string(h.body) == string(body) })
	})
}

// forget clears what came.
func (s *speaker) forget() { s.change(func() { s.got = nil }) }

// settle waits until everything the Hub has sent so far must have come: a ping after it was answered.
func (s *speaker) settle(active bool) {
	s.t.Helper()
	before := s.count(wire.Pong)
	s.ping(active)
	s.wait("a pong", func() bool { return s.counted(wire.Pong) > before })
}
