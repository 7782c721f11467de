package amp

import (
	"math"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
)

const block = 480

// sine is n samples of a sine of 1 kHz with its peak at 20 000.
func sine(n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(math.Round(20_000 * math.Sin(2*math.Pi*1000*float64(i)/mediaclock.Rate)))
	}
	return pcm
}

// pass sends pcm through a block by block; before is called with the number of each.
func pass(a *Amp, pcm []int16, onAir bool, before func(n int)) []int16 {
	for n := 0; n*block < len(pcm); n++ {
		if before != nil {
			before(n)
		}
		a.Fill(pcm[n*block:min((n+1)*block, len(pcm))], onAir)
	}
	return pcm
}

// level is the power of pcm in dB of full scale, that of a sine with full peak being 0 (AES17).
func level(pcm []int16) float64 {
	sum := 0.0
	for _, x := range pcm {
		sum += float64(x) * float64(x)
	}
	return 10 * math.Log10(2*sum/float64(len(pcm))/(32768*32768))
}

// share is what part of the power of pcm lies at hz (Goertzel).
func share(pcm []int16, hz float64) float64 {
	var energy, s1, s2 float64
	c := 2 * math.Cos(2*math.Pi*hz/mediaclock.Rate)
	for _, x := range pcm {
		v := float64(x)
		energy += v * v
		s1, s2 = v+c*s1-s2, s1
	}
	return (s1*s1 + s2*s2 - c*s1*s2) * 2 / float64(len(pcm)) / energy
}

// TestVolume measures each volume, also far from the beginning, and that full volume leaves every bit as it is.
func TestVolume(t *testing.T) {
	for _, v := range []int32{0, -1, -100, -600, -1234, -4000, -6000} {
		in := sine(mediaclock.Rate)
		out := pass(New(v), sine(mediaclock.Rate), true, nil)
		if v == 0 {
			for i := range in {
				if in[i] != out[i] {
					t.Fatalf("sample %d at full volume is %d, want %d", i, out[i], in[i])
				}
			}
		}
		if got, want := level(out)-level(in), float64(v)/100; math.Abs(got-want) > 0.1 {
			t.Errorf("volume %d changes the level by %.2f dB, want %.2f", v, got, want)
		}
	}
	a := New(-600)
	if out := pass(a, make([]int16, block), true, nil); level(out) > -200 {
		t.Errorf("silence sounds at %.0f dB", level(out))
	}
}

// TestVolumeTurnsWithoutClick turns the volume up and down amid a sound: it arrives within 20 ms, and no step from one
// sample to the next is larger than the sound's own and the ramp's.
func TestVolumeTurnsWithoutClick(t *testing.T) {
	for _, c := range []struct{ from, to int32 }{{0, -600}, {-600, 0}, {0, -6000}, {-6000, 0}, {-300, -400}} {
		a := New(c.from)
		const at = 10
		in := sine(4 * ramp * 10)
		out := pass(a, sine(len(in)), true, func(n int) {
			if n >= at { // said again at each block
				a.Volume(c.to)
			}
		})
		for i := 1; i < len(in); i++ {
			own := math.Abs(float64(in[i])-float64(in[i-1])) * float64(max(gain(c.from), gain(c.to)))
			if step := math.Abs(float64(out[i]) - float64(out[i-1])); step > own+20_000.0/ramp+1 {
				t.Fatalf("%d to %d: a step of %.0f at sample %d, where the sound's own is %.0f", c.from, c.to, step, i, own)
			}
		}
		before, after := out[:at*block], out[at*block+ramp:]
		if got, want := level(before)-level(in[:at*block]), float64(c.from)/100; math.Abs(got-want) > 0.1 {
			t.Errorf("%d to %d: %.2f dB before", c.from, c.to, got)
		}
		if got, want := level(after)-level(in[at*block+ramp:]), float64(c.to)/100; math.Abs(got-want) > 0.1 {
			t.Errorf("%d to %d: %.2f dB from 20 ms after on", c.from, c.to, got)
		}
	}
}

// TestVolumeChangedAgain: an order that comes amid a ramp goes on from where that is.
func TestVolumeChangedAgain(t *testing.T) {
	a := New(0)
	pcm := sine(20 * block)
	last := gain(0)
	for n := 0; n < 20; n++ {
		switch n {
		case 2:
			a.Volume(-6000)
		case 3:
			a.Volume(0)
		}
		for i := range block {
			a.Fill(pcm[n*block+i:n*block+i+1], true)
			if d := math.Abs(float64(a.gain - last)); d > 1.001/ramp {
				t.Fatalf("the gain leaps by %g in block %d", d, n)
			}
			last = a.gain
		}
	}
	if a.gain != 1 {
		t.Errorf("gain %g in the end, want 1", a.gain)
	}
}

// TestTone: two notes in turn, at their level, without an edge, and as long as was asked for.
func TestTone(t *testing.T) {
	a := New(0)
	a.Tone(3 * time.Second)
	out := pass(a, make([]int16, 4*mediaclock.Rate), false, nil)
	if a.Sounding() {
		t.Error("it still sounds")
	}
	const end = 3 * mediaclock.Rate
	if l := level(out[end:]); !math.IsInf(l, -1) {
		t.Errorf("%.0f dB after its end", l)
	}
	for k := 0; (k+1)*note <= end; k++ {
		hz := []float64{low, high}[k%2]
		core := out[k*note+edge : (k+1)*note-edge]
		if s := share(core, hz); s < 0.999 {
			t.Errorf("note %d: %.4f of its power lies at %.0f Hz", k, s, hz)
		}
		if l := level(core); math.Abs(l+20) > 0.1 {
			t.Errorf("note %d sounds at %.2f dBFS, want -20", k, l)
		}
	}
	smooth(t, out)
}

// smooth fails at a step that no sine of the tone's height and peak has.
func smooth(t *testing.T, pcm []int16) {
	t.Helper()
	most := peak*2*math.Pi*high/mediaclock.Rate + peak*math.Pi/2/edge + 1
	for i := 1; i < len(pcm); i++ {
		if step := math.Abs(float64(pcm[i]) - float64(pcm[i-1])); step > most {
			t.Fatalf("a step of %.0f at sample %d, want at most %.0f", step, i, most)
		}
	}
}

// TestToneIsTurnedDown: the volume holds for the tone as for all else.
func TestToneIsTurnedDown(t *testing.T) {
	a := New(-600)
	a.Tone(time.Second)
	out := pass(a, make([]int16, note), false, nil)
	if l := level(out[edge : note-edge]); math.Abs(l+26) > 0.1 {
		t.Errorf("at -6 dB it sounds at %.2f dBFS, want -26", l)
	}
}

// TestToneYields: a transmission that begins ends the tone within 10 ms, without a click; while one is on air none begins;
// and none comes back when it is over.
func TestToneYields(t *testing.T) {
	a := New(0)
	a.Tone(5 * time.Second)
	out := pass(a, make([]int16, 7*block), false, nil)
	out = append(out, pass(a, make([]int16, 4*block), true, nil)...)
	if l := level(out[7*block+edge:]); !math.IsInf(l, -1) {
		t.Errorf("%.0f dB later than 10 ms after a transmission began", l)
	}
	smooth(t, out)
	a.Tone(time.Second)
	out = pass(a, make([]int16, 4*block), true, nil)
	out = append(out, pass(a, make([]int16, 100*block), false, nil)...)
	if l := level(out); !math.IsInf(l, -1) {
		t.Errorf("a tone that was ordered while something was on air sounds at %.0f dB", l)
	}
}

// TestToneAnew: a second order begins again once the first has faded, and one of nothing ends it.
func TestToneAnew(t *testing.T) {
	a := New(0)
	a.Tone(10 * time.Second)
	out := pass(a, make([]int16, 7*block), false, nil)
	a.Tone(time.Second)
	out = append(out, pass(a, make([]int16, edge+mediaclock.Rate-1), false, nil)...)
	if !a.Sounding() {
		t.Error("the second is over too soon")
	}
	out = append(out, pass(a, make([]int16, 1), false, nil)...)
	if a.Sounding() {
		t.Error("the second goes on too long")
	}
	a.Tone(time.Second)
	out = append(out, pass(a, make([]int16, 10*block), false, nil)...)
	a.Tone(0)
	out = append(out, pass(a, make([]int16, edge), false, nil)...)
	if a.Sounding() {
		t.Error("one of nothing does not end it")
	}
	smooth(t, out)
}

func TestFillAllocatesNothing(t *testing.T) {
	a := New(-600)
	a.Tone(10 * time.Second)
	pcm := make([]int16, block)
	if n := testing.AllocsPerRun(100, func() { a.Volume(-300); a.Fill(pcm, false) }); n != 0 {
		t.Errorf("%v allocations a block", n)
	}
}
