package signed

import (
	"fmt"

	"dongthanh/internal/mediaclock"
)

// MaxRevoked is how many nodes one revocation names, so that it fits into MaxLen whatever their ids.
const MaxRevoked = 32

// Revocation ends the trust in nodes for good: a relay cuts them and serves them no more. An issuer signs it. It needs no
// number, since a node that is trusted again has been enrolled anew, under another id.
type Revocation struct {
	Version  uint8              `cbor:"1,keyasint"`
	Nodes    []string           `cbor:"2,keyasint"` // ids, 1 to MaxRevoked
	At       mediaclock.Instant `cbor:"3,keyasint"` // when it was signed
	Critical []int              `cbor:"4,keyasint,omitempty"`
}

func (Revocation) context() string        { return "dongthanh revocation v1" }
func (r Revocation) fields() (int, []int) { return 4, r.Critical }

func (r Revocation) check() error {
	if r.Version != 1 || len(r.Nodes) < 1 || len(r.Nodes) > MaxRevoked {
		return fmt.Errorf("revocation version %d of %d nodes", r.Version, len(r.Nodes))
	}
	for _, id := range r.Nodes {
		if id == "" || len(id) > MaxNodeID {
			return fmt.Errorf("revocation of node %q", id)
		}
	}
	return nil
}
