package ingest

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// overTCP is a browser whose network lets no UDP pass.
func overTCP(t testing.TB) *browser {
	t.Helper()
	return browserOn(t, func(_ *browser, s *webrtc.SettingEngine) {
		s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
	})
}

// TestMicrophoneOverTCP: without UDP the sound comes whole over TCP, on one address and on all of them.
func TestMicrophoneOverTCP(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", ":0"} {
		m := open(t, func(c *Config) { c.Listen = listen })
		b := overTCP(t)
		mic := b.connect(m)
		pcm := m.talk(b, mic, 100, nil)
		if s := mic.Stats(); s.Lost+s.Late+s.Malformed+s.Refused > 0 || s.Packets < 99 {
			t.Errorf("on %s: %+v, want 100 good packets", listen, s)
		}
		if tail := pcm[len(pcm)/2:]; purity(tail, toneHz) < 0.95 || loudness(tail) < 0.1 {
			t.Errorf("on %s: purity %.2f and loudness %.3f, want the tone", listen, purity(tail, toneHz), loudness(tail))
		}
		pair, err := b.pc.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
		if err != nil || pair == nil || pair.Remote.Protocol != webrtc.ICEProtocolTCP || pair.Remote.Port != m.ports.number() {
			t.Errorf("on %s: connected by %v, %v, want TCP on port %d", listen, pair, err, m.ports.number())
		}
		if err := mic.Close(); err != nil { // pion as a browser may close the connection before its goodbye has left
			t.Fatal(err)
		}
	}
}

// dialTCP connects to the rig's port.
func (r *rig) dialTCP(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", itoa(r.ports.number())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// closed waits until the other side has closed conn.
func closed(t *testing.T, conn net.Conn, within time.Duration) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(within))
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("Read = %d, %v, want the connection closed within %v", n, err, within)
	}
}

// TestConnectionsAreBounded: one machine cannot take all connections, what is beyond is closed and counted, a place that
// is free again is given away, and a microphone that speaks is not disturbed.
func TestConnectionsAreBounded(t *testing.T) {
	m := open(t)
	b := newBrowser(t)
	mic := b.connect(m)
	m.talk(b, mic, 5, nil)
	var idle []net.Conn
	for range maxConnectionsOfOne {
		idle = append(idle, m.dialTCP(t))
	}
	closed(t, m.dialTCP(t), 2*time.Second)
	if n := m.ports.refused.Load(); n != 1 {
		t.Errorf("%d connections refused, want 1", n)
	}
	// Whoever sends what is no check loses his place at once.
	if _, err := idle[0].Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat("x", 1000))); err != nil {
		t.Fatal(err)
	}
	closed(t, idle[0], 2*time.Second)
	again := m.dialTCP(t)
	_ = again.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := again.Read(make([]byte, 1)); err == io.EOF {
		t.Error("a place that is free is not given away")
	}
	m.talk(b, mic, 20, nil)
	if s := mic.Stats(); s.Lost+s.Malformed > 0 {
		t.Errorf("the microphone that speaks suffers: %+v", s)
	}
	begun := time.Now()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("Close waited %v for connections on which nothing comes", d)
	}
	closed(t, again, time.Second)
}

// TestGarbageOverTCP: whatever outsiders send on the port ends their connection, and nothing else.
func TestGarbageOverTCP(t *testing.T) {
	m := open(t)
	b := newBrowser(t)
	mic := b.connect(m)
	// A binding request (RFC 8489 §5), first whole but for its user name, then with one that nobody has.
	check := func(attributes []byte) []byte {
		msg := binary.BigEndian.AppendUint16([]byte{0, 1}, uint16(len(attributes)))
		msg = append(msg, 0x21, 0x12, 0xa4, 0x42)
		msg = append(append(msg, make([]byte, 12)...), attributes...)
		return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	}
	for name, bytes := range map[string][]byte{
		"zeros": make([]byte, 1000), "ones": bytes.Repeat([]byte{0xff}, 4000), "an empty packet": {0, 0},
		"no user": check(nil), "a length that lies": check([]byte{0, 6, 0xff, 0xff}),
		"an unknown user": check([]byte{0, 6, 0, 4, 'a', ':', 'b', 0}),
	} {
		t.Run(name, func(t *testing.T) {
			conn := m.dialTCP(t)
			_, _ = conn.Write(bytes)
			closed(t, conn, firstCheck+3*time.Second)
		})
	}
	m.talk(b, mic, 20, nil)
	if s := mic.Stats(); s.Lost+s.Malformed > 0 || mic.ended() {
		t.Errorf("the microphone that speaks suffers: %+v", s)
	}
}
