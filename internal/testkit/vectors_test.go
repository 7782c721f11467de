package testkit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seal"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

var update = flag.Bool("update", false, "write docs/protocol/vectors.json anew")

// vector is one example of docs/protocol/vectors.json: bytes, and what a receiver must read in them.
type vector struct {
	Name  string         `json:"name"`
	Bytes string         `json:"bytes"`
	Read  map[string]any `json:"read"`
}

// vectors is the whole file.
type vectors struct {
	About   string            `json:"about"`
	Keys    map[string]string `json:"keys"`
	Vectors []vector          `json:"vectors"`
}

// Fixed inputs. The private keys are a single byte repeated, so that nobody takes them for anything.
var (
	transmissionKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	issuerKey       = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	nodeKey         = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32))
	flowKey         = [32]byte(bytes.Repeat([]byte{4}, 32))
	zoneSecret      = [32]byte(bytes.Repeat([]byte{5}, 32))
	transmission    = packet.TransmissionID(bytes.Repeat([]byte{6}, 16))
	issuerID        = bytes.Repeat([]byte{7}, 32)
	flowID          = wire.FlowID(bytes.Repeat([]byte{8}, 8))
)

const (
	vectorSSRC  = 0x0a0b0c0d
	vectorFence = 77
)

func vectorCert() signed.SessionCert {
	return signed.SessionCert{
		Version: 1, Transmission: transmission, Session: [16]byte{9}, SSRC: vectorSSRC, PublicKey: transmissionKey.Public().(ed25519.PublicKey),
		Zones: []zone.Zone{"31/11296/01", "31/11296/02"}, KeyZone: "31/11296", Class: signed.ClassPriority, Level: 2, Fence: vectorFence,
		NotBefore: 1_795_000_000, NotAfter: 1_795_014_400, DelayMS: 400, TS0: 4_294_967_000, T0: 1_795_000_005_000_000_000, Index0: 65_535, Packet: 1920,
	}
}

func TestVectors(t *testing.T) {
	got := vectors{
		About: "Examples for docs/protocol.md. All bytes are hex. Private keys are Ed25519 seeds.",
		Keys: map[string]string{
			"transmission_seed": hex.EncodeToString(transmissionKey.Seed()), "issuer_seed": hex.EncodeToString(issuerKey.Seed()),
			"node_seed": hex.EncodeToString(nodeKey.Seed()), "flow_key": hex.EncodeToString(flowKey[:]), "zone_secret": hex.EncodeToString(zoneSecret[:]),
			"transmission": hex.EncodeToString(transmission[:]), "issuer_id": hex.EncodeToString(issuerID),
		},
	}
	master, err := seal.Master(zoneSecret, transmission, vectorSSRC, vectorFence)
	if err != nil {
		t.Fatal(err)
	}
	got.Keys["srtp_master_key"], got.Keys["srtp_master_salt"] = hex.EncodeToString(master[:16]), hex.EncodeToString(master[16:])
	add := func(name string, b []byte, read map[string]any) {
		got.Vectors = append(got.Vectors, vector{name, hex.EncodeToString(b), read})
	}
	addMedia(t, add)
	addObjects(t, add)
	addDatagrams(add)

	path := filepath.Join("..", "..", "docs", "protocol", "vectors.json")
	if *update {
		b, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want, normal vectors
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(got) // numbers as JSON has them
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &normal); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, normal); diff != "" {
		t.Errorf("the formats have changed, which they must not:\n%s", diff)
	}
}

func addMedia(t *testing.T, add func(string, []byte, map[string]any)) {
	t.Helper()
	key, err := seal.Derive(zoneSecret, transmission, vectorSSRC, vectorFence)
	if err != nil {
		t.Fatal(err)
	}
	payload := []byte("\x09 not Opus, but as good for a test")
	cert := vectorCert()
	for _, c := range []struct {
		name  string
		clear bool
		index seq.Index
		last  bool
	}{{"media packet", false, 65_535, false}, {"media packet, across the wrap, last", false, 65_536, true}, {"media packet, clear profile", true, 65_537, false}} {
		h := packet.Header{
			Index: c.index, Timestamp: cert.Timestamp(uint64(c.index)), SSRC: vectorSSRC, Marker: c.index == 65_535, Last: c.last, Clear: c.clear,
		}
		b := make([]byte, packet.HeaderLen, packet.MaxLen)
		h.Put(b)
		if c.clear {
			packet.Sign(transmissionKey, transmission, 0, b, payload)
			b = append(b, payload...)
		} else {
			mki := packet.MakeMKI(2, 3)
			ciphertext := make([]byte, len(payload))
			key.Encrypt(ciphertext, payload, vectorSSRC, c.index)
			packet.Sign(transmissionKey, transmission, mki, b, ciphertext)
			b = key.Seal(b, b, payload, vectorSSRC, c.index)
			b = binary.BigEndian.AppendUint32(b, uint32(mki))
		}
		p, err := packet.Parse(b)
		if err != nil || !p.Verify(cert.Key(), transmission) {
			t.Fatalf("%s: %v, or its signature does not hold", c.name, err)
		}
		add(c.name, b, map[string]any{
			"index": uint64(p.Index), "timestamp": uint32(p.Timestamp), "ssrc": p.SSRC, "marker": p.Marker, "last": p.Last, "clear": p.Clear,
			"mki": uint32(p.MKI), "payload": hex.EncodeToString(payload), "play_at": int64(cert.PlayAt(uint64(p.Index))),
		})
	}
}

// objects are one of each kind. ZoneKey's envelope is a fixed string: HPKE draws a fresh key each time.
func addObjects(t *testing.T, add func(string, []byte, map[string]any)) {
	t.Helper()
	cert := vectorCert()
	volume := int32(-600)
	for _, c := range []struct {
		name   string
		body   signed.Body
		signer []byte
		key    ed25519.PrivateKey
		read   map[string]any
	}{
		{"session certificate", cert, issuerID, issuerKey, map[string]any{
			"zones": cert.Zones, "key_zone": cert.KeyZone, "class": 1, "fence": vectorFence, "delay_ms": 400, "index0": 65_535,
		}},
		{"stop", signed.Stop{Version: 1, Transmissions: [][16]byte{transmission}, At: 1_795_000_010_000_000_000}, issuerID, issuerKey, map[string]any{
			"transmissions": []string{hex.EncodeToString(transmission[:])}, "at": 1_795_000_010_000_000_000,
		}},
		{"zone key", signed.ZoneKey{Version: 1, Node: "node-1", Zone: "31/11296", Epoch: 3, Sealed: bytes.Repeat([]byte{0xee}, 80)}, issuerID, issuerKey, map[string]any{
			"node": "node-1", "zone": "31/11296", "epoch": 3, "hpke_info": hex.EncodeToString(signed.ZoneKey{Node: "node-1", Zone: "31/11296", Epoch: 3}.HPKEInfo()),
		}},
		{"revocation", signed.Revocation{Version: 1, Nodes: []string{"node-1", "node-2"}, At: 1_795_000_020_000_000_000}, issuerID, issuerKey, map[string]any{
			"nodes": []string{"node-1", "node-2"}, "at": 1_795_000_020_000_000_000,
		}},
		{"report", signed.Report{
			Version: 1, Node: "node-1", Number: 12, Transmission: transmission, Hearing: true, At: 1_795_000_008_000_000_000, Highest: 65_600,
			Played: 120, Repaired: 2, Concealed: 1, RTTMicros: 900, LossPermille: 15, ClockMicros: -40, ArrivalMS: 62,
		}, []byte("node-1"), nodeKey, map[string]any{"node": "node-1", "number": 12, "hearing": true, "played": 120}},
		{"order, volume", signed.Order{
			Version: 1, Node: "node-1", Number: 1_795_000_020_000_000_000, At: 1_795_000_020_000_000_000, NotAfter: 1_795_000_320_000_000_000, Volume: &volume,
		}, issuerID, issuerKey, map[string]any{
			"node": "node-1", "number": 1_795_000_020_000_000_000, "at": 1_795_000_020_000_000_000, "not_after": 1_795_000_320_000_000_000, "volume": -600,
		}},
		{"order, test tone", signed.Order{
			Version: 1, Node: "node-1", Number: 1_795_000_030_000_000_000, At: 1_795_000_030_000_000_000, NotAfter: 1_795_000_040_000_000_000, ToneMS: 3000,
		}, issuerID, issuerKey, map[string]any{"node": "node-1", "number": 1_795_000_030_000_000_000, "tone_ms": 3000}},
		{"report of no transmission", signed.Report{
			Version: 1, Node: "node-1", Number: 13, At: 1_795_000_020_100_000_000, Volume: &volume, Order: 1_795_000_020_000_000_000,
		}, []byte("node-1"), nodeKey, map[string]any{"node": "node-1", "number": 13, "volume": -600, "order": 1_795_000_020_000_000_000}},
	} {
		raw, err := signed.Sign(c.body, c.signer, c.key)
		if err != nil {
			t.Fatal(err)
		}
		add(c.name, raw, c.read)
	}
}

func addDatagrams(add func(string, []byte, map[string]any)) {
	up, down := wire.NewKey(flowKey, wire.Up), wire.NewKey(flowKey, wire.Down)
	object := []byte("any signed object")
	sum := sha256.Sum256(object)
	beacon := wire.Fragments(transmission, wire.ObjectSession, [16]byte(sum[:16]), object)[0]
	beacon.At, beacon.Highest = 1_795_000_006_000_000_000, 65_560
	for _, c := range []struct {
		name string
		key  *wire.Key
		typ  wire.Type
		body []byte
		read map[string]any
	}{
		{"PING", up, wire.Ping, wire.PingBody{T1: 123_456_789, Active: true}.Append(nil), map[string]any{"t1": 123_456_789, "active": true}},
		{"PONG", down, wire.Pong, wire.PongBody{
			T1: 123_456_789, T2: 1_795_000_006_000_000_000, T3: 1_795_000_006_000_020_000, Synced: true, Bound: true, ErrorNS: 50_000,
			Observed: netip.MustParseAddrPort("203.0.113.9:40000"),
		}.Append(nil), map[string]any{"t1": 123_456_789, "t2": 1_795_000_006_000_000_000, "t3": 1_795_000_006_000_020_000, "observed": "203.0.113.9:40000"}},
		{"CHALLENGE", down, wire.Challenge, bytes.Repeat([]byte{0xc0}, 16), map[string]any{}},
		{"CHALLENGE, the echo", up, wire.Challenge, bytes.Repeat([]byte{0xc0}, 16), map[string]any{}},
		{"NACK", up, wire.Nack, wire.NackBody{SSRC: vectorSSRC, Base: 65_540, Bitmap: 0b101}.Append(nil), map[string]any{"ssrc": vectorSSRC, "missing": []int{65_540, 65_542}}},
		{"RESUME", up, wire.Resume, wire.ResumeBody{SSRC: vectorSSRC, From: 65_541}.Append(nil), map[string]any{"ssrc": vectorSSRC, "from": 65_541}},
		{"MUTE", up, wire.Mute, wire.MuteBody{SSRC: 0, On: true}.Append(nil), map[string]any{"ssrc": 0, "on": true}},
		{"REPORT", up, wire.Report, object, map[string]any{"object": hex.EncodeToString(object)}},
		{"BEACON", down, wire.Beacon, beacon.Append(nil, transmissionKey), map[string]any{
			"at": 1_795_000_006_000_000_000, "highest": 65_560, "kind": 1, "object": hex.EncodeToString(object),
		}},
		{"STOP", down, wire.Stop, object, map[string]any{"object": hex.EncodeToString(object)}},
	} {
		add(c.name, c.key.Append(nil, wire.Header{Type: c.typ, Flow: flowID, Counter: wire.MakeCounter(2, 5)}, c.body), c.read)
	}
}

func vectorCertTimestamp(i seq.Index) mediaclock.Timestamp {
	c := vectorCert()
	return c.Timestamp(uint64(i))
}
