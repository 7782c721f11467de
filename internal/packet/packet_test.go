package packet

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/pion/rtp"

	"dongthanh/internal/seq"
)

var seed = bytes.Repeat([]byte{7}, ed25519.SeedSize)

// made returns a clear packet and the key that signed it.
func made(tb testing.TB) ([]byte, ed25519.PublicKey, TransmissionID) {
	tb.Helper()
	key := ed25519.NewKeyFromSeed(seed)
	id := TransmissionID{1, 2, 3}
	h := Header{Index: seq.MakeIndex(3, 65535), Timestamp: 1920, SSRC: 0xdecafbad, Marker: true, Last: true, Clear: true, KeyID: 2}
	b := make([]byte, HeaderLen, MaxLen)
	h.Put(b)
	payload := []byte("an opus packet, as far as this package can tell")
	Sign(key, id, 0, b, payload)
	return append(b, payload...), key.Public().(ed25519.PublicKey), id
}

func TestHeaderSurvives(t *testing.T) {
	b, pub, id := made(t)
	p, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	want := Header{Index: seq.MakeIndex(3, 65535), Timestamp: 1920, SSRC: 0xdecafbad, Marker: true, Last: true, Clear: true, KeyID: 2}
	if p.Header != want {
		t.Errorf("header = %+v, want %+v", p.Header, want)
	}
	if !p.Verify(pub, id) {
		t.Error("signature does not hold")
	}
	if p.Verify(pub, TransmissionID{9}) {
		t.Error("signature holds for another transmission")
	}
}

// TestStockParserAgrees holds the layout to a general RTP implementation.
func TestStockParserAgrees(t *testing.T) {
	b, _, _ := made(t)
	var p rtp.Packet
	if err := p.Unmarshal(b); err != nil {
		t.Fatal(err)
	}
	if p.SSRC != 0xdecafbad || p.SequenceNumber != 65535 || p.Timestamp != 1920 || p.PayloadType != PayloadType || !p.Marker {
		t.Errorf("stock header = %+v", p.Header)
	}
	if ext := p.GetExtension(1); len(ext) != 70 || ext[0] != version<<4|flagLast|flagClear {
		t.Errorf("extension 1 = %d bytes, %x", len(ext), ext[:1])
	}
	if len(p.Payload) != len(b)-HeaderLen {
		t.Errorf("payload of %d bytes, want %d", len(p.Payload), len(b)-HeaderLen)
	}
}

// TestEveryBitCounts flips each bit of a packet: it is refused or its signature fails.
func TestEveryBitCounts(t *testing.T) {
	b, pub, id := made(t)
	for i := range len(b) * 8 {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		if p, err := Parse(c); err == nil && p.Verify(pub, id) {
			t.Errorf("bit %d of byte %d flipped, and the packet still holds", i%8, i/8)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good, _, _ := made(t)
	for _, c := range []struct {
		name string
		edit func([]byte) []byte
	}{
		{"nothing", func([]byte) []byte { return nil }},
		{"header only", func(b []byte) []byte { return b[:HeaderLen] }},
		{"too long", func(b []byte) []byte { return append(b, make([]byte, MaxLen)...) }},
		{"version 1", func(b []byte) []byte { b[0] = 0x50; return b }},
		{"padding", func(b []byte) []byte { b[0] |= 0x20; return b }},
		{"contributing sources", func(b []byte) []byte { b[0] |= 0x0f; return b }},
		{"no extension", func(b []byte) []byte { b[0] &^= 0x10; return b }},
		{"payload type", func(b []byte) []byte { b[1] = 110; return b }},
		{"one-byte extension", func(b []byte) []byte { b[12] = 0xbe; b[13] = 0xde; return b }},
		{"extension length lies", func(b []byte) []byte { b[14], b[15] = 0xff, 0xff; return b }},
		{"element length lies", func(b []byte) []byte { b[17] = 255; return b }},
		{"unknown flag", func(b []byte) []byte { b[18] |= 8; return b }},
		{"version 2 of ours", func(b []byte) []byte { b[18] += 16; return b }},
		{"encrypted but too short", func(b []byte) []byte { b[18] &^= flagClear; return b[:HeaderLen+TrailerLen] }},
	} {
		if _, err := Parse(c.edit(bytes.Clone(good))); err != ErrMalformed {
			t.Errorf("%s: error %v, want ErrMalformed", c.name, err)
		}
	}
}

func TestFramePathAllocatesNothing(t *testing.T) {
	b, pub, id := made(t)
	if n := testing.AllocsPerRun(100, func() {
		p, err := Parse(b)
		if err != nil || !p.Verify(pub, id) {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("parse and verify allocate %v times", n)
	}
}

func FuzzPacketParse(f *testing.F) {
	b, pub, id := made(f)
	f.Add(b)
	f.Fuzz(func(t *testing.T, c []byte) {
		p, err := Parse(c)
		if err != nil {
			return
		}
		if len(p.Payload) == 0 || len(p.Raw) > MaxLen {
			t.Errorf("accepted %d bytes with a payload of %d", len(p.Raw), len(p.Payload))
		}
		if p.Verify(pub, id) && !bytes.Equal(b, c) {
			t.Error("a packet that nobody signed holds")
		}
		head := make([]byte, HeaderLen)
		p.Put(head)
		if !bytes.Equal(head[:signatureOff], c[:signatureOff]) {
			t.Error("Put does not give back what Parse has read")
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	raw, pub, id := made(b)
	p, _ := Parse(raw)
	b.ReportAllocs()
	for b.Loop() {
		if !p.Verify(pub, id) {
			b.Fatal("refused")
		}
	}
}
