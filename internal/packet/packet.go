// Package packet is the media packet: its layout on the wire and the Ed25519 signature over it. It holds no media
// key and never decrypts, so relays use it; package seal does the encryption.
//
// The layout is fixed (docs/protocol.md §3), so parsing is a comparison of constant bytes and nothing is sized by a
// number that a stranger wrote.
package packet

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

// Sizes in bytes. MaxLen keeps a packet whole on any IPv4 path of 576 bytes.
const (
	HeaderLen  = 88 // RTP header (12) and the header extension with the signature (76)
	TagLen     = 16 // GCM tag, RFC 7714 §13.2
	MKILen     = 4  // RFC 3711 §3.1
	TrailerLen = TagLen + MKILen
	MaxLen     = 548
	MaxPayload = MaxLen - HeaderLen - TrailerLen // Opus bytes in one packet
	minLen     = HeaderLen + 1

	// PayloadType is the dynamic RTP payload type of our Opus.
	PayloadType = 111

	version      = 1
	flagLast     = 1 << 0
	flagClear    = 1 << 1
	signatureOff = HeaderLen - ed25519.SignatureSize
)

// signContext separates packet signatures from every other use of a key.
const signContext = "PA-RTP-SIG v1\x00"

// ErrMalformed is returned for bytes that are not one of our media packets. It is one value, since it happens at the
// rate a stranger chooses.
var ErrMalformed = errors.New("not a media packet")

// TransmissionID is the random id of one streamer's incarnation of a session. It is signed with each packet and goes
// into the media key, so that no two transmissions ever share a nonce.
type TransmissionID [16]byte

// MKI names the key of an encrypted packet: level of the key zone (8 bits) ‖ epoch (24 bits).
type MKI uint32

// MakeMKI joins the depth of the key zone and its epoch, of which 24 bits count.
func MakeMKI(level int, epoch uint32) MKI { return MKI(uint32(level)<<24 | epoch&0xffffff) }

// Level is the depth of the key zone.
func (m MKI) Level() int { return int(m >> 24) }

// Epoch is the generation of the zone's key.
func (m MKI) Epoch() uint32 { return uint32(m & 0xffffff) }

// Header is what a packet says of itself, in the clear.
type Header struct {
	Index     seq.Index
	Timestamp mediaclock.Timestamp // of the packet's first sample
	SSRC      uint32
	Marker    bool  // first packet after silence (RFC 7587 §4.2)
	Last      bool  // last packet of the transmission
	Clear     bool  // the clear profile: no encryption, no tag, no MKI
	KeyID     uint8 // which of the transmission's signing keys; 0 today
}

// Put writes the header with an empty signature into dst, which must hold HeaderLen bytes.
func (h Header) Put(dst []byte) {
	_ = dst[HeaderLen-1]
	dst[0], dst[1] = 0x90, PayloadType // version 2, extension
	if h.Marker {
		dst[1] |= 0x80
	}
	binary.BigEndian.PutUint16(dst[2:], uint16(h.Index.Seq()))
	binary.BigEndian.PutUint32(dst[4:], uint32(h.Timestamp))
	binary.BigEndian.PutUint32(dst[8:], h.SSRC)
	copy(dst[12:], fixed[:])
	dst[18] = version<<4 | h.flags()
	dst[19] = h.KeyID
	binary.BigEndian.PutUint32(dst[20:], h.Index.ROC())
	clear(dst[signatureOff:HeaderLen])
}

// fixed is RFC 8285's two-byte form (0x1000, 18 words) with our one element: id 1, 70 bytes long. Its first byte is
// version (4 bits) ‖ flags (4 bits).
var fixed = [6]byte{0x10, 0x00, 0, 18, 1, 70}

func (h Header) flags() (f byte) {
	if h.Last {
		f |= flagLast
	}
	if h.Clear {
		f |= flagClear
	}
	return f
}

// Packet is a parsed media packet. It is a view: the slices share the datagram's memory and live as long as it does.
type Packet struct {
	Header
	MKI     MKI    // 0 in the clear profile
	Raw     []byte // the whole datagram
	Payload []byte // ciphertext without tag; in the clear profile the Opus packet
}

// Parse reads one datagram. It allocates nothing and believes nothing: the caller still checks window, signature and
// tag. The only error is ErrMalformed.
func Parse(b []byte) (Packet, error) {
	if len(b) < minLen || len(b) > MaxLen || b[0] != 0x90 || b[1]&0x7f != PayloadType ||
		[6]byte(b[12:18]) != fixed || b[18]&^(flagLast|flagClear) != version<<4 {
		return Packet{}, ErrMalformed
	}
	p := Packet{
		Header: Header{
			Index:     seq.MakeIndex(binary.BigEndian.Uint32(b[20:]), seq.Seq(binary.BigEndian.Uint16(b[2:]))),
			Timestamp: mediaclock.Timestamp(binary.BigEndian.Uint32(b[4:])),
			SSRC:      binary.BigEndian.Uint32(b[8:]),
			Marker:    b[1]&0x80 != 0,
			Last:      b[18]&flagLast != 0,
			Clear:     b[18]&flagClear != 0,
			KeyID:     b[19],
		},
		Raw: b,
	}
	if p.Clear {
		p.Payload = b[HeaderLen:]
		return p, nil
	}
	if len(b) < minLen+TrailerLen {
		return Packet{}, ErrMalformed
	}
	p.Payload = b[HeaderLen : len(b)-TrailerLen]
	p.MKI = MKI(binary.BigEndian.Uint32(b[len(b)-MKILen:]))
	return p, nil
}

// Head returns the header's bytes, the additional data of the encryption.
func (p Packet) Head() []byte { return p.Raw[:HeaderLen] }

// Sealed returns ciphertext and tag, what package seal opens.
func (p Packet) Sealed() []byte { return p.Raw[HeaderLen : len(p.Raw)-MKILen] }

// Sign writes the signature into head, which Put has filled, over transmission, key name, header and ciphertext.
// It signs the ciphertext, so that a relay can check it without the media key.
func Sign(key ed25519.PrivateKey, id TransmissionID, mki MKI, head, ciphertext []byte) {
	var buf [signedMax]byte
	copy(head[signatureOff:], ed25519.Sign(key, signedBytes(buf[:0], id, mki, head, ciphertext)))
}

// Verify reports whether the packet was signed with pub's key for this transmission.
func (p Packet) Verify(pub ed25519.PublicKey, id TransmissionID) bool {
	var buf [signedMax]byte
	return ed25519.Verify(pub, signedBytes(buf[:0], id, p.MKI, p.Head(), p.Payload), p.Raw[signatureOff:HeaderLen])
}

const signedMax = len(signContext) + 16 + MKILen + MaxLen

// signedBytes appends what is signed: the header counts with an empty signature.
func signedBytes(buf []byte, id TransmissionID, mki MKI, head, ciphertext []byte) []byte {
	var none [ed25519.SignatureSize]byte
	buf = append(buf, signContext...)
	buf = append(buf, id[:]...)
	buf = binary.BigEndian.AppendUint32(buf, uint32(mki))
	buf = append(buf, head[:signatureOff]...)
	buf = append(buf, none[:]...)
	return append(buf, ciphertext...)
}
