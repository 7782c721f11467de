package loudspeaker

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
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
)

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
