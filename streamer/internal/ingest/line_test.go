package ingest

import (
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"dongthanh/codec"
	"dongthanh/internal/mediaclock"
)

// lineRig is Lines on loopback with a clock that the test moves, and one line that it reads.
type lineRig struct {
	*Lines
	t     *testing.T
	line  *Line
	clock *mediaclockHand
	came  chan verdict
}

type mediaclockHand struct {
	mu  sync.Mutex
	now mediaclock.Local
}

func (h *mediaclockHand) get() mediaclock.Local {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *mediaclockHand) add(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func openLine(t *testing.T, o LineOptions, change ...func(*Lines)) *lineRig {
	t.Helper()
	lines, err := NewLines(LineConfig{}, quiet(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r := &lineRig{Lines: lines, t: t, clock: &mediaclockHand{now: 1}, came: make(chan verdict, 1<<16)}
	lines.now = r.clock.get
	lines.judged = func(v verdict) { r.came <- v }
	for _, c := range change {
		c(lines)
	}
	if r.line, err = lines.Open(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lines.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

// mixer is a machine that sends a tone by RTP.
type mixer struct {
	t    *testing.T
	conn net.Conn
	enc  *codec.Encoder
	keys *srtp.Context
	rtp.Header
	at int
}

func (r *lineRig) mixer(channels ...func(*mixer)) *mixer {
	r.t.Helper()
	conn, err := net.Dial("udp", r.line.Listen().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	m := &mixer{t: r.t, conn: conn, Header: rtp.Header{Version: 2, PayloadType: 97, SSRC: 0xcafe, SequenceNumber: 65500, Timestamp: 1 << 31}}
	if m.enc, err = codec.NewEncoder(codec.EncoderConfig{FramesPerPacket: 1, Bitrate: 64000, Music: true}); err != nil {
		r.t.Fatal(err)
	}
	for _, c := range channels {
		c(m)
	}
	return m
}

// next returns the next packet of the tone.
func (m *mixer) next() []byte {
	m.t.Helper()
	pcm := make([]float32, frameSamples)
	for i := range pcm {
		pcm[i] = tone(m.at + i)
	}
	payload := make([]byte, m.enc.MaxPacketBytes())
	n, err := m.enc.Encode(pcm, payload)
	if err != nil {
		m.t.Fatal(err)
	}
	p := rtp.Packet{Header: m.Header, Payload: payload[:n]}
	p.Timestamp += uint32(m.at)
	m.at += frameSamples
	m.SequenceNumber++
	return m.pack(p)
}

func (m *mixer) pack(p rtp.Packet) []byte {
	m.t.Helper()
	raw, err := p.Marshal()
	if err == nil && m.keys != nil {
		raw, err = m.keys.EncryptRTP(nil, raw, nil)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return raw
}

// send sends a datagram and waits until it was judged.
func (r *lineRig) send(m *mixer, raw []byte, want verdict) {
	r.t.Helper()
	if _, err := m.conn.Write(raw); err != nil {
		r.t.Fatal(err)
	}
	select {
	case got := <-r.came:
		if got != want {
			r.t.Fatalf("a datagram of %d bytes is %v, want %v", len(raw), got, want)
		}
	case <-time.After(10 * time.Second):
		r.t.Fatalf("nobody judged a datagram of %d bytes", len(raw))
	}
}

// talk lets m send frames, with between called before each, and returns what the line gives meanwhile.
func (r *lineRig) talk(m *mixer, frames int, between func(i int)) []float32 {
	r.t.Helper()
	var all []float32
	for i := range frames {
		if between != nil {
			between(i)
		}
		r.send(m, m.next(), sound)
		all = append(all, r.pull(1)...)
	}
	return all
}

// pull lets time pass and reads.
func (r *lineRig) pull(frames int) []float32 {
	r.t.Helper()
	all := make([]float32, frames*frameSamples)
	for i := range frames {
		r.clock.add(20 * time.Millisecond)
		if err := r.line.Read(all[i*frameSamples : (i+1)*frameSamples]); err != nil {
			r.t.Fatalf("Read: %v", err)
		}
	}
	return all
}

// bye is the RTCP that takes leave for an SSRC, after an empty report as RFC 3550 §6.1 wants.
func bye(ssrc uint32) []byte {
	s := []byte{byte(ssrc >> 24), byte(ssrc >> 16), byte(ssrc >> 8), byte(ssrc)}
	b := append([]byte{0x80, 201, 0, 1}, s...)
	return append(append(b, 0x81, 203, 0, 1), s...)
}

// counted reads a counter of the line's metrics.
func (r *lineRig) counted(v verdict) uint64 { return r.line.judged[v].Load() }

// A mixer's tone comes out whole, from the first frame to the last, and a goodbye ends the line and frees its port.
func TestLine(t *testing.T) {
	r := openLine(t, LineOptions{})
	m := r.mixer()
	pcm := r.talk(m, 250, nil)
	await(t, r.line.Started(), "the start")
	r.send(m, bye(0xbeef), feedback) // somebody else's
	r.send(m, bye(m.SSRC), goodbye)
	await(t, r.line.Done(), "the end of the line")
	pcm, err := drain(t, r.line, pcm)
	if err != io.EOF || r.line.Reason() != LineGoodbye {
		t.Errorf("Read = %v, Reason = %q at the end, want io.EOF and %q", err, r.line.Reason(), LineGoodbye)
	}
	if frames := len(pcm) / frameSamples; frames < 251 || frames > 255 { // what waits, and a frame that fades out
		t.Errorf("%d frames of sound, want the 250 that were sent", frames)
	}
	wantTone(t, pcm[6*frameSamples:248*frameSamples], r.line.Stats())
	if s := r.line.Stats(); s.Packets != 250 || s.Lost+s.Malformed > 0 || s.Starved+s.Concealed+s.Cut > 0 {
		t.Errorf("Stats = %+v, want 250 packets and no fault", s)
	}
	await(t, whenDone(func() { r.line.running.Wait() }), "the end of its goroutines")
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(r.line.Listen()))
	if err != nil {
		t.Fatalf("the port of a line that has ended is not free: %v", err)
	}
	_ = conn.Close()
	if err := testutil.GatherAndCompare(r.reg.(*prometheus.Registry), strings.NewReader(`
# HELP dongthanh_streamer_lines RTP line-ins that are open.
# TYPE dongthanh_streamer_lines gauge
dongthanh_streamer_lines 0
# HELP dongthanh_streamer_lines_ended_total Line-ins that have ended, by reason.
# TYPE dongthanh_streamer_lines_ended_total counter
dongthanh_streamer_lines_ended_total{reason="closed by the streamer"} 0
dongthanh_streamer_lines_ended_total{reason="sender fell silent"} 0
dongthanh_streamer_lines_ended_total{reason="sender said goodbye"} 1
`), "dongthanh_streamer_lines", "dongthanh_streamer_lines_ended_total"); err != nil {
		t.Error(err)
	}
}

func whenDone(wait func()) <-chan struct{} {
	c := make(chan struct{})
	go func() { wait(); close(c) }()
	return c
}

// What anybody else sends is dropped and counted, and the sound is none the worse.
func TestLineRefuses(t *testing.T) {
	r := openLine(t, LineOptions{})
	m, other := r.mixer(), r.mixer(func(m *mixer) { m.SSRC = 0xdead })
	for _, early := range [][]byte{nil, {0}, {0x80, 97, 0, 0, 0, 0, 0, 0}, []byte("hello, world, this is no RTP"), bye(m.SSRC)} {
		want := malformed
		if len(early) > 1 && early[1] == 201 {
			want = feedback
		}
		r.send(other, early, want)
	}
	cut := m.pack(rtp.Packet{Header: m.Header, Payload: []byte{0xff, 0x3f, 1}}) // 63 frames: R5 of RFC 6716
	hijack := func(change func(*rtp.Header)) []byte {
		h := m.Header
		change(&h)
		return m.pack(rtp.Packet{Header: h, Payload: []byte{0xf8, 0xff, 0xfe}})
	}
	pcm := r.talk(m, 100, func(i int) {
		if i == 0 {
			return
		}
		switch i % 9 {
		case 0:
			r.send(m, cut, malformed)
		case 1:
			r.send(m, hijack(func(h *rtp.Header) { h.SSRC++ }), otherSSRC)
		case 2:
			r.send(m, hijack(func(h *rtp.Header) { h.PayloadType++ }), otherType)
		case 3:
			r.send(m, hijack(func(h *rtp.Header) { h.PayloadType = 0 }), otherType)
		case 4:
			r.send(other, other.next(), second)
		case 5: // the sender's identity from another port
			r.send(other, hijack(func(*rtp.Header) {}), second)
		case 6:
			r.send(m, append(hijack(func(*rtp.Header) {}), make([]byte, maxDatagram)...), oversized)
		case 7: // lies about its padding, its sources, its extension
			lie := hijack(func(h *rtp.Header) { h.SequenceNumber += 7 })
			lie[0] |= 0x20
			lie[len(lie)-1] = 200
			r.send(m, lie, malformed)
		case 8:
			lie := hijack(func(h *rtp.Header) { h.SequenceNumber += 7 })
			lie[0] |= 0x1f
			r.send(m, lie, malformed)
		}
	})
	wantTone(t, pcm[6*frameSamples:], r.line.Stats())
	if s := r.line.Stats(); s.Packets != 100 || s.Lost > 0 {
		t.Errorf("Stats = %+v, want 100 packets, none lost", s)
	}
	for v := stranger; v < verdicts; v++ {
		if n := r.counted(v); (n > 0) != (v != stranger && v != forged) {
			t.Errorf("%d datagrams are %v", n, v)
		}
	}
}

// A flood from elsewhere takes neither the sender's place nor its place in the queue.
func TestLineFlood(t *testing.T) {
	r := openLine(t, LineOptions{})
	m, other := r.mixer(), r.mixer()
	var pcm []float32
	for i := range 100 {
		if i > 0 {
			raw := other.next()
			for range 100 {
				if _, err := other.conn.Write(raw); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := m.conn.Write(m.next()); err != nil {
			t.Fatal(err)
		}
		for judged := second; judged != sound; {
			select {
			case judged = <-r.came:
			case <-time.After(10 * time.Second):
				t.Fatalf("packet %d was lost", i)
			}
		}
		pcm = append(pcm, r.pull(1)...)
	}
	wantTone(t, pcm[6*frameSamples:], r.line.Stats())
	if s := r.line.Stats(); s.Packets != 100 || s.Lost > 0 || r.counted(second) == 0 {
		t.Errorf("%d strangers' datagrams, Stats = %+v, want 100 packets, none lost", r.counted(second), s)
	}
}

// The kernel keeps a sender's datagrams while strangers' fill the port's own queue to the brim.
func TestLineKeepsApart(t *testing.T) {
	port, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	dial := func() *net.UDPConn {
		c, err := net.DialUDP("udp", nil, port.LocalAddr().(*net.UDPAddr))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	sender, stranger := dial(), dial()
	apart, err := own(port, sender.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	defer apart.Close()
	for range 5000 {
		_, _ = stranger.Write(make([]byte, 200))
	}
	if _, err := sender.Write([]byte("sound")); err != nil {
		t.Fatal(err)
	}
	_ = apart.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 300)
	if n, err := apart.Read(b); err != nil || string(b[:n]) != "sound" {
		t.Errorf("the sender's own queue gave %q, %v", b[:n], err)
	}
}

// Loss, disorder and a stop of the network are gaps of sound, and never shorten it.
func TestLineGaps(t *testing.T) {
	r := openLine(t, LineOptions{})
	m := r.mixer()
	pcm := r.talk(m, 100, func(i int) {
		switch i {
		case 30: // lost
			m.next()
			r.pull(1)
		case 60: // 200 ms of silence that the sender holds back (DTX)
			m.at += 10 * frameSamples
			r.pull(10)
		}
	})
	s := r.line.Stats()
	if s.Packets != 100 || s.Lost != 1 || s.Cut > 0 || s.Delay > s.Target+5*time.Millisecond {
		t.Errorf("Stats = %+v, want 100 packets, 1 lost, and the delay as before", s)
	}
	wantTone(t, pcm[35*frameSamples:55*frameSamples], s)
	wantTone(t, pcm[85*frameSamples:], s)
}

// A sender that says nothing for long is lost; one that pauses is not.
func TestLineSilent(t *testing.T) {
	r := openLine(t, LineOptions{}, func(l *Lines) { l.silence = 500 * time.Millisecond })
	m := r.mixer()
	r.talk(m, 20, nil)
	r.pull(20) // 400 ms
	m.at += 20 * frameSamples
	r.talk(m, 20, nil)
	select {
	case <-r.line.Done():
		t.Fatal("a pause ended the line")
	default:
	}
	r.clock.add(time.Second)
	await(t, r.line.Done(), "the end of the line")
	if r.line.Reason() != LineSilent {
		t.Errorf("Reason = %q, want %q", r.line.Reason(), LineSilent)
	}
	if err := r.line.Read(make([]float32, frameSamples)); !errors.Is(err, ErrLost) {
		t.Errorf("Read = %v, want ErrLost", err)
	}
}

// With SRTP a sender without the key is none, whoever he is, and a replay is none either.
func TestLineSRTP(t *testing.T) {
	r := openLine(t, LineOptions{SRTP: true})
	_, inline, ok := strings.Cut(r.line.SDP(), "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:")
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(inline))
	if !ok || err != nil || len(secret) != 30 || !strings.Contains(r.line.SDP(), " RTP/SAVP ") {
		t.Fatalf("SDP:\n%s", r.line.SDP())
	}
	with := func(secret []byte) func(*mixer) {
		return func(m *mixer) {
			var err error
			if m.keys, err = srtp.CreateContext(secret[:16], secret[16:], srtpProfile); err != nil {
				t.Fatal(err)
			}
		}
	}
	plain, wrong := r.mixer(), r.mixer(with(make([]byte, 30)))
	r.send(plain, plain.next(), forged)
	r.send(wrong, wrong.next(), forged)
	r.send(plain, bye(plain.SSRC), forged)
	m := r.mixer(with(secret))
	var old []byte
	pcm := r.talk(m, 150, func(i int) {
		switch i {
		case 50:
			old = m.next()
			r.send(m, old, sound)
			r.pull(1)
		case 100:
			r.send(m, old, forged) // a replay
			h := m.Header
			h.SequenceNumber += 3
			r.send(m, plain.pack(rtp.Packet{Header: h, Payload: []byte{0xf8, 0xff, 0xfe}}), forged)
		}
	})
	wantTone(t, pcm[60*frameSamples:], r.line.Stats())
	r.send(m, bye(m.SSRC), forged) // in the clear
	leave, err := m.keys.EncryptRTCP(nil, bye(m.SSRC), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.send(m, leave, goodbye)
	await(t, r.line.Done(), "the end of the line")
}

// Only the networks that were named may send, and only then is the port open beyond this machine.
func TestLineFrom(t *testing.T) {
	r := openLine(t, LineOptions{From: netip.MustParsePrefix("127.0.0.9/32")})
	if ip := r.line.Listen().Addr(); !ip.IsLoopback() {
		t.Errorf("for a sender on loopback it listens on %v", ip)
	}
	m := r.mixer()
	r.send(m, m.next(), stranger)
	ninth, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)}}).Dial("udp", r.line.Listen().String())
	if err != nil {
		t.Fatal(err)
	}
	m.conn = ninth
	t.Cleanup(func() { _ = ninth.Close() })
	r.send(m, m.next(), sound)
	r.pull(1)
}

func TestLineOnIPv6(t *testing.T) {
	r := openLine(t, LineOptions{})
	conn, err := net.Dial("udp", net.JoinHostPort("::1", itoa(r.line.Listen().Port())))
	if err != nil {
		t.Skip("no IPv6")
	}
	m := r.mixer()
	m.conn = conn
	t.Cleanup(func() { _ = conn.Close() })
	r.talk(m, 10, nil)
}

func TestLinePorts(t *testing.T) {
	lines, err := NewLines(LineConfig{Ports: "45004-45005"}, quiet(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint16]bool{}
	for range 2 {
		l, err := lines.Open(LineOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got[l.Listen().Port()] = true
	}
	if !got[45004] || !got[45005] {
		t.Errorf("opened %v", got)
	}
	if _, err := lines.Open(LineOptions{}); !errors.Is(err, ErrLineAddress) {
		t.Errorf("a third of two: %v, want ErrLineAddress", err)
	}
	if err := lines.Close(); err != nil {
		t.Error(err)
	}
	if _, err := lines.Open(LineOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
}
