package seal

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"dongthanh/internal/seq"
)

var (
	secret = [SecretLen]byte{1, 2, 3}
	tid    = [16]byte{4, 5, 6}
)

const (
	ssrc  = 0xdecafbad
	fence = 42
)

func testKey(tb testing.TB) *Key {
	tb.Helper()
	k, err := Derive(secret, tid, ssrc, fence)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestSealThenOpen(t *testing.T) {
	k, header, plain := testKey(t), []byte("header"), []byte("twenty milliseconds of speech")
	for _, i := range []seq.Index{0, 1, 65535, 65536, seq.MaxIndex} {
		sealed := k.Seal(nil, header, plain, ssrc, i)
		got, err := k.Open(nil, header, sealed, ssrc, i)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("index %d: Open = %q, %v", i, got, err)
		}
		early := make([]byte, len(plain))
		k.Encrypt(early, plain, ssrc, i)
		if !bytes.Equal(early, sealed[:len(plain)]) {
			t.Errorf("index %d: Encrypt gives other bytes than Seal, so the signature would not fit", i)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	k, header, plain := testKey(t), []byte("header"), []byte("speech")
	sealed := k.Seal(nil, header, plain, ssrc, 7)
	for _, c := range []struct {
		name   string
		key    *Key
		header string
		ssrc   uint32
		index  seq.Index
	}{
		{"another header", k, "Header", ssrc, 7},
		{"another index", k, "header", ssrc, 8},
		{"another roll-over", k, "header", ssrc, 7 + 1<<16},
		{"another source", k, "header", ssrc + 1, 7},
	} {
		if _, err := c.key.Open(nil, []byte(c.header), sealed, c.ssrc, c.index); err != ErrTag {
			t.Errorf("%s: error %v, want ErrTag", c.name, err)
		}
	}
	for i := range len(sealed) * 8 {
		b := bytes.Clone(sealed)
		b[i/8] ^= 1 << (i % 8)
		if _, err := k.Open(nil, header, b, ssrc, 7); err != ErrTag {
			t.Errorf("bit %d flipped: error %v, want ErrTag", i, err)
		}
	}
}

// TestEveryInputMakesAnotherKey is what keeps a nonce from ever being used twice.
func TestEveryInputMakesAnotherKey(t *testing.T) {
	base, err := Master(secret, tid, ssrc, fence)
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]func() ([]byte, error){
		"secret":       func() ([]byte, error) { return Master([SecretLen]byte{9}, tid, ssrc, fence) },
		"transmission": func() ([]byte, error) { return Master(secret, [16]byte{9}, ssrc, fence) },
		"SSRC":         func() ([]byte, error) { return Master(secret, tid, ssrc+1, fence) },
		"fence":        func() ([]byte, error) { return Master(secret, tid, ssrc, fence+1) },
	} {
		if got, err := other(); err != nil || bytes.Equal(got, base) {
			t.Errorf("another %s gives the same key (error %v)", name, err)
		}
	}
}

// TestStockSRTPOpens has pion/srtp open what we seal, across the wrap of the sequence number.
func TestStockSRTPOpens(t *testing.T) {
	k := testKey(t)
	master, err := Master(secret, tid, ssrc, fence)
	if err != nil {
		t.Fatal(err)
	}
	mki := []byte{2, 0, 0, 1}
	ctx, err := srtp.CreateContext(master[:keyLen], master[keyLen:], srtp.ProtectionProfileAeadAes128Gcm, srtp.MasterKeyIndicator(mki))
	if err != nil {
		t.Fatal(err)
	}
	for i := seq.Index(65530); i < 65545; i++ {
		h := rtp.Header{Version: 2, PayloadType: 111, SSRC: ssrc, SequenceNumber: uint16(i.Seq()), Timestamp: uint32(i) * 1920}
		header, err := h.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		plain := binary.BigEndian.AppendUint64(nil, uint64(i))
		packet := append(k.Seal(bytes.Clone(header), header, plain, ssrc, i), mki...)
		got, err := ctx.DecryptRTP(nil, packet, nil)
		if err != nil || !bytes.Equal(got[len(header):], plain) {
			t.Fatalf("index %d: stock SRTP gives %x, %v, want %x", i, got, err, plain)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k, header := testKey(b), make([]byte, 88)
	sealed := k.Seal(nil, header, make([]byte, 120), ssrc, 1)
	out := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(out, header, sealed, ssrc, 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReject(b *testing.B) {
	k, header := testKey(b), make([]byte, 88)
	garbage := make([]byte, 136)
	out := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(out, header, garbage, ssrc, 1); err == nil {
			b.Fatal("accepted")
		}
	}
}
