package loudspeaker

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
)

// setTo is an order of a volume that is good for a minute from now on.
func setTo(node string, number uint64, volume int32) signed.Order {
	return signed.Order{
		Version: 1, Node: node, Number: number, Volume: &volume,
		At: mediaclock.At(time.Now()), NotAfter: mediaclock.At(time.Now().Add(time.Minute)),
	}
}

// soundFor is an order of a test tone.
func soundFor(node string, number uint64, d time.Duration) signed.Order {
	o := setTo(node, number, 0)
	o.Volume, o.ToneMS = nil, uint16(d.Milliseconds())
	return o
}

// give has the desk judge an order of its issuer, as the control channel would bring it.
func (d *desk) give(o signed.Order) error {
	d.bed.Helper()
	return d.carryOut(control.Order{Node: o.Node, Order: d.sign(o), Issuer: d.issuer.Certificate.Raw})
}

// restart starts the loudspeaker anew in the same folder.
func (d *desk) restart(log *slog.Logger) *desk {
	d.bed.Helper()
	o := d.options
	n := &desk{bed: d.bed, clock: d.clock, still: d.still, reg: prometheus.NewRegistry()}
	o.Registerer, o.Log = n.reg, log
	var err error
	if n.Loudspeaker, err = newLoudspeaker(o); err != nil {
		d.bed.Fatal(err)
	}
	n.links = n.still
	d.Cleanup(n.refused.Stop)
	return n
}

// TestOrdersThatDoNothing is each attacker who would turn a loudspeaker down, or make it sound.
func TestOrdersThatDoNothing(t *testing.T) {
	root, err := identity.NewRoot(time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := root.NewIssuer("31", signed.ClassEmergency, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		attack func(t *testing.T, d *desk) (order, issuer []byte)
		result string
	}{
		{"the issuer of another network", func(t *testing.T, d *desk) ([]byte, []byte) {
			id := stranger.ID()
			return sign(t, setTo("desk", 100, -6000), id[:], stranger), stranger.Certificate.Raw
		}, "issuer"},
		{"the same, beside the right issuer's certificate", func(t *testing.T, d *desk) ([]byte, []byte) {
			id := stranger.ID()
			return sign(t, setTo("desk", 100, -6000), id[:], stranger), d.issuer.Certificate.Raw
		}, "issuer"},
		{"a signature in the issuer's name", func(t *testing.T, d *desk) ([]byte, []byte) {
			id := d.issuer.ID()
			return sign(t, setTo("desk", 100, -6000), id[:], stranger), d.issuer.Certificate.Raw
		}, "signature"},
		{"the issuer of another commune", func(t *testing.T, d *desk) ([]byte, []byte) {
			other, err := d.root.NewIssuer("31/11407", signed.ClassEmergency, time.Now(), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			id := other.ID()
			return sign(t, setTo("desk", 100, -6000), id[:], other), other.Certificate.Raw
		}, "scope"},
		{"an order to another loudspeaker", func(t *testing.T, d *desk) ([]byte, []byte) {
			return d.sign(setTo("neighbour", 100, -6000)), d.issuer.Certificate.Raw
		}, "other_node"},
		{"one that a relay has altered", func(t *testing.T, d *desk) ([]byte, []byte) {
			raw := d.sign(setTo("desk", 100, -600))
			i := bytes.Index(raw, []byte{0x39, 0x02, 0x57}) // -600 in CBOR
			raw[i+2]++
			return raw, d.issuer.Certificate.Raw
		}, "signature"},
		{"one that was held back", func(t *testing.T, d *desk) ([]byte, []byte) {
			o := setTo("desk", 100, -6000)
			o.At, o.NotAfter = o.At.Add(-2*time.Minute), o.At.Add(-time.Second)
			return d.sign(o), d.issuer.Certificate.Raw
		}, "time"},
		{"one of the future", func(t *testing.T, d *desk) ([]byte, []byte) {
			o := setTo("desk", 100, -6000)
			o.At, o.NotAfter = o.At.Add(time.Minute), o.At.Add(2*time.Minute)
			return d.sign(o), d.issuer.Certificate.Raw
		}, "time"},
		{"an older one", func(t *testing.T, d *desk) ([]byte, []byte) {
			return d.sign(setTo("desk", 49, -6000)), d.issuer.Certificate.Raw
		}, "replayed"},
		{"another with a number that was taken", func(t *testing.T, d *desk) ([]byte, []byte) {
			return d.sign(setTo("desk", 50, -6000)), d.issuer.Certificate.Raw
		}, "replayed"},
		{"a stop in an order's place", func(t *testing.T, d *desk) ([]byte, []byte) {
			return d.sign(signed.Stop{Version: 1, Transmissions: [][16]byte{{1}}}), d.issuer.Certificate.Raw
		}, "malformed"},
		{"garbage", func(t *testing.T, d *desk) ([]byte, []byte) { return []byte("x"), d.issuer.Certificate.Raw }, "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, false)
			if err := d.give(setTo("desk", 50, -300)); err != nil {
				t.Fatal(err)
			}
			order, issuer := c.attack(t, d)
			err := d.carryOut(control.Order{Node: "desk", Order: order, Issuer: issuer})
			if err == nil {
				t.Error("obeyed")
			}
			d.orders.judged(err)
			if n := metric(t, d.reg, "dongthanh_client_orders_total"); n[c.result] != 1 || n["obeyed"] != 0 {
				t.Errorf("counted as %v, want one %s (%v)", n, c.result, err)
			}
			if v, number := d.setting(); *v != -300 || number != 50 || d.volume.Load() != -300 || d.tone.Load() != 0 {
				t.Errorf("it plays at %d after order %d, want -300 after 50", *v, number)
			}
			if again := d.restart(d.bed.log); again.volume.Load() != -300 {
				t.Errorf("after a restart it plays at %d", again.volume.Load())
			}
		})
	}
}

func sign(t *testing.T, o signed.Order, signer []byte, by *identity.Authority) []byte {
	t.Helper()
	raw, err := signed.Sign(o, signer, by.Key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestOrderOnce: the very same order does nothing a second time, nor after a restart.
func TestOrderOnce(t *testing.T) {
	d := newDesk(t, false)
	tone := soundFor("desk", 7, 3*time.Second)
	raw := control.Order{Node: "desk", Order: d.sign(tone), Issuer: d.issuer.Certificate.Raw}
	if err := d.carryOut(raw); err != nil || d.tone.Swap(0) != int64(3*time.Second) {
		t.Fatalf("a tone is not obeyed: %v", err)
	}
	for _, x := range []*desk{d, d.restart(d.bed.log)} {
		if err := x.carryOut(raw); !errors.Is(err, errReplayed) || x.tone.Load() != 0 {
			t.Errorf("a second time: %v, and a tone of %v", err, time.Duration(x.tone.Load()))
		}
	}
	if err := d.restart(d.bed.log).give(soundFor("desk", 8, time.Second)); err != nil {
		t.Errorf("the next order: %v", err)
	}
	if v, _ := d.setting(); *v != 0 {
		t.Errorf("an order without a volume sets it to %d", *v)
	}
}

// TestSettingsKept: whatever the power or the disk has left, the loudspeaker comes up, and says so where it is not what it
// was.
func TestSettingsKept(t *testing.T) {
	for _, c := range []struct {
		name, text string
		volume     int32
		number     uint64
		warns      bool
	}{
		{"as it was", `{"node":"desk","number":9,"volume":-600}`, -600, 9, false},
		{"another node's", `{"node":"old","number":9,"volume":-600}`, 0, 0, false},
		{"empty", ``, 0, 0, true},
		{"zeros", "\x00\x00\x00\x00\x00\x00", 0, 0, true},
		{"cut off", `{"node":"desk","num`, 0, 0, true},
		{"too loud", `{"node":"desk","number":9,"volume":600}`, 0, 0, true},
		{"too quiet", `{"node":"desk","number":9,"volume":-60000}`, 0, 0, true},
		{"far too quiet", `{"node":"desk","number":9,"volume":-6000000000000}`, 0, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, false)
			if err := os.WriteFile(filepath.Join(d.options.Dir, settingsFile), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			d = d.restart(slog.New(slog.NewTextHandler(&log, nil)))
			if v, n := d.setting(); *v != c.volume || n != c.number || d.volume.Load() != c.volume {
				t.Errorf("it plays at %d after order %d, want %d after %d", *v, n, c.volume, c.number)
			}
			if warned := bytes.Contains(log.Bytes(), []byte("level=WARN")); warned != c.warns {
				t.Errorf("warned: %t, want %t: %s", warned, c.warns, &log)
			}
			if err := d.give(setTo("desk", 10, -100)); err != nil {
				t.Fatal(err)
			}
			if again := d.restart(d.bed.log); again.volume.Load() != -100 {
				t.Errorf("after the next order and start it plays at %d", again.volume.Load())
			}
		})
	}
}

// TestDiskGone: a loudspeaker whose disk takes nothing more obeys.
func TestDiskGone(t *testing.T) {
	d := newDesk(t, false)
	if err := os.RemoveAll(d.options.Dir); err != nil {
		t.Fatal(err)
	}
	if err := d.give(setTo("desk", 1, -600)); err != nil || d.volume.Load() != -600 {
		t.Errorf("it plays at %d: %v", d.volume.Load(), err)
	}
	if err := d.give(setTo("desk", 1, 0)); !errors.Is(err, errReplayed) {
		t.Errorf("a replay: %v", err)
	}
}

// TestSettingsAreTold: after each order, and as long as there is no way up, again.
func TestSettingsAreTold(t *testing.T) {
	d := newDesk(t, false)
	told := func() (list []signed.Report) {
		for range 3 {
			d.tell()
		}
		for _, m := range d.still.sent {
			r, err := identity.VerifyReport(m.Reports.Reports[0], "desk", d.options.Credentials.Key.Public().(ed25519.PublicKey))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, r)
		}
		d.still.sent = nil
		return list
	}
	if list := told(); len(list) != 0 {
		t.Errorf("without a reason: %+v", list)
	}
	if err := d.give(setTo("desk", 77, -1200)); err != nil {
		t.Fatal(err)
	}
	d.still.cut = true
	if list := told(); len(list) != 3 {
		t.Errorf("%d tries, want 3: there is no way", len(list))
	}
	d.still.cut = false
	list := told()
	if len(list) != 1 || *list[0].Volume != -1200 || list[0].Order != 77 || list[0].Hearing || list[0].Transmission != [16]byte{} {
		t.Errorf("told %+v, want one report of volume -1200 after order 77", list)
	}
	_ = d.give(setTo("desk", 5, 0))
	if list := told(); len(list) != 1 || list[0].Order != 77 {
		t.Errorf("after an order with a number long past: %+v, want the highest told", list)
	}
}

// TestQueueOfOrders: what does not fit is counted, and nothing waits.
func TestQueueOfOrders(t *testing.T) {
	d := newDesk(t, false)
	for range maxOrders + 3 {
		d.orders.put(control.Order{}, 0)
	}
	if n := metric(t, d.reg, "dongthanh_client_orders_total"); n["queue_full"] != 3 {
		t.Errorf("%v are counted as lost, want 3", n["queue_full"])
	}
	want := []string{"issuer", "malformed", "obeyed", "other", "other_node", "queue_full", "replayed", "scope", "signature", "time"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(metric(t, d.reg, "dongthanh_client_orders_total")))); diff != "" {
		t.Error(diff)
	}
}

// TestOrderOnADiskThatHangs: reports, and with them all that watch does, do not wait for the disk.
func TestOrderOnADiskThatHangs(t *testing.T) {
	d := newDesk(t, false)
	inside, free, done := make(chan struct{}), make(chan struct{}), make(chan error)
	d.orders.save = func(settings, string) error { close(inside); <-free; return nil }
	order := d.sign(setTo("desk", 100, -600))
	go func() {
		done <- d.carryOut(control.Order{Node: "desk", Order: order, Issuer: d.issuer.Certificate.Raw})
	}()
	<-inside
	if d.orders.mu.TryLock() {
		d.orders.mu.Unlock()
		if v, n := d.setting(); *v != 0 || n != 0 {
			t.Errorf("an order that may be forgotten is told as taken: %d, number %d", *v, n)
		}
	} else {
		t.Error("a report waits for the disk")
	}
	close(free)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if v, n := d.setting(); *v != -600 || n != 100 {
		t.Errorf("afterwards: %d, number %d", *v, n)
	}
}
