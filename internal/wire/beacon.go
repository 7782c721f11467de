package wire

import (
	"crypto/ed25519"
	"encoding/binary"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

// ObjectKind tells what a beacon carries.
type ObjectKind uint8

// The objects of a beacon.
const (
	ObjectSession   ObjectKind = 1 // signed.SessionCert
	ObjectIssuer    ObjectKind = 2 // X.509 certificate of the issuer, DER
	ObjectAssertion ObjectKind = 3
	ObjectStop      ObjectKind = 4 // signed.Stop
)

// BeaconBody is the streamer's word, once a second for each transmission, signed with the transmission's key: the
// network time, how far the sound has come, and one signed object or a fragment of one. Relays pass the body on
// unaltered, each with its own flow's tag.
type BeaconBody struct {
	Transmission [16]byte
	At           mediaclock.Instant // network time when it was made; rises strictly
	Highest      seq.Index          // newest media packet sent; Index0 − 1 before the first
	Kind         ObjectKind
	Hash         [16]byte // first half of the object's SHA-256
	Fragment     uint8    // 0 … Fragments−1
	Fragments    uint8
	Length       uint16 // of the whole object
	Part         []byte // the fragment's bytes, at offset Fragment × MaxFragment
	signature    [ed25519.SignatureSize]byte
	signed       []byte // as received
}

const (
	beaconFixed = 16 + 8 + 6 + 1 + 16 + 1 + 1 + 2
	// MaxFragment is the most an object's fragment holds; all but the last hold exactly as much.
	MaxFragment  = MaxBody - beaconFixed - ed25519.SignatureSize
	maxFragments = 8
	signBeacon   = "dongthanh beacon v1\x00"
)

// MaxObject is the largest object that a beacon's fragments can carry.
const MaxObject = maxFragments * MaxFragment

// Append signs the beacon with the transmission's key and appends its body to dst.
func (b BeaconBody) Append(dst []byte, key ed25519.PrivateKey) []byte {
	start := len(dst)
	dst = append(dst, b.Transmission[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(b.At))
	dst = binary.BigEndian.AppendUint16(dst, uint16(b.Highest>>32))
	dst = binary.BigEndian.AppendUint32(dst, uint32(b.Highest))
	dst = append(dst, byte(b.Kind))
	dst = append(dst, b.Hash[:]...)
	dst = append(dst, b.Fragment, b.Fragments)
	dst = binary.BigEndian.AppendUint16(dst, b.Length)
	dst = append(dst, b.Part...)
	return append(dst, ed25519.Sign(key, append([]byte(signBeacon), dst[start:]...))...)
}

// ParseBeacon reads a beacon's body, a view on b. Nothing in it may be acted on before Verify, but to gather the
// fragments of the object that names the key.
func ParseBeacon(b []byte) (BeaconBody, error) {
	if len(b) < beaconFixed+ed25519.SignatureSize+1 || len(b) > MaxBody {
		return BeaconBody{}, ErrMalformed
	}
	end := len(b) - ed25519.SignatureSize
	p := BeaconBody{
		Transmission: [16]byte(b),
		At:           mediaclock.Instant(binary.BigEndian.Uint64(b[16:])),
		Highest:      seq.Index(binary.BigEndian.Uint16(b[24:]))<<32 | seq.Index(binary.BigEndian.Uint32(b[26:])),
		Kind:         ObjectKind(b[30]),
		Hash:         [16]byte(b[31:47]),
		Fragment:     b[47],
		Fragments:    b[48],
		Length:       binary.BigEndian.Uint16(b[49:]),
		Part:         b[beaconFixed:end],
		signature:    [ed25519.SignatureSize]byte(b[end:]),
		signed:       b[:end],
	}
	if p.Fragments == 0 || p.Fragments > maxFragments || p.Fragment >= p.Fragments || len(p.Part) != p.partLen() {
		return BeaconBody{}, ErrMalformed
	}
	return p, nil
}

// partLen is the size that the fragment must have, 0 where the length does not fit the number of fragments.
func (b BeaconBody) partLen() int {
	rest := int(b.Length) - int(b.Fragment)*MaxFragment
	if want := (int(b.Length) + MaxFragment - 1) / MaxFragment; want != int(b.Fragments) {
		return 0
	}
	return min(rest, MaxFragment)
}

// Verify reports whether a parsed beacon was signed with pub's key, the key of its transmission.
func (b BeaconBody) Verify(pub ed25519.PublicKey) bool {
	return ed25519.Verify(pub, append([]byte(signBeacon), b.signed...), b.signature[:])
}

// Fragments cuts an object into the parts of its beacons; all fields but At and Highest are filled.
func Fragments(transmission [16]byte, kind ObjectKind, hash [16]byte, object []byte) []BeaconBody {
	n := (len(object) + MaxFragment - 1) / MaxFragment
	bodies := make([]BeaconBody, n)
	for i := range bodies {
		bodies[i] = BeaconBody{
			Transmission: transmission, Kind: kind, Hash: hash,
			Fragment: uint8(i), Fragments: uint8(n), Length: uint16(len(object)),
			Part: object[i*MaxFragment : min(len(object), (i+1)*MaxFragment)],
		}
	}
	return bodies
}
