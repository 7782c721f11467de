package recording

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"dongthanh/codec"
	"dongthanh/internal/testkit"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/tap"
)

// helperEnv has the test binary do one thing in a process of its own: "act folder".
const helperEnv = "RECORDING_TEST_HELPER"

func TestMain(m *testing.M) {
	act, dir := "", ""
	if _, err := fmt.Sscan(os.Getenv(helperEnv), &act, &dir); err == nil {
		if err := map[string]func(string) error{"disk": fillDisk, "forever": recordForever}[act](dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func helper(t *testing.T, act, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), helperEnv+"="+act+" "+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// bed is a recorder over a real store.
type bed struct {
	*Recorder
	store *store.Store
	reg   *prometheus.Registry
	log   *testkit.Journal
	dir   string
}

func open(dir string, change ...func(*Options)) (*bed, error) {
	ctx := context.Background()
	s, err := store.Open(ctx, dir, nil)
	if err != nil {
		return nil, err
	}
	b := &bed{store: s, reg: prometheus.NewRegistry(), log: &testkit.Journal{}, dir: dir}
	o := Options{Dir: dir, Config: DefaultConfig(), Records: s, Log: slog.New(slog.NewTextHandler(b.log, nil)), Metrics: b.reg, Floor: 1}
	for _, c := range change {
		c(&o)
	}
	if _, _, err = s.UpsertZones(ctx, []store.Zone{{Code: "31", Name: "Hải Phòng"}}, time.Now()); err == nil {
		b.Recorder, err = Open(ctx, o)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return b, nil
}

func newBed(t *testing.T, dir string, change ...func(*Options)) *bed {
	t.Helper()
	b, err := open(dir, change...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (*bed) context() context.Context { return context.Background() }

func (b *bed) end() error { return errors.Join(b.Close(), b.store.Close()) }

// session puts a session on record.
func (b *bed) session() (store.Session, error) {
	x, _, err := b.store.CreateSession(context.Background(), store.Session{
		ID: store.NewID(), Title: "Thông báo lịch cắt điện", Zones: []zone.Zone{"31"}, Class: "normal", Kind: "live",
		SourceKind: "browser", Delay: "auto", CreatedBy: "lan", Created: time.Now(),
	}, nil)
	return x, err
}

// speaker makes the packets of a tone.
type speaker struct {
	enc *codec.Encoder
	pcm []float32
	out []byte
	n   int64
}

func newSpeaker() (*speaker, error) {
	enc, err := codec.NewEncoder(codec.EncoderConfig{Bitrate: 64000, Music: true})
	if err != nil {
		return nil, err
	}
	return &speaker{enc: enc, pcm: make([]float32, 2*codec.FrameSamples), out: make([]byte, codec.MaxPacketBytes)}, nil
}

const packetSamples = 2 * codec.FrameSamples

// say returns the next packet; what was returned before changes.
func (s *speaker) say() (tap.Packet, error) {
	for i := range s.pcm {
		s.pcm[i] = float32(0.3 * math.Sin(2*math.Pi*1000*float64(s.n*packetSamples+int64(i))/codec.SampleRate))
	}
	size, err := s.enc.Encode(s.pcm, s.out)
	p := tap.Packet{Sample: s.n * packetSamples, Samples: packetSamples, Data: s.out[:size]}
	s.n++
	return p, err
}

// record records a session of so many packets but for those that lost names, as fast as they are taken.
func (b *bed) record(packets int64, lost func(n int64) bool) (store.Session, error) {
	x, err := b.session()
	if err != nil {
		return x, err
	}
	s, err := newSpeaker()
	if err != nil {
		return x, err
	}
	t := tap.New()
	q := t.Join(QueuePackets)
	b.Record(x, q)
	for n := range packets {
		p, err := s.say()
		if err != nil {
			return x, err
		}
		if lost == nil || !lost(n) {
			t.Push(p)
		}
		for q.Waiting() > QueuePackets/2 { // a test is faster than sound
			time.Sleep(time.Millisecond)
		}
	}
	t.End()
	b.running.Wait()
	return x, nil
}

// play has ffmpeg decode a recording, and returns its samples.
func play(t *testing.T, path string) []int16 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testkit.Program(t, "ffmpeg"), "-v", "warning", "-i", path, "-f", "s16le", "-ac", "1", "-ar", "48000", "-")
	var fault bytes.Buffer
	cmd.Stderr = &fault
	pcm, err := cmd.Output()
	if err != nil || fault.Len() > 0 {
		t.Fatalf("ffmpeg: %v\n%s", err, fault.Bytes())
	}
	out := make([]int16, len(pcm)/2)
	for i := range out {
		out[i] = int16(uint16(pcm[2*i]) | uint16(pcm[2*i+1])<<8)
	}
	return out
}

// tonal counts the 20 ms of pcm that are the tone.
func tonal(pcm []int16) (n int) {
	for at := 0; at+codec.FrameSamples <= len(pcm); at += codec.FrameSamples {
		var energy, s1, s2 float64
		c := 2 * math.Cos(2*math.Pi*1000/codec.SampleRate)
		for _, v := range pcm[at : at+codec.FrameSamples] {
			x := float64(v)
			energy += x * x
			s1, s2 = x+c*s1-s2, s1
		}
		if power := (s1*s1 + s2*s2 - c*s1*s2) * 2 / codec.FrameSamples; energy > 1e8 && power > 0.9*energy {
			n++
		}
	}
	return n
}
