package loudspeaker

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"dongthanh/client/internal/device"
	"dongthanh/codec"
	"dongthanh/internal/cluster"
	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/link"
	"dongthanh/internal/logging"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seal"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ms       = time.Millisecond
	patience = 30 * time.Second
)

// bed is a relay that runs, with an issuer beside it, and a streamer's part played by the test.
type bed struct {
	testing.TB
	issuer  *identity.Authority
	hub     *cluster.Hub // the first of hubs
	hubs    []*cluster.Hub
	secrets map[zone.Zone][32]byte
	log     *slog.Logger

	mu      sync.Mutex
	nodes   map[string]bool
	reports []signed.Report
	nacks   []wire.NackBody
	onNack  func(wire.NackBody)
}

// writer sends a log to the test's.
type writer struct{ testing.TB }

func (w writer) Write(p []byte) (int, error) {
	w.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func newBed(tb testing.TB) *bed {
	tb.Helper()
	b := newIssuer(tb)
	b.newHub(identity.Node{ID: "hub", Kind: identity.Streamer, Zone: "31", Name: "tỉnh"})
	b.hub = b.hubs[0]
	return b
}

// newHub runs one more that is fed the same. end ends it early.
func (b *bed) newHub(n identity.Node) (h *cluster.Hub, end func()) {
	b.Helper()
	credentials, err := b.issuer.Enlist(n, time.Now(), time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	path := []string{"hub", n.ID}
	if n.ID == "hub" {
		path = path[:1]
	}
	h, err = cluster.New(cluster.Options{
		Config: cluster.Config{Control: "127.0.0.1:0", Media: "127.0.0.1:0"}, Credentials: credentials,
		Path:  func() []string { return path },
		Clock: func() (mediaclock.Instant, uint32, bool) { return mediaclock.At(time.Now()), 1000, true },
		Up:    b, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	end = b.run(n.ID, h.Bind, h.Run)
	b.hubs = append(b.hubs, h)
	return h, end
}

// newIssuer is a bed without a relay.
func newIssuer(tb testing.TB) *bed {
	tb.Helper()
	root, err := identity.NewRoot(time.Now(), 24*time.Hour)
	if err != nil {
		tb.Fatal(err)
	}
	b := &bed{TB: tb, secrets: map[zone.Zone][32]byte{}, nodes: map[string]bool{}}
	b.log = logging.New(writer{tb}, slog.LevelInfo)
	if b.issuer, err = root.NewIssuer("31", signed.ClassEmergency, time.Now(), 24*time.Hour); err != nil {
		tb.Fatal(err)
	}
	return b
}

// run runs something until the test ends, or end is called.
func (b *bed) run(name string, bind, run func(context.Context) error) (end func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	if bind != nil {
		if err := bind(ctx); err != nil {
			b.Fatal(err)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && err != context.Canceled {
			b.Errorf("%s ended with %v", name, err)
		}
	})
	b.Cleanup(end)
	return end
}

// Changes, Digest, Reports, Nack and Enrol are what a streamer does with what its hub tells.
func (b *bed) Changes(c control.Changes) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range c.Members {
		b.nodes[m.Node] = !m.Gone
	}
}

func (b *bed) Digest(control.Digest) {}

func (b *bed) Reports(raw [][]byte) {
	for _, r := range raw {
		o, err := signed.Parse[signed.Report](r)
		if err != nil {
			b.Errorf("report: %v", err)
			continue
		}
		b.mu.Lock()
		b.reports = append(b.reports, o.Unverified())
		b.mu.Unlock()
	}
}

func (b *bed) Nack(n wire.NackBody) {
	b.mu.Lock()
	b.nacks = append(b.nacks, n)
	do := b.onNack
	b.mu.Unlock()
	if do != nil {
		do(n)
	}
}

func (b *bed) Enrol(context.Context, control.EnrolRequest) (*control.EnrolResponse, error) {
	return nil, &control.Refused{Code: "unknown", Reason: "no tokens here"}
}

// eventually waits for something that nothing announces.
func (b *bed) eventually(what string, cond func() bool) {
	b.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(5 * ms) {
		if time.Now().After(end) {
			b.Fatalf("waited for %s", what)
		}
	}
}

// speaker is a loudspeaker with a file device.
type speaker struct {
	*Loudspeaker
	id      string
	path    string
	started time.Time // of the device, at the latest
	reg     *prometheus.Registry
}

// speaker starts a loudspeaker, gives it the keys of its zones, and waits until it is ready. media is the address its
// datagrams go to; empty: the hub's.
func (b *bed) speaker(id string, z zone.Zone, skew float64, media string) *speaker {
	b.Helper()
	c, err := b.issuer.Enlist(identity.Node{ID: id, Kind: identity.Client, Zone: z, Name: id}, time.Now(), time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	s := &speaker{id: id, path: filepath.Join(dir, "played.wav"), reg: prometheus.NewRegistry()}
	clock := mediaclock.NewMonotonic()
	log := b.log.With("node", id)
	d, err := device.New(device.Options{
		Config: device.Config{Kind: "file", Path: s.path, SkewPPM: skew}, Clock: clock, Log: log, Registerer: s.reg,
	})
	if err != nil {
		b.Fatal(err)
	}
	var ups []link.Upstream
	for _, h := range b.hubs {
		ups = append(ups, link.Upstream{Control: "wss://" + h.ControlAddr().String(), Media: media})
		media = "" // of the first only
	}
	s.Loudspeaker, err = New(Options{
		Credentials: c, Upstreams: ups, Dir: dir,
		Device: d, Version: "test", Log: log, Registerer: s.reg, Clock: clock,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.run(id, nil, s.Run)
	b.eventually(id+" to join", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.nodes[id]
	})
	var envelopes [][]byte
	for _, z := range z.Chain() {
		if !zone.Zone("31").Contains(z) {
			continue
		}
		secret, ok := b.secrets[z]
		if !ok {
			_, _ = rand.Read(secret[:])
			b.secrets[z] = secret
		}
		e, err := identity.SealZoneKey(id, c.HPKE.PublicKey(), z, 1, secret)
		if err != nil {
			b.Fatal(err)
		}
		envelopes = append(envelopes, b.sign(e))
	}
	s.started = time.Now()
	b.hub.Deliver(control.Keys{Node: id, Envelopes: envelopes, Issuer: b.issuer.Certificate.Raw})
	b.eventually(id+" to be ready", func() bool {
		_, ok := s.ring.Secret(z, 1)
		return ok && s.Ready(context.Background()) == nil
	})
	return s
}

func (b *bed) sign(body signed.Body) []byte {
	b.Helper()
	id := b.issuer.ID()
	raw, err := signed.Sign(body, id[:], b.issuer.Key)
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

// counts reads the frames from the metrics.
func (s *speaker) counts(tb testing.TB) map[string]float64 {
	return metric(tb, s.reg, "dongthanh_client_frames_total")
}

// total is how many frames have a result.
func (s *speaker) total(tb testing.TB) (n float64) {
	for _, c := range s.counts(tb) {
		n += c
	}
	return n
}

// metric returns the values of one metric by its only label.
func metric(tb testing.TB, reg *prometheus.Registry, name string) map[string]float64 {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				label := ""
				if len(m.GetLabel()) > 0 {
					label = m.GetLabel()[0].GetValue()
				}
				values[label] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	if len(values) == 0 {
		tb.Fatalf("no metric %s", name)
	}
	return values
}

// transmission is one that the test speaks.
type transmission struct {
	b       *bed
	cert    signed.SessionCert
	raw     []byte
	private ed25519.PrivateKey
	key     *seal.Key
	enc     *codec.Encoder
	sound   func(t float64) float64
	sent    int
	beacons int
	packets sync.Map // index → raw
}

// transmit goes on air for zones, now.
func (b *bed) transmit(sound func(t float64) float64, change func(*signed.SessionCert), zones ...zone.Zone) *transmission {
	b.Helper()
	pub, private, _ := ed25519.GenerateKey(rand.Reader)
	x := &transmission{b: b, private: private, sound: sound}
	var ids [36]byte
	_, _ = rand.Read(ids[:])
	x.cert = signed.SessionCert{
		Version: 1, Transmission: [16]byte(ids[:16]), Session: [16]byte(ids[16:32]), SSRC: binary.BigEndian.Uint32(ids[32:]),
		PublicKey: pub, Zones: zones, KeyZone: zone.Common(zones), Level: 2, Fence: 1,
		NotBefore: time.Now().Unix() - 10, NotAfter: time.Now().Unix() + 600, DelayMS: 400,
		TS0: 77, T0: mediaclock.At(time.Now().Add(20 * ms)), Index0: 65_500, Packet: 1920,
	}
	if change != nil {
		change(&x.cert)
	}
	x.raw = b.sign(x.cert)
	var err error
	if x.key, err = seal.Derive(b.secrets[x.cert.KeyZone], x.cert.Transmission, x.cert.SSRC, x.cert.Fence); err != nil {
		b.Fatal(err)
	}
	if x.enc, err = codec.NewEncoder(codec.EncoderConfig{Music: true, Bitrate: 64000, Complexity: 1}); err != nil {
		b.Fatal(err)
	}
	for _, h := range b.hubs {
		h.Open(&cluster.Transmission{Cert: x.cert, Raw: x.raw, Issuer: b.issuer.Certificate.Raw})
	}
	x.beacon(-1)
	return x
}

// make encodes, seals and signs packet k.
func (x *transmission) make(k int, last bool) []byte {
	pcm := make([]float32, 1920)
	for i := range pcm {
		pcm[i] = float32(x.sound(float64(k*1920+i)) / 32768)
	}
	plain := make([]byte, x.enc.MaxPacketBytes())
	n, err := x.enc.Encode(pcm, plain)
	if err != nil {
		x.b.Fatal(err)
	}
	index := seq.Index(x.cert.Index0) + seq.Index(k)
	mki := packet.MakeMKI(x.cert.KeyZone.Level(), 1)
	raw := make([]byte, packet.HeaderLen, packet.MaxLen)
	packet.Header{Index: index, Timestamp: x.cert.Timestamp(uint64(index)), SSRC: x.cert.SSRC, Last: last}.Put(raw)
	cipher := make([]byte, n)
	x.key.Encrypt(cipher, plain[:n], x.cert.SSRC, index)
	packet.Sign(x.private, x.cert.Transmission, mki, raw, cipher)
	raw = x.key.Seal(raw, raw[:packet.HeaderLen], plain[:n], x.cert.SSRC, index)
	raw = binary.BigEndian.AppendUint32(raw, uint32(mki))
	x.packets.Store(index, raw)
	return raw
}

// speak sends packets until n are out, each when its sound is over, and a beacon a second; alter may change one.
func (x *transmission) speak(n int, last bool, alter func(k int, raw []byte) []byte) {
	for ; x.sent < n; x.sent++ {
		raw := x.make(x.sent, last && x.sent == n-1)
		if alter != nil {
			raw = alter(x.sent, raw)
		}
		at := x.cert.T0.Add(time.Duration(x.sent+1) * 40 * ms).Time()
		time.Sleep(time.Until(at)) // the pace of the microphone
		p, err := packet.Parse(raw)
		if err != nil {
			x.b.Fatal(err)
		}
		for _, h := range x.b.hubs {
			h.Media(p)
		}
		if x.sent%25 == 2 {
			x.beacon(x.sent)
		}
	}
}

// beacon sends the next beacon: the certificate and the issuer's in turn.
func (x *transmission) beacon(highest int) {
	object, kind := x.raw, wire.ObjectSession
	if x.beacons%2 == 1 {
		object, kind = x.b.issuer.Certificate.Raw, wire.ObjectIssuer
	}
	x.beacons++
	sum := sha256.Sum256(object)
	for _, b := range wire.Fragments(x.cert.Transmission, kind, [16]byte(sum[:16]), object) {
		b.At, b.Highest = mediaclock.At(time.Now()), seq.Index(int64(x.cert.Index0)+int64(highest))
		body := b.Append(nil, x.private)
		parsed, err := wire.ParseBeacon(body)
		if err != nil {
			x.b.Fatal(err)
		}
		for _, h := range x.b.hubs {
			h.Beacon(parsed, body)
		}
	}
}

// stop ends the transmission by order.
func (x *transmission) stop() {
	s := signed.Stop{Version: 1, Transmissions: [][16]byte{x.cert.Transmission}, At: mediaclock.At(time.Now())}
	for _, h := range x.b.hubs {
		h.Stop(x.b.sign(s), s, x.b.issuer.Certificate.Raw)
	}
}

// recording is what a file device wrote.
type recording struct {
	pcm   []int16
	start float64 // ns of Unix time
	rate  float64
}

func (s *speaker) recording(tb testing.TB) recording {
	tb.Helper()
	var t struct {
		Start int64   `json:"start_unix_ns"`
		Rate  float64 `json:"rate"`
	}
	text, err := os.ReadFile(s.path + ".json")
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil {
		tb.Fatal(err)
	}
	wav, err := os.ReadFile(s.path)
	if err != nil {
		tb.Fatal(err)
	}
	r := recording{start: float64(t.Start), rate: t.Rate}
	for i := 44; i+1 < len(wav); i += 2 {
		r.pcm = append(r.pcm, int16(binary.LittleEndian.Uint16(wav[i:])))
	}
	return r
}

// written waits until the file reaches beyond a moment.
func (s *speaker) written(tb testing.TB, until time.Time) recording {
	tb.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * ms) {
		info, err := os.Stat(s.path)
		if err != nil {
			tb.Fatal(err)
		}
		if float64(s.started.UnixNano())+float64(info.Size()-44)/2/48000*1e9 > float64(until.UnixNano()) {
			return s.recording(tb)
		}
		if time.Now().After(end) {
			tb.Fatalf("%s has not been written until %v", s.path, until)
		}
	}
}

// between returns the samples between two moments.
func (r recording) between(from, to time.Time) []int16 {
	place := func(t time.Time) int {
		return min(max(0, int((float64(t.UnixNano())-r.start)/1e9*r.rate)), len(r.pcm))
	}
	return r.pcm[place(from):place(to)]
}

func loudness(pcm []int16) float64 {
	s := 0.0
	for _, v := range pcm {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s / float64(max(1, len(pcm))))
}

// lag returns by how much the programme sounds late around the moment at, in ms.
func (r recording) lag(x *transmission, at time.Time) (lag, match float64) {
	const n, reach = 4800, 240
	from := int((float64(at.UnixNano()) - r.start) / 1e9 * r.rate)
	due := float64(x.cert.PlayAt(x.cert.Index0))
	want := make([]float64, n+2*reach)
	for i := range want {
		t := r.start + float64(from+i-reach)/r.rate*1e9
		want[i] = x.sound((t - due) / 1e9 * 48000)
	}
	best, top := 0, math.Inf(-1)
	for d := range 2 * reach {
		c := 0.0
		for i := range n {
			c += float64(r.pcm[from+i]) * want[i+2*reach-d]
		}
		if c > top {
			best, top = d, c
		}
	}
	a, b := 1.0, 1.0
	for i := range n {
		a += float64(r.pcm[from+i]) * float64(r.pcm[from+i])
		b += want[i+2*reach-best] * want[i+2*reach-best]
	}
	return float64(best-reach) / 48, top / math.Sqrt(a*b)
}

// lossy passes datagrams between a loudspeaker and the hub, and drops media as drop says. It returns its address.
func (b *bed) lossy(drop func(raw []byte) bool) string {
	b.Helper()
	near, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	far, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(b.hub.MediaAddr()))
	if err != nil {
		b.Fatal(err)
	}
	var client sync.Map
	var wg sync.WaitGroup
	wg.Go(func() {
		var buf [2048]byte
		for {
			n, from, err := near.ReadFromUDPAddrPort(buf[:])
			if err != nil {
				return
			}
			client.Store("", from)
			_, _ = far.Write(buf[:n])
		}
	})
	wg.Go(func() {
		var buf [2048]byte
		for {
			n, err := far.Read(buf[:])
			if err != nil {
				return
			}
			if to, ok := client.Load(""); ok && !drop(buf[:n]) {
				_, _ = near.WriteToUDPAddrPort(buf[:n], to.(netip.AddrPort))
			}
		}
	})
	b.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
		wg.Wait()
	})
	return near.LocalAddr().String()
}
