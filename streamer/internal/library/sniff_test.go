package library

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// Whatever the bytes: the scan ends, and with a refusal if anything.
func FuzzScan(f *testing.F) {
	f.Add([]byte("OggS\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x08OpusHead"))
	f.Add([]byte("fLaC\x00\x00\x00\x22" + string(make([]byte, 34))))
	f.Add([]byte("ID3\x04\x00\x00\x00\x00\x00\x01x\xff\xfb\x90\x00Xing\x00\x00\x00\x03\x00\x00\x00\x01\x7f\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x0cftypM4A \x00\x00\x00\x01moov\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		kind, at, err := sniff(r, r.Size())
		if err != nil || at < 0 || at > r.Size() {
			t.Fatalf("sniff = %v, %d, %v", kind, at, err)
		}
		seconds, err := scan(r, r.Size(), kind, at, MaxDuration)
		var refusal *Refusal
		if err != nil && !errors.As(err, &refusal) || err == nil && (seconds < 0 || seconds > MaxDuration.Seconds()) {
			t.Errorf("scan = %v, %v", seconds, err)
		}
	})
}

func TestWAVHead(t *testing.T) {
	b := append(wavHead(4), 1, 2, 3, 4)
	if len(b) != wavHeader+4 || int(binary.LittleEndian.Uint32(b[4:])) != len(b)-8 {
		t.Errorf("head = %q", b)
	}
	if seconds, _, err := measure(bytes.NewReader(b), MaxDuration); err != nil || seconds < 41e-6 || seconds > 42e-6 {
		t.Errorf("measure = %v s, %v, want two samples", seconds, err)
	}
}

// A file of nothing but parts must not keep the scan busy, nor fill the memory.
func TestScanOfCountlessParts(t *testing.T) {
	for kind, part := range map[format]string{
		formatMP4: "\x00\x00\x00\x08moov",
		formatOgg: "OggS\x00\x04" + string(make([]byte, 21)),
	} {
		for n, want := range map[int]error{1000: nil, maxParts + 2: ErrDamaged} {
			r := bytes.NewReader(bytes.Repeat([]byte(part), n))
			if _, err := scan(r, r.Size(), kind, 0, MaxDuration); !errors.Is(err, want) {
				t.Errorf("scan of %d parts of %s: %v, want %v", n, kind.demuxer(), err, want)
			}
		}
	}
}
