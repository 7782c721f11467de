// Package origin makes the packets of a transmission: it pulls sound by the streamer's clock, levels and encodes it,
// numbers, seals and signs each packet once, and hands it to the fan-out. It owns SSRC, index and the signing key,
// which is born in memory and never leaves it.
//
// It decides nothing about who may speak or where: package session does, and one transmission lives as long as its
// Run. A continued session is a new transmission with a new key.
package origin

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	"dongthanh/codec"
	"dongthanh/internal/cluster"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seal"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/voice"
)

// frame is the time of one codec frame, the step in which sound is pulled.
const frame = 20 * time.Millisecond

// early is how many seconds before the first sample a certificate begins to hold, for nodes whose clock is behind.
const early = 5

// ErrTooLong ends a transmission whose certificate is about to end: no loudspeaker would play the rest.
var ErrTooLong = errors.New("transmission has lasted as long as its certificate")

// Source is sound that never blocks: ingest.Source as far as a transmission needs it. Read fills one frame of 960
// samples; io.EOF tells that the sound has ended.
type Source interface{ Read(frame []float32) error }

// Issuer signs session certificates. issuer is the certificate of whoever signed, DER, which goes out beside raw.
type Issuer interface {
	Session(signed.SessionCert) (raw, issuer []byte, err error)
}

// Sink is the first fan-out: cluster.Hub as a transmission sees it. None of the calls blocks.
type Sink interface {
	Open(*cluster.Transmission)
	Media(packet.Packet)
	Beacon(b wire.BeaconBody, body []byte)
}

// Plan is what a transmission is to be.
type Plan struct {
	Session  [16]byte
	Zones    []zone.Zone
	KeyZone  zone.Zone
	Epoch    uint32
	Secret   [seal.SecretLen]byte // of KeyZone in Epoch
	Kind     signed.Kind
	Class    signed.Class
	Level    uint8
	Fence    uint64
	Delay    time.Duration
	Frames   int // per packet: 2, or 1 where latency counts most
	Voice    voice.Options
	Opening  []float32 // PCM that is sent first, as it is: whole frames, mono at 48 kHz; only read
	RealTime bool      // the source runs on meanwhile, and what it says then is lost
	Encoder  codec.EncoderConfig
	Validity time.Duration
	// Tap, if set, is called from Run's goroutine with each Opus packet before it is sealed, and with how many samples the
	// packets before it held. opus is the transmission's and changes after the call, which must never block.
	Tap func(sample int64, opus []byte)
}

// Transmission is one incarnation of a session on air.
type Transmission struct {
	plan   Plan
	issuer Issuer
	sink   Sink
	now    func() mediaclock.Instant

	id    packet.TransmissionID
	key   ed25519.PrivateKey
	media *seal.Key
	mki   packet.MKI
	cert  signed.SessionCert
	first seq.Index

	encoder *codec.Encoder
	voice   *voice.Processor
	level   level // of the newest packet

	plain [codec.MaxPacketBytes]byte // Opus packet being made
	out   [packet.MaxLen]byte        // datagram being made; Sink.Media copies it

	beacons []wire.BeaconBody // of the certificate, then of its issuer
	lastAt  mediaclock.Instant
	highest seq.Index
}

// New prepares a transmission: id, key and codec. now is network time.
func New(plan Plan, issuer Issuer, sink Sink, now func() mediaclock.Instant) (*Transmission, error) {
	t := &Transmission{plan: plan, issuer: issuer, sink: sink, now: now, mki: packet.MakeMKI(plan.KeyZone.Level(), plan.Epoch)}
	var random [16 + 4 + 4 + 2]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	copy(t.id[:], random[:16])
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("make transmission key: %w", err)
	}
	t.key = key
	t.cert = signed.SessionCert{
		Version: 1, Transmission: t.id, Session: plan.Session, PublicKey: pub,
		SSRC:  binary.BigEndian.Uint32(random[16:]),
		TS0:   mediaclock.Timestamp(binary.BigEndian.Uint32(random[20:])),
		Zones: plan.Zones, KeyZone: plan.KeyZone, Kind: plan.Kind, Class: plan.Class, Level: plan.Level,
		Fence: plan.Fence, DelayMS: uint32(plan.Delay.Milliseconds()),
		// Random within the lower half, as RFC 3550 §5.1 asks of a sequence number, and never 0: the index before the
		// first one has a meaning in beacons.
		Index0: 1 + uint64(binary.BigEndian.Uint16(random[24:])>>1),
		Packet: uint16(plan.Frames * codec.FrameSamples),
	}
	t.first = seq.Index(t.cert.Index0)
	t.highest = t.first - 1
	if t.media, err = seal.Derive(plan.Secret, t.id, t.cert.SSRC, plan.Fence); err != nil {
		return nil, err
	}
	if len(plan.Opening)%codec.FrameSamples != 0 {
		return nil, fmt.Errorf("opening of %d samples: want whole frames of %d", len(plan.Opening), codec.FrameSamples)
	}
	cfg := plan.Encoder
	cfg.FramesPerPacket = plan.Frames
	if t.encoder, err = codec.NewEncoder(cfg); err != nil {
		return nil, fmt.Errorf("open encoder: %w", err)
	}
	t.voice = voice.New(plan.Voice)
	t.level.set(voice.Silence())
	return t, nil
}

// ID returns the transmission's id.
func (t *Transmission) ID() packet.TransmissionID { return t.id }

// Level returns the level of the newest sound, as listeners get it. Safe from any goroutine.
func (t *Transmission) Level() voice.Level { return t.level.get() }

// level is a voice.Level that one goroutine sets and any reads, without a lock and without memory. A reader may meet
// values of two packets, which nobody sees on a meter.
type level struct{ rms, peak, momentary atomic.Uint64 }

func (l *level) set(v voice.Level) {
	l.rms.Store(math.Float64bits(v.RMS))
	l.peak.Store(math.Float64bits(v.Peak))
	l.momentary.Store(math.Float64bits(v.Momentary))
}

func (l *level) get() voice.Level {
	return voice.Level{
		RMS: math.Float64frombits(l.rms.Load()), Peak: math.Float64frombits(l.peak.Load()),
		Momentary: math.Float64frombits(l.momentary.Load()),
	}
}

// Progress tells a Run's caller how far the transmission has come. The calls come from Run's goroutine.
type Progress struct {
	OnAir func()                       // the first packet was sent
	Ended func(due mediaclock.Instant) // the last packet was sent; its last sample is due at due
}

// Run transmits src from now on until it ends or ctx does, and returns nil in both cases: a cancelled transmission
// just falls silent, since it is the signed stop that ends it everywhere. Any other error is the source's or the
// issuer's.
func (t *Transmission) Run(ctx context.Context, src Source, p Progress) error {
	if err := t.open(); err != nil {
		return err
	}
	var (
		pcm   = make([]float32, t.plan.Frames*codec.FrameSamples)
		tail  = (t.voice.Delay() + codec.PreSkip + codec.FrameSamples - 1) / codec.FrameSamples
		left  = -1 // frames until the end, once the source has ended
		timer = time.NewTimer(0)
	)
	defer timer.Stop()
	<-timer.C
	for n := 0; ; n++ {
		if !t.wait(ctx, timer, t.cert.T0.Add(time.Duration(n)*frame)) {
			return nil
		}
		if time.Duration(n)*frame >= t.plan.Validity-2*early*time.Second {
			return ErrTooLong
		}
		t.beacon(n)
		part := pcm[n%t.plan.Frames*codec.FrameSamples:][:codec.FrameSamples]
		var loud voice.Level
		if at := n * codec.FrameSamples; at < len(t.plan.Opening) {
			if t.plan.RealTime {
				_ = src.Read(part) // an error comes again when the source's turn has come
			}
			copy(part, t.plan.Opening[at:])
			loud = t.voice.Through(part)
		} else {
			switch err := src.Read(part); {
			case errors.Is(err, io.EOF) && left < 0:
				left = tail // what voice and codec still hold comes out with as much silence
			case err != nil && !errors.Is(err, io.EOF):
				return fmt.Errorf("read sound: %w", err)
			}
			loud = t.voice.Process(part)
		}
		if (n+1)%t.plan.Frames == 0 {
			t.level.set(loud)
			if err := t.emit(pcm, left == 0, n == t.plan.Frames-1); err != nil {
				return err
			}
			if n == t.plan.Frames-1 && p.OnAir != nil {
				p.OnAir()
			}
			if left == 0 {
				if p.Ended != nil {
					p.Ended(signedEnd(t.cert, t.highest))
				}
				return nil
			}
		}
		if left > 0 {
			left--
		}
	}
}

// signedEnd is the instant at which the packet after the given one would be due.
func signedEnd(c signed.SessionCert, highest seq.Index) mediaclock.Instant {
	return c.PlayAt(uint64(highest) + 1)
}

// open fixes the time map at this instant, has the certificate signed and announces it.
func (t *Transmission) open() error {
	t.cert.T0 = t.now()
	second := int64(t.cert.T0) / int64(time.Second)
	t.cert.NotBefore = second - early
	t.cert.NotAfter = t.cert.NotBefore + int64(t.plan.Validity/time.Second)
	raw, der, err := t.issuer.Session(t.cert)
	if err != nil {
		return fmt.Errorf("sign session certificate: %w", err)
	}
	t.beacons = append(objectBeacons(t.id, wire.ObjectSession, raw), objectBeacons(t.id, wire.ObjectIssuer, der)...)
	t.sink.Open(&cluster.Transmission{Cert: t.cert, Raw: raw, Issuer: der})
	return nil
}

// wait sleeps until the network time due; false if ctx ended first.
func (t *Transmission) wait(ctx context.Context, timer *time.Timer, due mediaclock.Instant) bool {
	d := due.Sub(t.now())
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer.Reset(d)
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// emit encodes, seals, signs and sends one packet of sound.
func (t *Transmission) emit(pcm []float32, last, marker bool) error {
	size, err := t.encoder.Encode(pcm, t.plain[:])
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	i := t.highest + 1
	if t.plan.Tap != nil {
		t.plan.Tap(int64(i-t.first)*int64(t.plan.Frames*codec.FrameSamples), t.plain[:size]) // #nosec G115 -- hours of packets
	}
	h := packet.Header{
		Index: i, Timestamp: t.cert.Timestamp(uint64(i)), SSRC: t.cert.SSRC, Marker: marker, Last: last,
	}
	head, plain, sealed := t.out[:packet.HeaderLen], t.plain[:size], t.out[packet.HeaderLen:packet.HeaderLen+size]
	h.Put(head)
	t.media.Encrypt(sealed, plain, h.SSRC, i)
	packet.Sign(t.key, t.id, t.mki, head, sealed)
	datagram := t.media.Seal(head, head, plain, h.SSRC, i)
	datagram = binary.BigEndian.AppendUint32(datagram, uint32(t.mki))
	p, err := packet.Parse(datagram)
	if err != nil {
		return fmt.Errorf("packet of %d bytes: %w", len(datagram), err)
	}
	t.highest = i
	t.sink.Media(p)
	return nil
}
