package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

const (
	saltBytes = 16 // RFC 9106 §3.1
	keyBytes  = 32

	// slots bounds the hashes computed at once: each takes Cost.MemoryKiB, and the machine has sound to send.
	slots = 2
	// waiting bounds the sign-ins that queue for a slot, about 8 s of work; the newest is refused with ErrBusy.
	waiting = 64
)

// Cost are the parameters of argon2id (RFC 9106).
type Cost struct {
	MemoryKiB uint32
	Passes    uint32
	Lanes     uint8
}

// DefaultCost is the second recommendation of RFC 9106 §4 with one lane instead of four, which suits two cores.
func DefaultCost() Cost { return Cost{MemoryKiB: 64 << 10, Passes: 3, Lanes: 1} }

// Bounds of what a stored hash may ask for, so that a row from elsewhere cannot take the machine down.
const (
	maxMemoryKiB = 1 << 20
	maxPasses    = 32
	maxLanes     = 16
)

func (c Cost) validate() error {
	if c.Lanes < 1 || c.Lanes > maxLanes || c.Passes < 1 || c.Passes > maxPasses ||
		c.MemoryKiB < 8*uint32(c.Lanes) || c.MemoryKiB > maxMemoryKiB { // RFC 9106 §3.1: at least 8 blocks a lane
		return fmt.Errorf("argon2id cost m=%d t=%d p=%d is out of bounds", c.MemoryKiB, c.Passes, c.Lanes)
	}
	return nil
}

// hasher computes password hashes, a few at a time.
type hasher struct {
	cost  Cost
	queue chan struct{} // holds one for each caller that waits or works
	slots chan struct{} // holds one for each caller that works
}

func newHasher(c Cost) *hasher {
	return &hasher{cost: c, queue: make(chan struct{}, waiting+slots), slots: make(chan struct{}, slots)}
}

// enter takes a slot. The caller must leave, unless there was an error: ErrBusy or ctx's.
func (h *hasher) enter(ctx context.Context) error {
	select {
	case h.queue <- struct{}{}:
	default:
		return ErrBusy
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-h.queue
		return context.Cause(ctx)
	}
}

func (h *hasher) leave() {
	<-h.slots
	<-h.queue
}

// hash returns the PHC string of a prepared password under a fresh salt.
func (h *hasher) hash(ctx context.Context, password []byte) (string, error) {
	if err := h.enter(ctx); err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	defer h.leave()
	p := phc{cost: h.cost, salt: make([]byte, saltBytes)}
	_, _ = rand.Read(p.salt) // never fails (crypto/rand)
	p.key = p.derive(password, keyBytes)
	return p.String(), nil
}

// verify reports whether password belongs to the PHC string stored, and whether that was made with another cost than
// today's. An empty stored string belongs to nobody and takes the same time to refuse.
func (h *hasher) verify(ctx context.Context, stored string, password []byte) (ok, old bool, err error) {
	p := phc{cost: h.cost, salt: make([]byte, saltBytes), key: make([]byte, keyBytes)}
	if stored == "" {
		_, _ = rand.Read(p.key) // a key that no password has
	} else if p, err = parsePHC(stored); err != nil {
		return false, false, fmt.Errorf("read password hash: %w", err)
	}
	if err := h.enter(ctx); err != nil {
		return false, false, fmt.Errorf("verify password: %w", err)
	}
	defer h.leave()
	got := p.derive(password, len(p.key))
	return subtle.ConstantTimeCompare(got, p.key) == 1 && stored != "", p.cost != h.cost, nil
}

// phc is a password hash with its parameters, as in the PHC string format
// ($argon2id$v=19$m=65536,t=3,p=1$salt$key, base64 without padding).
type phc struct {
	cost      Cost
	salt, key []byte
}

func (p phc) derive(password []byte, n int) []byte {
	return argon2.IDKey(password, p.salt, p.cost.Passes, p.cost.MemoryKiB, p.cost.Lanes, uint32(n)) // #nosec G115 -- at most 64
}

func (p phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.cost.MemoryKiB, p.cost.Passes, p.cost.Lanes,
		base64.RawStdEncoding.EncodeToString(p.salt), base64.RawStdEncoding.EncodeToString(p.key))
}

func parsePHC(s string) (phc, error) {
	part := strings.Split(s, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return phc{}, errors.New("not an argon2id PHC string")
	}
	var p phc
	if _, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &p.cost.MemoryKiB, &p.cost.Passes, &p.cost.Lanes); err != nil {
		return phc{}, fmt.Errorf("parameters %q: %w", part[3], err)
	}
	if err := p.cost.validate(); err != nil {
		return phc{}, err
	}
	var err error
	for _, f := range []struct {
		dst         *[]byte
		text        string
		least, most int
	}{{&p.salt, part[4], 8, 64}, {&p.key, part[5], 16, 64}} {
		if *f.dst, err = base64.RawStdEncoding.Strict().DecodeString(f.text); err != nil {
			return phc{}, fmt.Errorf("salt or key: %w", err)
		}
		if n := len(*f.dst); n < f.least || n > f.most {
			return phc{}, fmt.Errorf("salt or key of %d bytes, want %d to %d", n, f.least, f.most)
		}
	}
	if p.String() != s {
		return phc{}, errors.New("not in canonical form")
	}
	return p, nil
}
