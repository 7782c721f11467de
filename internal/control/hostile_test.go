package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"dongthanh/internal/identity"
)

// frame builds a WebSocket frame (RFC 6455 §5.2) by hand, as no library would.
func frame(first byte, masked bool, payload []byte) []byte {
	b := []byte{first, 0}
	switch n := len(payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if !masked {
		return append(b, payload...)
	}
	b[1] |= 0x80
	mask := []byte{1, 2, 3, 4}
	b = append(b, mask...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

const (
	final = 0x80
	more  = 0x00
	text1 = 0x1
	bin   = 0x2
	cont  = 0x0
	ping  = 0x9
	pong  = 0xA
)

// hostile upgrades by hand and returns the connection with what is read from it.
func hostile(t testing.TB, p *port, c *identity.Credentials) (io.Writer, *bufio.Reader) {
	t.Helper()
	conn, err := rawTLS(t, p, c.ClientTLS())
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(conn, "GET "+PathControl+" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: "+Subprotocol+"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	answer, err := http.ReadResponse(r, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v", answer, err)
	}
	if e := answer.Header.Get("Sec-WebSocket-Extensions"); e != "" {
		t.Errorf("the server agrees to %q", e)
	}
	return conn, r
}

// farewell reads frames until a close frame and returns its code, 0 if the connection ends without one.
func farewell(r *bufio.Reader) uint16 {
	for {
		head := make([]byte, 2)
		if _, err := io.ReadFull(r, head); err != nil {
			return 0
		}
		payload := make([]byte, head[1]) // servers do not mask, and these are short
		if _, err := io.ReadFull(r, payload); err != nil {
			return 0
		}
		if head[0] == final|0x8 && len(payload) >= 2 {
			return binary.BigEndian.Uint16(payload)
		}
	}
}

// TestHostile sends what no honest node sends: the connection ends with the right code, and nothing else happens.
func TestHostile(t *testing.T) {
	n := newNetwork(t)
	p := listen(t, n.node(t, identity.Relay, "relay-1"), nil)
	bad := n.node(t, identity.Client, "bad")
	honest := must(Dial(t.Context(), p.url, n.node(t, identity.Client, "honest")))(t)
	got, _ := start(t, honest)
	server := next(t, "the honest connection", p.conns)

	join := frame(final|text1, true, []byte(`{"join":{"version":"1"}}`))
	after := func(f ...[]byte) []byte { return append(bytes.Clone(join), bytes.Join(f, nil)...) }
	message := func(s string) []byte { return frame(final|text1, true, []byte(s)) }
	pings := bytes.Repeat(frame(final|ping, true, nil), maxPings+1)
	pad := func(n int) string { return `{"x":"` + strings.Repeat("a", n-8) + `"}` }
	var crumbs []byte
	for range MaxMessage + 1 {
		crumbs = append(crumbs, frame(more|cont, true, []byte("a"))...)
	}
	for _, c := range []struct {
		name string
		send []byte
		want error
		code uint16
	}{
		{"unmasked", frame(final|text1, false, []byte(`{"resync":{}}`)), ErrMalformed, 1002},
		{"RSV1, as if compressed", frame(final|0x40|text1, true, []byte("x")), ErrMalformed, 1002},
		{"RSV2", frame(final|0x20|text1, true, []byte("x")), ErrMalformed, 1002},
		{"RSV3", frame(final|0x10|text1, true, []byte("x")), ErrMalformed, 1002},
		{"unknown opcode", frame(final|0x3, true, []byte("x")), ErrMalformed, 1002},
		{"unknown control opcode", frame(final|0xB, true, []byte("x")), ErrMalformed, 1002},
		{"control frame of 126 bytes", frame(final|ping, true, make([]byte, 126)), ErrMalformed, 1002},
		{"control frame in fragments", frame(more|ping, true, nil), ErrMalformed, 1002},
		{"length 2^63", []byte{final | text1, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, ErrTooLarge, 1009},
		{"length 2^63-1", []byte{final | text1, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4}, ErrTooLarge, 1009},
		{"continuation of nothing", frame(final|cont, true, []byte("x")), ErrMalformed, 1002},
		{"a message within a message", append(frame(more|text1, true, []byte("x")), frame(final|text1, true, []byte("x"))...), ErrMalformed, 1002},
		{"close with a bad code", frame(final|0x8, true, []byte{0, 1}), ErrMalformed, 1002},
		{"close with bad UTF-8", frame(final|0x8, true, []byte{3, 0xE8, 0xFF}), ErrMalformed, 1002},
		{"close", frame(final|0x8, true, []byte{3, 0xE8}), ErrClosed, 1000},
		{"binary", frame(final|bin, true, []byte(`{"resync":{}}`)), ErrMalformed, 1007},
		{"bad UTF-8", message("{\"refuse\":{\"code\":\"\xff\"}}"), ErrMalformed, 1007},
		{"garbage", message("hello"), ErrMalformed, 1007},
		{"nothing", message(""), ErrMalformed, 1007},
		{"two members", message(`{"resync":{},"path":{}}`), ErrMalformed, 1007},
		{"depth", message(`{"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`), ErrMalformed, 1007},
		{"first message of 4 KiB and 1", message(pad(FirstMessage + 1)), ErrTooLarge, 1009},
		{"first message in fragments, too large", append(frame(more|text1, true, make([]byte, FirstMessage)), frame(final|cont, true, []byte("x"))...), ErrTooLarge, 1009},
		{"later message of 64 KiB and 1", after(message(pad(MaxMessage + 1))), ErrTooLarge, 1009},
		{"crumbs without end", after(frame(more|text1, true, nil), crumbs), ErrTooLarge, 1009},
		{"flood of pings", after(pings), errFlood, 1008},
		{"cut within a frame", join[:len(join)-3], ErrClosed, 0}, // whether a farewell still arrives is chance
	} {
		t.Run(c.name, func(t *testing.T) {
			w, r := hostile(t, p, bad)
			next(t, "the connection", p.conns)
			go func() { // the server may stop reading
				_, _ = w.Write(c.send)
				if c.code == 0 {
					_ = w.(io.Closer).Close()
				}
			}()
			if code := farewell(r); c.code != 0 && code != c.code {
				t.Errorf("closed with %d, want %d", code, c.code)
			}
			if err := next(t, "the end", p.ends); !errors.Is(err, c.want) {
				t.Errorf("Run() = %v, want %v", err, c.want)
			}
			for len(p.got) > 0 {
				if m := <-p.got; m.Join == nil {
					t.Errorf("the handler got %+v", m)
				}
			}
		})
	}

	t.Run("what is allowed", func(t *testing.T) {
		w, r := hostile(t, p, bad)
		next(t, "the connection", p.conns)
		var long bytes.Buffer
		long.Write(message(pad(FirstMessage))) // unknown: ignored
		long.Write(message(pad(MaxMessage)))
		long.Write(frame(more|text1, true, []byte(`{"dig`)))
		long.Write(frame(final|ping, true, []byte("hi"))) // control frames may come between
		long.Write(frame(more|cont, true, nil))
		long.Write(frame(final|cont, true, []byte(`est":{"count":1,"sum":"2"}}`)))
		long.Write(frame(final|pong, true, []byte("unasked")))
		if _, err := w.Write(long.Bytes()); err != nil {
			t.Fatal(err)
		}
		if m := next(t, "the digest", p.got); m.Digest == nil || m.Digest.Sum != 2 {
			t.Errorf("got %+v, want the digest", m)
		}
		head := make([]byte, 4)
		if _, err := io.ReadFull(r, head); err != nil || !bytes.Equal(head, []byte{final | pong, 2, 'h', 'i'}) {
			t.Errorf("the answer to the ping is %x, %v", head, err)
		}
		_ = w.(io.Closer).Close()
		next(t, "the end", p.ends)
	})

	// The honest one has noticed nothing.
	if err := server.Send(Message{Resync: &Resync{}}); err != nil {
		t.Fatal(err)
	}
	if m := next(t, "a message", got); m.Resync == nil {
		t.Errorf("the honest one got %+v", m)
	}
	honest.Close(nil)
}

// TestHostileServer: a node bears a hostile upstream as well.
func TestHostileServer(t *testing.T) {
	n := newNetwork(t)
	for _, c := range []struct {
		name string
		send []byte
		want error
	}{
		{"masked", frame(final|text1, true, []byte(`{"resync":{}}`)), ErrMalformed},
		{"binary", frame(final|bin, false, []byte(`{"resync":{}}`)), ErrMalformed},
		{"garbage", frame(final|text1, false, []byte(`x`)), ErrMalformed},
		{"large", frame(final|text1, false, make([]byte, MaxMessage+1)), ErrTooLarge},
		{"flood of pings", bytes.Repeat(frame(final|ping, false, nil), maxPings+1), errFlood},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := listen(t, n.node(t, identity.Relay, "relay-1"), func(o *ServerOptions) {
				o.Accept = func(s *Conn) {
					_, _ = s.tls.Write(c.send)
					_ = s.Run(context.Background(), func(Message) {})
				}
			})
			conn := must(Dial(t.Context(), p.url, n.node(t, identity.Client, "client-1")))(t)
			_, end := start(t, conn)
			if err := next(t, "the end", end); !errors.Is(err, c.want) {
				t.Errorf("Run() = %v, want %v", err, c.want)
			}
		})
	}
}
