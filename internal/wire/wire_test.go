package wire

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dongthanh/internal/seq"
)

var (
	flowKey = [KeyLen]byte{1, 2, 3}
	flow    = FlowID{8, 7, 6}
)

func TestDatagramSurvives(t *testing.T) {
	up, down := NewKey(flowKey, Up), NewKey(flowKey, Down)
	for typ := Ping; typ <= Stop; typ++ {
		h := Header{Type: typ, Flow: flow, Counter: MakeCounter(3, 99)}
		b := up.Append([]byte("before"), h, []byte("body"))[len("before"):]
		d, err := Parse(b)
		if err != nil {
			t.Fatalf("type %d: %v", typ, err)
		}
		if d.Header != h || !bytes.HasPrefix(d.Body, []byte("body")) {
			t.Errorf("type %d: read %+v %q", typ, d.Header, d.Body)
		}
		if err := d.Verify(up); err != nil {
			t.Errorf("type %d: %v", typ, err)
		}
		if err := d.Verify(down); !errors.Is(err, ErrTag) {
			t.Errorf("type %d reflected to its sender: %v, want ErrTag", typ, err)
		}
		for i := range b {
			c := bytes.Clone(b)
			c[i] ^= 1
			if d, err := Parse(c); err == nil && d.Verify(up) == nil {
				t.Errorf("type %d: byte %d changed, and the tag still holds", typ, i)
			}
		}
	}
}

func TestCounterRisesAcrossABoot(t *testing.T) {
	if a, b := MakeCounter(1, 1<<40-1), MakeCounter(2, 0); a >= b {
		t.Errorf("%d before the boot, %d after", a, b)
	}
}

func TestNoAnswerIsLargerThanThePing(t *testing.T) {
	k := NewKey(flowKey, Up)
	ping := k.Append(nil, Header{Type: Ping}, PingBody{T1: 1, Active: true}.Append(nil))
	if len(ping) != PingLen {
		t.Fatalf("ping of %d bytes, want %d", len(ping), PingLen)
	}
	pong := k.Append(nil, Header{Type: Pong}, PongBody{}.Append(nil))
	challenge := k.Append(nil, Header{Type: Challenge}, make([]byte, len(Cookie{})))
	if len(pong)+len(challenge) > len(ping) {
		t.Errorf("pong and challenge have %d bytes, the ping %d", len(pong)+len(challenge), len(ping))
	}
	if _, err := Parse(ping[:100]); err == nil {
		t.Error("a ping that is not padded is accepted")
	}
}

func TestBodiesSurvive(t *testing.T) {
	address := netip.MustParseAddrPort("203.0.113.9:40000")
	ping := PingBody{T1: -5, Active: true}
	pong := PongBody{T1: -5, T2: 7, T3: 9, Synced: true, Bound: true, ErrorNS: 12, Observed: address}
	nack := NackBody{SSRC: 1, Base: seq.MaxIndex - 63, Bitmap: 1<<63 | 1, Reason: BadTag}
	resume := ResumeBody{SSRC: 1, From: seq.MaxIndex}
	mute := MuteBody{SSRC: 3, On: true}
	if got, err := ParsePing(ping.Append(nil)); err != nil || got != ping {
		t.Errorf("ping = %+v, %v", got, err)
	}
	if got, err := ParsePong(pong.Append(nil)); err != nil || got != pong {
		t.Errorf("pong = %+v, %v", got, err)
	}
	if got, err := ParseNack(nack.Append(nil)); err != nil || got != nack {
		t.Errorf("nack = %+v, %v", got, err)
	}
	if got, err := ParseResume(resume.Append(nil)); err != nil || got != resume {
		t.Errorf("resume = %+v, %v", got, err)
	}
	if got, err := ParseMute(mute.Append(nil)); err != nil || got != mute {
		t.Errorf("mute = %+v, %v", got, err)
	}
}

func TestBeacon(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	pub := key.Public().(ed25519.PublicKey)
	object := bytes.Repeat([]byte("certificate "), 75) // 900 bytes
	sum := sha256.Sum256(object)
	var got []byte
	for i, want := range Fragments([16]byte{1}, ObjectIssuer, [16]byte(sum[:]), object) {
		want.At, want.Highest = 123, seq.MaxIndex
		body := want.Append(nil, key)
		if len(body) > MaxBody {
			t.Fatalf("fragment %d of %d bytes, want at most %d", i, len(body), MaxBody)
		}
		b, err := ParseBeacon(body)
		if err != nil {
			t.Fatalf("fragment %d: %v", i, err)
		}
		if diff := cmp.Diff(want, b, cmpopts.IgnoreUnexported(BeaconBody{})); diff != "" {
			t.Errorf("fragment %d: %s", i, diff)
		}
		if !b.Verify(pub) {
			t.Errorf("fragment %d: signature does not hold", i)
		}
		for j := range body {
			c := bytes.Clone(body)
			c[j] ^= 0x10
			if b, err := ParseBeacon(c); err == nil && b.Verify(pub) {
				t.Errorf("fragment %d: byte %d changed, and the signature still holds", i, j)
			}
		}
		got = append(got, b.Part...)
	}
	if !bytes.Equal(got, object) {
		t.Error("the fragments do not make up the object")
	}
}

func FuzzControlDatagram(f *testing.F) {
	k := NewKey(flowKey, Up)
	for typ := Ping; typ <= Stop; typ++ {
		f.Add(k.Append(nil, Header{Type: typ, Flow: flow}, []byte("body")))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err != nil {
			return
		}
		if len(d.Body) > MaxBody {
			t.Errorf("body of %d bytes", len(d.Body))
		}
		_ = d.Verify(k)
	})
}

// FuzzBodies also holds each parser to its Append: what is accepted is written back the same.
func FuzzBodies(f *testing.F) {
	f.Add(NackBody{SSRC: 1, Base: 2, Bitmap: 3}.Append(nil))
	f.Add(PongBody{Observed: netip.MustParseAddrPort("[2001:db8::1]:9")}.Append(nil))
	f.Add(ResumeBody{SSRC: 1}.Append(nil))
	f.Add(BeaconBody{Fragments: 1, Length: 3, Part: []byte("abc")}.Append(nil, ed25519.NewKeyFromSeed(make([]byte, 32))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := ParseNack(b); err == nil && !bytes.Equal(n.Append(nil), b) {
			t.Errorf("NACK %x is written back as %x", b, n.Append(nil))
		}
		if r, err := ParseResume(b); err == nil && !bytes.Equal(r.Append(nil), b) {
			t.Errorf("RESUME %x is written back as %x", b, r.Append(nil))
		}
		_, _ = ParsePing(b)
		_, _ = ParsePong(b)
		_, _ = ParseMute(b)
		_, _ = ParseCookie(b)
		if p, err := ParseBeacon(b); err == nil && (len(p.Part) == 0 || len(p.Part) > MaxFragment) {
			t.Errorf("beacon part of %d bytes", len(p.Part))
		}
	})
}
