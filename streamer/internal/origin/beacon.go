package origin

import (
	"crypto/sha256"
	"time"

	"dongthanh/internal/packet"
	"dongthanh/internal/wire"
)

// Frames of 20 ms at which beacons are sent: three times in the first 200 ms so that a lost one does not delay the
// first word, then once a second (DESIGN §4).
const (
	burstEvery = 5 // 100 ms
	burstUntil = 10
	beaconGap  = int(time.Second / frame)
)

// objectBeacons cuts one signed object into its beacons.
func objectBeacons(id packet.TransmissionID, kind wire.ObjectKind, object []byte) []wire.BeaconBody {
	sum := sha256.Sum256(object)
	return wire.Fragments(id, kind, [16]byte(sum[:16]), object)
}

// beacon sends what is due before frame n: in the first 200 ms everything three times, then every second the
// certificate and one of the other parts in turn.
func (t *Transmission) beacon(n int) {
	if n <= burstUntil {
		if n%burstEvery == 0 {
			t.sendBeacons(t.beacons)
		}
		return
	}
	if n%beaconGap != 0 {
		return
	}
	t.sendBeacons(t.beacons[:1])
	if others := t.beacons[1:]; len(others) > 0 {
		turn := n / beaconGap % len(others)
		t.sendBeacons(others[turn : turn+1])
	}
}

// Announce sends beacons that carry object, such as a stop, after Run has returned. It is not for use beside Run.
func (t *Transmission) Announce(kind wire.ObjectKind, object []byte) {
	t.sendBeacons(objectBeacons(t.id, kind, object))
}

func (t *Transmission) sendBeacons(bodies []wire.BeaconBody) {
	for _, b := range bodies {
		b.At = max(t.now(), t.lastAt+1) // rises strictly, as receivers demand
		t.lastAt = b.At
		b.Highest = t.highest
		body := b.Append(nil, t.key)
		parsed, err := wire.ParseBeacon(body)
		if err != nil {
			continue // impossible: Append and Parse are held to each other by a test
		}
		t.sink.Beacon(parsed, body)
	}
}
