package ingest

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// The tone of a browser's microphone comes out of Read, from the first frame to the last, without a gap.
func TestMicrophone(t *testing.T) {
	m := open(t)
	b := newBrowser(t)
	mic := b.connect(m)
	pcm := m.talk(b, mic, 250, nil)
	await(t, mic.Started(), "the start")
	if err := b.pc.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, mic.Done(), "the end of the microphone")
	pcm, err := drain(t, mic, pcm)
	if !errors.Is(err, ErrLost) || mic.Reason() != ReasonBrowser { // it has hung up without saying that all is said
		t.Errorf("Read = %v, Reason = %q at the end, want ErrLost and %q", err, mic.Reason(), ReasonBrowser)
	}
	if frames := len(pcm) / frameSamples; frames < 251 || frames > 255 { // what waits, and a frame that fades out
		t.Errorf("%d frames of sound, want the 250 that were sent", frames)
	}
	wantTone(t, pcm[6*frameSamples:248*frameSamples], mic.Stats())
	s := mic.Stats()
	if s.Packets != 250 || s.Lost+s.Malformed+s.Refused > 0 || s.Starved+s.Concealed+s.Cut > 0 || s.Target == 0 {
		t.Errorf("Stats = %+v, want 250 packets and no fault", s)
	}
}

// wantTone fails unless each 40 ms of pcm hold the whole tone.
func wantTone(t *testing.T, pcm []float32, s Stats) {
	t.Helper()
	for at := 0; at+2*frameSamples <= len(pcm); at += frameSamples {
		piece := pcm[at : at+2*frameSamples]
		if p, l := purity(piece, toneHz), loudness(piece); p < 0.99 || l < 0.11 {
			t.Fatalf("after %d frames the tone has purity %.3f and power %.3f, want 1 and 0.125: %+v", at/frameSamples, p, l, s)
		}
	}
}

// drain reads src to its end.
func drain(t *testing.T, src Source, pcm []float32) ([]float32, error) {
	t.Helper()
	frame := make([]float32, frameSamples)
	for range 50 {
		if err := src.Read(frame); err != nil {
			if loudness(frame) != 0 {
				t.Errorf("the frame that comes with %v is not silent", err)
			}
			return pcm, err
		}
		pcm = append(pcm, frame...)
	}
	t.Fatal("no end after 50 frames")
	return nil, nil
}

func TestMicrophoneRTT(t *testing.T) {
	m := open(t)
	looked := make(chan struct{})
	m.looked = sync.OnceFunc(func() { close(looked) })
	mic := newBrowser(t).connect(m)
	await(t, looked, "a look at the connection")
	if rtt := mic.Stats().RTT; rtt <= 0 || rtt > time.Second {
		t.Errorf("RTT = %v, want that of loopback", rtt)
	}
}

// A browser whose network is gone does not say goodbye.
func TestMicrophoneLost(t *testing.T) {
	m := open(t)
	m.waits.silent, m.waits.lost = 500*time.Millisecond, 500*time.Millisecond
	b := newBrowser(t)
	mic := b.connect(m)
	m.talk(b, mic, 10, nil)
	b.vanish()
	await(t, mic.Done(), "the end of the microphone")
	if mic.Reason() != ReasonLost {
		t.Errorf("Reason = %q, want %q", mic.Reason(), ReasonLost)
	}
	for range 2 {
		if _, err := drain(t, mic, nil); !errors.Is(err, ErrLost) {
			t.Errorf("Read = %v, want ErrLost", err)
		}
	}
}

func TestMicrophoneNeverConnects(t *testing.T) {
	m := open(t)
	m.waits.connect = 500 * time.Millisecond
	_, mic, err := m.Accept(context.Background(), newBrowser(t).offer())
	if err != nil {
		t.Fatal(err)
	}
	await(t, mic.Done(), "the end of the microphone")
	if mic.Reason() != ReasonNever {
		t.Errorf("Reason = %q, want %q", mic.Reason(), ReasonNever)
	}
	select {
	case <-mic.Started():
		t.Error("it started without a connection")
	default:
	}
}

// Close hangs up: the browser sees it, the rest is read, and no goroutine stays (TestMain looks).
func TestMicrophoneClose(t *testing.T) {
	m := open(t)
	b := newBrowser(t)
	closed := make(chan struct{})
	mic := b.connect(m)
	b.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateClosed {
			close(closed)
		}
	})
	m.talk(b, mic, 10, nil)
	for range 2 {
		if err := mic.Close(); err != nil {
			t.Fatal(err)
		}
	}
	await(t, mic.Done(), "the end of the microphone")
	await(t, closed, "the browser's end")
	if _, err := drain(t, mic, nil); err != io.EOF || mic.Reason() != ReasonStreamer {
		t.Errorf("Read = %v, Reason = %q, want io.EOF and %q", err, mic.Reason(), ReasonStreamer)
	}
}

func TestMicrophoneReadLength(t *testing.T) {
	m := open(t)
	mic := newBrowser(t).connect(m)
	for _, n := range []int{0, 959, 1920} {
		if err := mic.Read(make([]float32, n)); err == nil {
			t.Errorf("Read of %d samples: no error", n)
		}
	}
}

// What a hostile browser may send after an honest handshake. The tone must go on, or at least nothing else break.
func TestHostileBrowser(t *testing.T) {
	// as sends an extra packet with a changed header.
	as := func(b *browser, change func(*rtp.Header)) {
		b.change = func(h *rtp.Header) *rtp.Header {
			c := *h
			change(&c)
			return &c
		}
		b.send(b.extra())
		b.change = nil
	}
	for _, tt := range []struct {
		name    string
		between func(b *browser, i int) // before each honest packet
		sounds  bool                    // the tone is heard all the same
		reason  Reason
		count   func(Stats) uint64 // what must have been counted, if anything
	}{
		{
			name: "ten times real time",
			between: func(b *browser, _ int) {
				for range 9 {
					b.send(b.next())
				}
			},
			count: func(s Stats) uint64 { return s.Flood },
		},
		{
			name: "malformed Opus", sounds: true,
			between: func(b *browser, _ int) {
				p := b.extra()
				p.Payload = []byte{0xff, 0xff, 0xff}
				b.send(p)
			},
			count: func(s Stats) uint64 { return s.Malformed },
		},
		{
			name: "random Opus",
			between: func(b *browser, i int) {
				p := b.next()
				rng := rand.New(rand.NewPCG(1, uint64(i)))
				for j := 1; j < len(p.Payload); j++ {
					p.Payload[j] = byte(rng.Uint32())
				}
				b.send(p)
			},
			count: func(s Stats) uint64 { return s.Packets },
		},
		{
			name: "another payload type", sounds: true,
			between: func(b *browser, _ int) { as(b, func(h *rtp.Header) { h.PayloadType = 13 }) },
			count:   func(s Stats) uint64 { return s.Refused },
		},
		{
			name: "a huge packet", sounds: true, // pion drops it without a word
			between: func(b *browser, _ int) {
				p := b.extra()
				p.Payload = make([]byte, 4000)
				b.send(p)
			},
		},
		{
			name: "another source", sounds: true,
			between: func(b *browser, _ int) { as(b, func(h *rtp.Header) { h.SSRC++ }) },
		},
		{
			name: "ever new sources", reason: ReasonRefused,
			between: func(b *browser, i int) { as(b, func(h *rtp.Header) { h.SSRC += uint32(i) }) },
		},
		{
			name: "padding longer than the packet", sounds: true,
			between: func(b *browser, _ int) { as(b, func(h *rtp.Header) { h.Padding = true }) }, // its last byte says 254
			count:   func(s Stats) uint64 { return s.Refused },
		},
		{
			name: "timestamps that jump",
			between: func(b *browser, i int) {
				as(b, func(h *rtp.Header) { h.Timestamp = rand.New(rand.NewPCG(2, uint64(i))).Uint32() })
			},
			count: func(s Stats) uint64 { return s.Leaps },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := open(t)
			b := newBrowser(t)
			mic := b.connect(m)
			pcm := m.talk(b, mic, 100, func(i int) {
				if i > 3 {
					tt.between(b, i)
				}
			})
			if tt.reason != ReasonNone {
				await(t, mic.Done(), "the end of the microphone")
			}
			if mic.Reason() != tt.reason {
				t.Errorf("Reason = %q, want %q", mic.Reason(), tt.reason)
			}
			if tt.count != nil && tt.count(mic.Stats()) == 0 {
				t.Errorf("nothing was counted: %+v", mic.Stats())
			}
			if tt.sounds {
				wantTone(t, pcm[6*frameSamples:], mic.Stats())
			}
		})
	}
}

// Garbage at the port itself disturbs nobody.
func TestGarbageDatagrams(t *testing.T) {
	m := open(t)
	b := newBrowser(t)
	mic := b.connect(m)
	conn, err := net.Dial("udp", m.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rng := rand.New(rand.NewPCG(7, 8))
	stun := []byte("\x00\x01\x00\x08\x21\x12\xa4\x42aaaaaaaaaaaa\x00\x06\x00\x04a:bb") // a check for a name nobody has
	m.talk(b, mic, 100, func(int) {
		for range 10 {
			p := make([]byte, rng.IntN(1400))
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			if rng.IntN(2) == 0 {
				p = append(p[:0], stun...)
				p[rng.IntN(len(p))] = byte(rng.Uint32())
			}
			_, _ = conn.Write(p)
		}
	})
	if s := mic.Stats(); s.Packets != 100 || mic.Reason() != ReasonNone {
		t.Errorf("Stats = %+v, Reason %q, want the microphone undisturbed", s, mic.Reason())
	}
}

func TestTooManyMicrophones(t *testing.T) {
	m := open(t)
	m.taken = maxMicrophones
	defer func() { m.taken = 0 }()
	if _, _, err := m.Accept(context.Background(), newBrowser(t).offer()); !errors.Is(err, ErrTooMany) {
		t.Errorf("Accept = %v, want ErrTooMany", err)
	}
}

func TestMicrophonesClose(t *testing.T) {
	m := open(t)
	b := newBrowser(t)
	mic := b.connect(m)
	offer := newBrowser(t).offer()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, mic.Done(), "the end of the microphone")
	if _, _, err := m.Accept(context.Background(), offer); !errors.Is(err, ErrClosed) {
		t.Errorf("Accept = %v, want ErrClosed", err)
	}
}

func TestAcceptCancelled(t *testing.T) {
	m := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, mic, err := m.Accept(ctx, newBrowser(t).offer())
	if err == nil {
		_ = mic.Close() // gathering was faster
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("Accept = %v, want context.Canceled", err)
	}
	if m.taken != 0 {
		t.Errorf("%d places taken, want none", m.taken)
	}
}

func TestAnswer(t *testing.T) {
	m := open(t, func(c *Config) { c.PublicIPs = []string{"203.0.113.7", "2001:db8::7"} })
	answer, mic, err := m.Accept(context.Background(), newBrowser(t).offer())
	if err != nil {
		t.Fatal(err)
	}
	defer mic.Close()
	port := m.ports.number()
	for _, want := range []string{
		"a=recvonly\r\n", "a=ptime:" + wantedPtime + "\r\n", " " + wantedFmtp + "\r\n", "a=end-of-candidates\r\n",
		"127.0.0.1 " + itoa(port) + " typ host ufrag", "127.0.0.1 " + itoa(port) + " typ host tcptype passive", "203.0.113.7 " + itoa(port) + " typ host", "2001:db8::7 " + itoa(port) + " typ host\r\n",
		"203.0.113.7 " + itoa(port) + " typ host tcptype passive\r\n", "2001:db8::7 " + itoa(port) + " typ host tcptype passive\r\n",
	} {
		if !strings.Contains(answer, want) {
			t.Errorf("the answer lacks %q:\n%s", want, answer)
		}
	}
	if n := strings.Count(answer, "a=fmtp:111"); n != 1 {
		t.Errorf("%d fmtp lines for Opus, want 1", n)
	}
}
