package origin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"dongthanh/codec"
	"dongthanh/internal/cluster"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seal"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/issuer"
	"dongthanh/streamer/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const toneHz = 997

// begin is when time starts in a bubble of testing/synctest.
var begin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// newIssuer opens a real issuer that is valid in bubbles, up to the given class.
func newIssuer(t testing.TB, most signed.Class) *issuer.Issuer {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(context.Background(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	i, err := issuer.Open(context.Background(), issuer.Options{
		Dir: filepath.Join(dir, "keys"), Store: s, MaxClass: most, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return begin },
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// plan is a plan as a file in one commune has it.
func plan(change ...func(*Plan)) Plan {
	p := Plan{
		Session: [16]byte{1}, Zones: []zone.Zone{"31/11296"}, KeyZone: "31/11296", Epoch: 3, Secret: [seal.SecretLen]byte{4},
		Class: signed.ClassNormal, Level: 2, Fence: 5, Delay: 400 * time.Millisecond, Frames: 2,
		Encoder: codec.EncoderConfig{Bitrate: 64000, Music: true}, Validity: time.Hour,
	}
	for _, c := range change {
		c(&p)
	}
	return p
}

func now() mediaclock.Instant { return mediaclock.At(time.Now()) }

// take is everything that a transmission sent, with the time of each.
type take struct {
	mu       sync.Mutex
	order    []string // of the calls
	opened   []*cluster.Transmission
	media    []packet.Packet
	mediaAt  []time.Duration // since begin
	beacons  []wire.BeaconBody
	beaconAt []time.Duration
	newest   []seq.Index // the newest packet that was sent before each beacon; 0: none

	err   error         // of Run
	first time.Duration // OnAir
	due   mediaclock.Instant
}

func (k *take) Open(t *cluster.Transmission) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.order, k.opened = append(k.order, "open"), append(k.opened, t)
}

func (k *take) Media(p packet.Packet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	copied, err := packet.Parse(slices.Clone(p.Raw)) // the memory is the transmission's
	if err != nil {
		panic(err) // Run got it from Parse
	}
	k.order, k.media, k.mediaAt = append(k.order, "media"), append(k.media, copied), append(k.mediaAt, time.Since(begin))
}

func (k *take) Beacon(b wire.BeaconBody, _ []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var newest seq.Index
	if len(k.media) > 0 {
		newest = k.media[len(k.media)-1].Index
	}
	k.order, k.beacons = append(k.order, "beacon"), append(k.beacons, b)
	k.beaconAt, k.newest = append(k.beaconAt, time.Since(begin)), append(k.newest, newest)
}

// transmit runs a transmission of src in fake time to its end and returns what it sent. during, if not nil, runs beside
// it and may cancel it.
func transmit(t *testing.T, p Plan, i Issuer, src Source, during func(*Transmission, context.CancelFunc)) *take {
	t.Helper()
	k := &take{}
	synctest.Test(t, func(t *testing.T) {
		x, err := New(p, i, k, now)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		if during != nil {
			wg.Go(func() { during(x, cancel) })
		}
		k.err = x.Run(ctx, src, Progress{
			OnAir: func() { k.first = time.Since(begin) },
			Ended: func(at mediaclock.Instant) { k.due = at },
		})
		wg.Wait()
	})
	return k
}

// hear verifies, opens and decodes all that was sent, as a loudspeaker with the zone's secret does, and returns the
// sound with what codec and limiter put before it taken away.
func (k *take) hear(t *testing.T, p Plan, i *issuer.Issuer) []float32 {
	t.Helper()
	if len(k.opened) != 1 {
		t.Fatalf("opened %d times, want once", len(k.opened))
	}
	trust := identity.NewTrust(i.Credentials().Roots, func() time.Time { return begin })
	if err := trust.AddIssuer(k.opened[0].Issuer); err != nil {
		t.Fatal(err)
	}
	cert, _, err := trust.Session(k.opened[0].Raw)
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.Derive(p.Secret, cert.Transmission, cert.SSRC, cert.Fence)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := codec.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	var sound []float32
	pcm := make([]float32, p.Frames*codec.FrameSamples)
	for n, m := range k.media {
		index := cert.Index0 + uint64(n)
		if uint64(m.Index) != index || m.Timestamp != cert.Timestamp(index) || m.SSRC != cert.SSRC || m.Clear || m.KeyID != 0 {
			t.Fatalf("packet %d: %+v, want index %d, timestamp %d", n, m.Header, index, cert.Timestamp(index))
		}
		if m.MKI.Level() != p.KeyZone.Level() || m.MKI.Epoch() != p.Epoch {
			t.Fatalf("packet %d: MKI %x", n, uint32(m.MKI))
		}
		if m.Marker != (n == 0) || len(m.Raw) > packet.MaxLen {
			t.Fatalf("packet %d: marker %v, %d bytes", n, m.Marker, len(m.Raw))
		}
		if !m.Verify(cert.Key(), cert.Transmission) {
			t.Fatalf("packet %d: signature does not hold", n)
		}
		opus, err := key.Open(nil, m.Head(), m.Sealed(), m.SSRC, m.Index)
		if err != nil {
			t.Fatalf("packet %d: %v", n, err)
		}
		got, err := dec.DecodeFloat(opus, pcm)
		if err != nil || got != len(pcm) {
			t.Fatalf("packet %d: %d samples, %v, want %d", n, got, err, len(pcm))
		}
		sound = append(sound, pcm...)
	}
	const before = codec.PreSkip + 240 // the limiter looks 5 ms ahead
	return sound[min(before, len(sound)):]
}

// tone is a source of a sine for so many samples, in frames of which the last is filled up; then it returns err.
type tone struct {
	samples int
	err     error
	at      int
	onFrame func(n int) // if set, is called as frame n is read
}

func (s *tone) Read(frame []float32) error {
	if s.onFrame != nil {
		s.onFrame(s.at / codec.FrameSamples)
	}
	clear(frame)
	if s.at >= s.samples {
		return s.err
	}
	copy(frame, sine(s.at, min(len(frame), s.samples-s.at)))
	s.at += len(frame)
	return nil
}

func sine(from, n int) []float32 {
	pcm := make([]float32, n)
	for i := range pcm {
		pcm[i] = float32(0.3 * math.Sin(2*math.Pi*toneHz*float64(from+i)/codec.SampleRate))
	}
	return pcm
}

// seconds is a tone that ends by itself.
func seconds(s float64) *tone { return &tone{samples: int(s * codec.SampleRate), err: io.EOF} }

var errBroken = errors.New("microphone lost")

// snr is the ratio in dB of want to its difference from got.
func snr(want, got []float32) float64 {
	var signal, noise float64
	for i, w := range want {
		d := float64(got[i] - w)
		signal, noise = signal+float64(w)*float64(w), noise+d*d
	}
	return 10 * math.Log10(signal/(noise+1e-30))
}
