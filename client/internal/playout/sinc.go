package playout

import "math"

// The interpolator: 48 samples weighed by a Kaiser-windowed sinc, whose table is read at any phase. The two clocks
// differ by at most 500 parts in a million, so nothing folds back that matters, and the cut-off lies at half the
// sample rate: at phase 0 a sample passes unchanged. Flat to 18 kHz; 512 phases, interpolated, leave −95 dB.
const (
	taps     = 48
	half     = taps / 2 // samples needed on each side of a place
	phases   = 512
	kaiserBF = 7.8 // 80 dB
)

// sinc is the table, phases+1 rows of taps.
type sinc []float32

func newSinc() sinc {
	table := make(sinc, (phases+1)*taps)
	row := make([]float64, taps)
	for p := range phases + 1 {
		sum := 0.0
		for j := range row {
			d := float64(j-(half-1)) - float64(p)/phases // from the place to the sample
			row[j] = 0
			if u := d / half; u > -1 && u < 1 {
				row[j] = bessel0(kaiserBF*math.Sqrt(1-u*u)) * sinPi(d)
			}
			sum += row[j]
		}
		for j, v := range row { // every phase passes a constant unchanged
			table[p*taps+j] = float32(v / sum)
		}
	}
	return table
}

// at returns the value at the place frac (0 ≤ frac < 1) behind x[half-1]; x holds taps samples. Both belong to one
// Player and so to one goroutine: the race detector, which would make this loop ten times slower, need not watch it.
//
//go:norace
func (s sinc) at(x []float32, frac float64) float32 {
	a := frac * phases
	p := int(a)
	x = x[:taps]
	lo, hi := s[p*taps:][:taps], s[(p+1)*taps:][:taps]
	var l0, l1, h0, h1 float32 // two sums a row, so that they do not wait for one another
	for i := 0; i < taps; i += 2 {
		l0 += x[i] * lo[i]
		l1 += x[i+1] * lo[i+1]
		h0 += x[i] * hi[i]
		h1 += x[i+1] * hi[i+1]
	}
	l := l0 + l1
	return l + float32(a-float64(p))*(h0+h1-l)
}

func sinPi(d float64) float64 {
	if d == 0 {
		return 1
	}
	return math.Sin(math.Pi*d) / (math.Pi * d)
}

// bessel0 is the modified Bessel function of order zero.
func bessel0(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > 1e-12*sum; k++ {
		term *= (x / (2 * k)) * (x / (2 * k))
		sum += term
	}
	return sum
}
