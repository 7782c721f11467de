package codec

import (
	"errors"
	"testing"

	"gopkg.in/hraban/opus.v2"
)

// TestRecover loses every eighth packet of a sender with in-band FEC: what the next packet repeats is closer to what was
// said than a guess.
func TestRecover(t *testing.T) {
	enc, err := opus.NewEncoder(SampleRate, 1, opus.AppVoIP)
	if err := errors.Join(err, enc.SetBitrate(24000), enc.SetInBandFEC(true), enc.SetPacketLossPerc(15)); err != nil {
		t.Fatal(err)
	}
	pcm := voice(4 * SampleRate)
	var packets [][]byte
	for at := 0; at < len(pcm); at += FrameSamples {
		b := make([]byte, 1500)
		n, err := enc.EncodeFloat32(pcm[at:at+FrameSamples:at+FrameSamples], b)
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, b[:n])
	}
	whole := decodeAll(t, packets)
	lossy := func(recover bool) []float32 {
		d := newDecoder(t)
		out := make([]float32, len(whole))
		for i, p := range packets {
			part := out[i*FrameSamples : (i+1)*FrameSamples : (i+1)*FrameSamples]
			var err error
			switch {
			case i%8 != 7 || i+1 == len(packets):
				_, err = d.DecodeFloat(p, part)
			case recover:
				err = d.RecoverFloat(packets[i+1], part)
			default:
				err = d.ConcealFloat(part)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	guessed, recovered := snr(whole, lossy(false)), snr(whole, lossy(true))
	t.Logf("SNR against the whole: %.1f dB guessed, %.1f dB recovered", guessed, recovered)
	if recovered < guessed+6 {
		t.Errorf("recovered sound has an SNR of %.1f dB, guessed sound %.1f", recovered, guessed)
	}
	d := newDecoder(t)
	if err := d.RecoverFloat(nil, make([]float32, FrameSamples)); !errors.Is(err, ErrPacket) {
		t.Errorf("without a next packet: %v", err)
	}
	if err := d.RecoverFloat(packets[0], make([]float32, 100)); !errors.Is(err, ErrBuffer) {
		t.Errorf("100 samples: %v", err)
	}
}
