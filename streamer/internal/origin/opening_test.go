package origin

import (
	"context"
	"errors"
	"io"
	"math"
	"testing"
	"time"

	"dongthanh/codec"
	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/voice"
)

// TestOpening: the chime comes first and whole, then the source: a file from its beginning, a microphone from what it
// says by then. Between the two nothing clicks.
func TestOpening(t *testing.T) {
	t.Parallel()
	i, chime := newIssuer(t, signed.ClassEmergency), voice.Chime()
	for _, c := range []struct {
		name     string
		realTime bool
		samples  int // of the source
		want     int // of the source, that are heard
	}{{"a file waits", false, 48000, 48000}, {"a microphone is not heard meanwhile", true, len(chime) + 24000, 24000}, {"a microphone that ends meanwhile", true, 960, 0}} {
		t.Run(c.name, func(t *testing.T) {
			p := plan(func(p *Plan) { p.Opening, p.RealTime = chime, c.realTime })
			src := &tone{samples: c.samples, err: io.EOF}
			k := transmit(t, p, i, src, nil)
			if k.err != nil {
				t.Fatal(k.err)
			}
			heard := k.hear(t, p, i)
			if got := snr(chime[4800:], heard[4800:len(chime)]); got < 20 {
				t.Errorf("the chime has an SNR of %.1f dB where it belongs, want 20", got)
			}
			rest := heard[len(chime):]
			if len(rest) < c.want || len(rest) > c.want+4*codec.FrameSamples {
				t.Fatalf("%d samples follow, want %d and at most a packet and two frames", len(rest), c.want)
			}
			if c.want > 0 {
				sent := sine(c.samples-c.want, c.want)
				if got := snr(sent[960:], rest[960:]); got < 25 {
					t.Errorf("the source has an SNR of %.1f dB where it belongs, want 25", got)
				}
			}
			// A click is a jump that the sound itself does not make: its own steepest is the tone's.
			steepest := 0.3 * 2 * math.Pi * toneHz / codec.SampleRate
			for n := len(chime) - 4800; n < min(len(chime)+4800, len(heard)); n++ {
				if step := math.Abs(float64(heard[n] - heard[n-1])); step > 1.3*steepest {
					t.Errorf("a step of %.3f at sample %d, want at most %.3f", step, n-len(chime), 1.3*steepest)
				}
			}
		})
	}
}

// TestOpeningBreaks: a microphone that is lost during the chime is told of after it, and a stop does not wait for it.
func TestOpeningBreaks(t *testing.T) {
	t.Parallel()
	i, chime := newIssuer(t, signed.ClassEmergency), voice.Chime()
	p := plan(func(p *Plan) { p.Opening, p.RealTime = chime, true })
	k := transmit(t, p, i, &tone{samples: 960, err: errBroken}, nil)
	if !errors.Is(k.err, errBroken) {
		t.Errorf("Run = %v, want the microphone's error", k.err)
	}
	if got, want := len(k.media), voice.ChimeFrames/p.Frames; got != want {
		t.Errorf("%d packets, want the %d of the chime", got, want)
	}
	k = transmit(t, p, i, seconds(10), func(_ *Transmission, cancel context.CancelFunc) {
		<-time.After(500 * time.Millisecond)
		cancel()
	})
	if k.err != nil || len(k.media) > 13 {
		t.Errorf("Run = %v after %d packets, want an end 0.5 s into the chime", k.err, len(k.media))
	}
	p.Opening = chime[:959]
	if _, err := New(p, i, k, now); err == nil {
		t.Error("an opening of 959 samples is taken")
	}
}
