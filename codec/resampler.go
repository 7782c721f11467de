package codec

import (
	"fmt"
	"math"
)

// The filter: windowed sinc, read at any phase. 64 zero crossings and 90 dB make
// the transition 3.9 kHz wide at 44.1 kHz, so that all below 18 kHz passes; 512
// phases, interpolated linearly, put the error of the interpolation below -100 dB.
const (
	crossings   = 64
	stopbandDB  = 90
	phases      = 512
	resampleIn  = 1024 // input samples taken in at once; a taste, larger than a frame
	lowestRate  = 8000
	highestRate = 192000
	ratioSlack  = 0.01 // SetRatio stays this near the nominal ratio, for which the filter is made
)

// Resampler converts a mono stream from one sample clock to another. Its ratio can
// follow a clock that drifts, without a click, since only the step from one output
// sample to the next changes. Output sample k of a constant ratio lies exactly at
// input sample k/ratio: there is no delay in the numbering, but the samples come
// out Lookahead input samples late. Use it from one goroutine.
type Resampler struct {
	nominal float64 // output samples an input sample
	ratio   float64
	step    float64 // input samples an output sample

	taps   int       // length of the filter in input samples, a multiple of 4
	kernel []float32 // phases+1 rows of taps

	buf    []float32 // input not yet done with; the first output's window starts at next
	filled int
	next   int     // index in buf of the first sample under the window; may exceed filled
	frac   float64 // 0 ≤ frac < 1, how far the output lies behind the window's centre
}

// NewResampler returns a resampler from inRate to outRate, both in Hz and within
// 8000..192000. Its filter cuts at half of the lower rate.
func NewResampler(inRate, outRate float64) (*Resampler, error) {
	for _, rate := range []float64{inRate, outRate} {
		if !(rate >= lowestRate && rate <= highestRate) { // NaN too
			return nil, fmt.Errorf("create resampler: rate %g Hz, want %d to %d", rate, lowestRate, highestRate)
		}
	}
	r := &Resampler{nominal: outRate / inRate}
	r.SetRatio(r.nominal)
	stretch := max(1, inRate/outRate) // going down, the filter is longer in input samples
	r.taps = 4 * int(math.Ceil(crossings*stretch/4))
	r.kernel = sincKernel(r.taps, stretch)
	r.buf = make([]float32, r.taps+resampleIn)
	r.filled = r.taps/2 - 1 // silence before the first sample
	return r, nil
}

// sincKernel tabulates the low-pass filter h for each phase: row p, column j is
// h(p/phases + taps/2-1 - j), h's argument in input samples.
func sincKernel(taps int, stretch float64) []float32 {
	const beta = 0.1102 * (stopbandDB - 8.7)                // Kaiser
	transition := (stopbandDB - 7.95) / (14.36 * crossings) // in cycles a sample of the lower rate
	cutoff := (0.5 - transition/2) / stretch
	half := float64(taps) / 2
	kernel := make([]float32, (phases+1)*taps)
	row := make([]float64, taps)
	for p := range phases + 1 {
		sum := 0.0
		for j := range row {
			t := float64(p)/phases + half - 1 - float64(j)
			row[j] = 0
			if u := t / half; u > -1 && u < 1 {
				row[j] = sinc(2*cutoff*t) * bessel0(beta*math.Sqrt(1-u*u))
			}
			sum += row[j]
		}
		for j, v := range row { // each phase passes DC unchanged
			kernel[p*taps+j] = float32(v / sum)
		}
	}
	return kernel
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// bessel0 is the modified Bessel function of order zero.
func bessel0(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > 1e-15*sum; k++ {
		term *= (x / (2 * k)) * (x / (2 * k))
		sum += term
	}
	return sum
}

// SetRatio sets the ratio, in output samples an input sample, from the next output
// sample on, and returns the ratio now in force: it stays within 1 % of
// outRate/inRate, and NaN changes nothing. A microphone whose clock runs 50 ppm fast
// gives 1.00005 times the samples: its ratio is outRate/inRate/1.00005.
func (r *Resampler) SetRatio(ratio float64) float64 {
	if !math.IsNaN(ratio) {
		r.ratio = min(max(ratio, r.nominal*(1-ratioSlack)), r.nominal*(1+ratioSlack))
		r.step = 1 / r.ratio
	}
	return r.ratio
}

// Lookahead is the number of input samples that must follow an output sample's
// place before it comes out.
func (r *Resampler) Lookahead() int { return r.taps / 2 }

// Process takes samples from in and writes samples to out until in is used up or
// out is full, and says how many of each. What it has consumed may come out in a
// later call (see Lookahead). If out always has room for len(in)·ratio+2 samples,
// all of in is always consumed. It keeps neither slice and does not allocate.
func (r *Resampler) Process(in, out []float32) (consumed, produced int) {
	for {
		n := copy(r.buf[r.filled:], in[consumed:])
		consumed += n
		r.filled += n
		for r.next+r.taps <= r.filled {
			if produced == len(out) {
				return consumed, produced
			}
			out[produced] = r.sample()
			produced++
			r.frac += r.step
			whole := int(r.frac)
			r.next += whole
			r.frac -= float64(whole)
		}
		done := min(r.next, r.filled) // going down, a step may leap over all that is here
		copy(r.buf, r.buf[done:r.filled])
		r.filled -= done
		r.next -= done
		if consumed == len(in) {
			return consumed, produced
		}
	}
}

// sample weighs the window with the two nearest phases and interpolates.
func (r *Resampler) sample() float32 {
	at := r.frac * phases
	p := int(at)
	x := r.buf[r.next : r.next+r.taps]
	lo := r.kernel[p*r.taps:][:len(x)]
	hi := r.kernel[(p+1)*r.taps:][:len(x)]
	var a, b, c, d float32 // two sums for each phase, so that they do not wait for one another
	for i := 0; i+1 < len(x); i += 2 {
		a += x[i] * lo[i]
		b += x[i+1] * lo[i+1]
		c += x[i] * hi[i]
		d += x[i+1] * hi[i+1]
	}
	low, high := a+b, c+d
	return low + float32(at-float64(p))*(high-low)
}
