package signed

import (
	"errors"
	"fmt"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/zone"
)

// Stop ends transmissions for good. An issuer signs it; it travels by control, in-band and inside beacons, and any
// one copy suffices.
type Stop struct {
	Version       uint8              `cbor:"1,keyasint"`
	Transmissions [][16]byte         `cbor:"2,keyasint"` // 1 to 16
	At            mediaclock.Instant `cbor:"3,keyasint"` // when it was ordered
	Critical      []int              `cbor:"4,keyasint,omitempty"`
}

func (Stop) context() string        { return "dongthanh stop v1" }
func (s Stop) fields() (int, []int) { return 4, s.Critical }

func (s Stop) check() error {
	if s.Version != 1 || len(s.Transmissions) < 1 || len(s.Transmissions) > 16 {
		return fmt.Errorf("stop version %d of %d transmissions", s.Version, len(s.Transmissions))
	}
	return nil
}

// ZoneKey carries one zone's secret to one node: an HPKE envelope (RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256),
// HKDF-SHA256, AES-128-GCM) that only that node can open, signed by an issuer.
type ZoneKey struct {
	Version  uint8     `cbor:"1,keyasint"`
	Node     string    `cbor:"2,keyasint"`
	Zone     zone.Zone `cbor:"3,keyasint"`
	Epoch    uint32    `cbor:"4,keyasint"` // 24 bits
	Sealed   []byte    `cbor:"5,keyasint"` // encapsulated key ‖ ciphertext, as crypto/hpke.Seal gives
	Critical []int     `cbor:"6,keyasint,omitempty"`
}

func (ZoneKey) context() string        { return "dongthanh zone key v1" }
func (k ZoneKey) fields() (int, []int) { return 6, k.Critical }

// HPKEInfo is the info string that binds an envelope to its node, zone and epoch.
func (k ZoneKey) HPKEInfo() []byte {
	return fmt.Appendf(nil, "dongthanh zone key v1\x00%s\x00%s\x00%d", k.Node, k.Zone, k.Epoch)
}

func (k ZoneKey) check() error {
	if k.Version != 1 || k.Node == "" || len(k.Node) > MaxNodeID || k.Epoch >= 1<<24 || len(k.Sealed) == 0 || len(k.Sealed) > 256 {
		return errors.New("zone key: version, node, epoch or envelope out of bounds")
	}
	_, err := zone.Parse(string(k.Zone))
	return err
}

// MaxNodeID bounds a node's id in bytes.
const MaxNodeID = 40

// Bounds of an order. A validity of a few minutes keeps a replay short where a loudspeaker has lost its count, and is
// long enough for one that has just joined to learn the time.
const (
	MinVolume     = -6000 // hundredths of a decibel
	MaxTone       = 10 * time.Second
	OrderValidity = 5 * time.Minute // the longest
)

// Order tells one loudspeaker how to sound. An issuer signs it; each field but the first five may be absent and then
// changes nothing, so that a later version can add its own (hours, ceilings) under the same number and validity.
type Order struct {
	Version  uint8              `cbor:"1,keyasint"`
	Node     string             `cbor:"2,keyasint"`
	Number   uint64             `cbor:"3,keyasint"`           // rises with each order to this node; one no higher than the highest is ignored
	At       mediaclock.Instant `cbor:"4,keyasint"`           // when it was given
	NotAfter mediaclock.Instant `cbor:"5,keyasint"`           // at most OrderValidity later
	Volume   *int32             `cbor:"6,keyasint,omitempty"` // hundredths of a decibel, MinVolume to 0; stays until the next
	ToneMS   uint16             `cbor:"7,keyasint,omitempty"` // sound a test tone for so long, at most MaxTone, if nothing is on air
	Critical []int              `cbor:"8,keyasint,omitempty"`
}

func (Order) context() string        { return "dongthanh order v1" }
func (o Order) fields() (int, []int) { return 8, o.Critical }

// Tone is how long the test tone is to sound; 0: it is not asked for.
func (o Order) Tone() time.Duration { return time.Duration(o.ToneMS) * time.Millisecond }

func (o Order) check() error {
	switch {
	case o.Version != 1 || o.Node == "" || len(o.Node) > MaxNodeID || o.Number == 0:
		return errors.New("order: version, node or number out of bounds")
	case o.At < 0 || o.NotAfter < o.At || o.NotAfter.Sub(o.At) > OrderValidity:
		return fmt.Errorf("order: validity is negative or longer than %v", OrderValidity)
	case o.Volume != nil && !ValidVolume(*o.Volume):
		return fmt.Errorf("order: volume %d", *o.Volume)
	case o.Tone() > MaxTone:
		return fmt.Errorf("order: tone of %v", o.Tone())
	}
	return nil
}

// ValidVolume reports whether v, in hundredths of a decibel, is a volume that a loudspeaker can be set to.
func ValidVolume(v int32) bool { return MinVolume <= v && v <= 0 }

// Report is what a loudspeaker itself says of what it hears. It signs it with its device key, and relays forward it
// unaltered. Counts are totals of 20 ms frames of this transmission since the loudspeaker admitted it. One without a
// transmission tells of the loudspeaker alone: after a join and after an order.
type Report struct {
	Version      uint8              `cbor:"1,keyasint"`
	Node         string             `cbor:"2,keyasint"`
	Number       uint64             `cbor:"3,keyasint"` // rises with each report of this node; an older one is ignored
	Transmission [16]byte           `cbor:"4,keyasint"`
	Hearing      bool               `cbor:"5,keyasint"` // frames of it are sounding now
	At           mediaclock.Instant `cbor:"6,keyasint"`
	Highest      uint64             `cbor:"7,keyasint"` // highest packet index verified
	Played       uint32             `cbor:"8,keyasint"`
	Repaired     uint32             `cbor:"9,keyasint"`
	Concealed    uint32             `cbor:"10,keyasint"`
	Late         uint32             `cbor:"11,keyasint"`
	RTTMicros    uint32             `cbor:"12,keyasint"` // to its active upstream
	LossPermille uint16             `cbor:"13,keyasint"` // before repair, over the last seconds
	ClockMicros  int32              `cbor:"14,keyasint"` // estimated error of its playout instant
	ArrivalMS    uint32             `cbor:"15,keyasint"` // median time from entry into the encoder to arrival
	Critical     []int              `cbor:"16,keyasint,omitempty"`
	Volume       *int32             `cbor:"17,keyasint,omitempty"` // in force, in hundredths of a decibel; absent: an earlier version
	Order        uint64             `cbor:"18,keyasint,omitempty"` // highest Order.Number taken; the next order must be higher
}

func (Report) context() string        { return "dongthanh report v1" }
func (r Report) fields() (int, []int) { return 18, r.Critical }

func (r Report) check() error {
	if r.Version != 1 || r.Node == "" || len(r.Node) > MaxNodeID || r.LossPermille > 1000 || r.Volume != nil && !ValidVolume(*r.Volume) {
		return errors.New("report: version, node, loss or volume out of bounds")
	}
	return nil
}
