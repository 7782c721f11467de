package control

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"dongthanh/internal/identity"
)

// pipes is a listener whose connections are pipes in memory, so that time in a bubble stands still for them.
type pipes struct {
	calls chan net.Conn
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{calls: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.calls:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.calls <- there:
		return here, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// bubble runs a control port over pipes in a bubble of time.
func bubble(t *testing.T, change func(*ServerOptions), f func(t *testing.T, n network, p *port, l *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n, l := newNetwork(t), newPipes()
		p := newPort(t, n.node(t, identity.Relay, "relay-1"), change)
		p.run(func(ctx context.Context) error {
			defer p.refused.Stop()
			return p.serve(ctx, l)
		})
		f(t, n, p, l)
		p.stop()
		time.Sleep(time.Minute) // what the test itself has started ends
	})
}

// TestKeptAlive: two ends that say nothing but pings stay together.
func TestKeptAlive(t *testing.T) {
	bubble(t, nil, func(t *testing.T, n network, p *port, l *pipes) {
		c := must(dial(t.Context(), "wss://x:1", n.node(t, identity.Client, "client-1"), l.dial))(t)
		got, end := start(t, c)
		s := <-p.conns
		_ = c.Send(Message{Join: &Join{}})
		_ = s.Send(Message{Resync: &Resync{}})
		<-p.got
		<-got
		time.Sleep(24 * time.Hour)
		select {
		case err := <-end:
			t.Fatalf("the connection ended: %v", err)
		default:
		}
		if err := c.Send(Message{Resync: &Resync{}}); err != nil {
			t.Fatal(err)
		}
		<-p.got
		c.Close(nil)
		<-end
		<-p.ends
	})
}

// discard reads what the other end sends and never answers.
func discard(c *Conn) { _, _ = io.Copy(io.Discard, c.tls) }

// TestSilence: how long each end bears an end that reads and says nothing.
func TestSilence(t *testing.T) {
	hello := []byte(`{"resync":{}}`)
	for _, c := range []struct {
		name  string
		first bool // it did say something at first
		pings bool // it sends pings, but nothing else
		want  time.Duration
	}{
		{"nothing at all", false, false, firstWithin},
		{"pings only", false, true, firstWithin},
		{"nothing any more", true, false, deadAfter},
	} {
		speak := func(mute *Conn) {
			if c.first {
				_ = mute.ws.WriteMessage(websocket.TextMessage, hello)
			}
			for c.pings {
				if mute.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)) != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}
		check := func(t *testing.T, began time.Time, err error) {
			t.Helper()
			if d := time.Since(began); !errors.Is(err, ErrSilent) || d < c.want || d > c.want+2*time.Second {
				t.Errorf("Run() = %v after %s, want ErrSilent after %s", err, d, c.want)
			}
		}
		t.Run("client: "+c.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, n network, p *port, l *pipes) {
				conn := must(dial(t.Context(), "wss://x:1", n.node(t, identity.Client, "client-1"), l.dial))(t)
				<-p.conns
				began := time.Now()
				go discard(conn)
				go speak(conn)
				check(t, began, <-p.ends)
				conn.Close(nil)
			})
		})
		t.Run("server: "+c.name, func(t *testing.T) {
			mute := func(o *ServerOptions) {
				o.Accept = func(s *Conn) {
					go speak(s)
					discard(s)
				}
			}
			bubble(t, mute, func(t *testing.T, n network, p *port, l *pipes) {
				conn := must(dial(t.Context(), "wss://x:1", n.node(t, identity.Client, "client-1"), l.dial))(t)
				began := time.Now()
				check(t, began, conn.Run(t.Context(), func(Message) {}))
			})
		})
	}
}

// TestUnread: a peer that reads nothing is slow after 5 s, and costs no more than that.
func TestUnread(t *testing.T) {
	bubble(t, nil, func(t *testing.T, n network, p *port, l *pipes) {
		conn := must(dial(t.Context(), "wss://x:1", n.node(t, identity.Client, "client-1"), l.dial))(t)
		s := <-p.conns
		began := time.Now()
		if err := s.Send(Message{Resync: &Resync{}}); err != nil {
			t.Fatal(err)
		}
		err := <-p.ends
		if d := time.Since(began); !errors.Is(err, ErrSlow) || d < writeWithin || d > writeWithin+2*partWithin {
			t.Errorf("Run() = %v after %s, want ErrSlow after %s", err, d, writeWithin)
		}
		conn.Close(nil)
	})
}

// TestUnreadClose: closing does not wait for a peer that reads nothing.
func TestUnreadClose(t *testing.T) {
	bubble(t, nil, func(t *testing.T, n network, p *port, l *pipes) {
		conn := must(dial(t.Context(), "wss://x:1", n.node(t, identity.Client, "client-1"), l.dial))(t)
		s := <-p.conns
		_ = s.Send(Message{Resync: &Resync{}}) // the writer is stuck in it
		synctest.Wait()
		began := time.Now()
		s.Close(ErrShutdown)
		err := <-p.ends
		if d := time.Since(began); !errors.Is(err, ErrShutdown) || d > 2*partWithin {
			t.Errorf("Run() = %v after %s, want ErrShutdown within %s", err, d, 2*partWithin)
		}
		conn.Close(nil)
	})
}

// TestSlowStrangers: handshake, header and body that come drop by drop are cut off.
func TestSlowStrangers(t *testing.T) {
	drip := func(w io.Writer, text string) error {
		for i := range len(text) {
			time.Sleep(500 * time.Millisecond)
			if _, err := io.WriteString(w, text[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	header := "POST /enrol/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
	for _, c := range []struct {
		name  string
		do    func(raw net.Conn, config *tls.Config) error
		want  time.Duration
		count string // the refusal's label
	}{
		{"says nothing", func(raw net.Conn, _ *tls.Config) error {
			_, err := raw.Read(make([]byte, 1))
			return err
		}, handshakeWithin, "timeout"},
		{"drips its hello", func(raw net.Conn, _ *tls.Config) error {
			return drip(raw, "\x16\x03\x01\x02\x00\x01\x00"+strings.Repeat("\x00", 512))
		}, handshakeWithin, "timeout"},
		{"drips its header", func(raw net.Conn, config *tls.Config) error {
			c := tls.Client(raw, config)
			if err := c.Handshake(); err != nil {
				return err
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
			return drip(c, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 500))
		}, headerWithin, ""},
		{"drips its body", func(raw net.Conn, config *tls.Config) error {
			c := tls.Client(raw, config)
			if err := c.Handshake(); err != nil {
				return err
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
			if _, err := io.WriteString(c, header); err != nil {
				return err
			}
			return drip(c, strings.Repeat("x", 5000))
		}, bodyWithin, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(o *ServerOptions) { o.Enroller = nobody{} }, func(t *testing.T, n network, p *port, l *pipes) {
				config := n.node(t, identity.Client, "client-1").ClientTLS()
				raw := must(l.dial(t.Context(), "", ""))(t)
				began := time.Now()
				if err := c.do(raw, config); err == nil {
					t.Error("the server took it all")
				}
				if d := time.Since(began); d < c.want-time.Second || d > c.want+2*time.Second {
					t.Errorf("cut off after %s, want %s", d, c.want)
				}
				time.Sleep(2 * time.Second)
				if c.count != "" && p.count("control_refused_total", c.count) != 1 {
					t.Errorf("not counted as %q", c.count)
				}
				if p.admission.pending != 0 {
					t.Errorf("%d places are not given back", p.admission.pending)
				}
				_ = raw.Close()
			})
		})
	}
}

type nobody struct{}

func (nobody) Enrol(context.Context, EnrolRequest) (*EnrolResponse, error) {
	return nil, errors.New("asked though the body never came")
}

// TestMuteUpstream: a dial does not wait for ever.
func TestMuteUpstream(t *testing.T) {
	for name, accept := range map[string]func(net.Conn, *identity.Credentials){
		"before TLS": func(net.Conn, *identity.Credentials) {},
		"before the upgrade": func(raw net.Conn, c *identity.Credentials) {
			s := tls.Server(raw, c.ServerTLS())
			_ = s.Handshake()
			_, _ = io.Copy(io.Discard, s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				relay := n.node(t, identity.Relay, "relay-1")
				began := time.Now()
				var there net.Conn
				_, err := dial(t.Context(), "wss://x:1", n.node(t, identity.Client, "client-1"), func(context.Context, string, string) (net.Conn, error) {
					var here net.Conn
					here, there = net.Pipe()
					go accept(there, relay)
					return here, nil
				})
				if d := time.Since(began); !errors.Is(err, ErrUnreachable) || d != dialWithin {
					t.Errorf("dial() = %v after %s, want ErrUnreachable after %s", err, d, dialWithin)
				}
				_ = there.Close()
			})
		})
	}
}

// TestPace: a peer is read no faster than an honest one ever sends.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		const sent = 20 << 20
		go func() {
			_, _ = there.Write(make([]byte, sent))
			_ = there.Close()
		}()
		c := &conn{Conn: here}
		began := time.Now()
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 16<<10))
		want := time.Duration(float64(sent-readDepth) / readRate * float64(time.Second))
		if d := time.Since(began); n != sent || err != nil || d < want-time.Second/10 || d > want+time.Second/10 {
			t.Errorf("%d bytes took %s, %v, want %s", n, d, err, want)
		}
		_ = here.Close()
	})
}
