// Package signed holds the objects that travel end to end under a signature: session certificates, stops, zone-key
// envelopes, orders to one loudspeaker and hearing reports. Relays carry them and can neither invent nor alter one. Each is a deterministic
// CBOR map with integer keys (RFC 8949 §4.2) in a COSE_Sign1 (RFC 9052 §4.2, EdDSA); the signature covers the bytes
// received, never a second encoding of them.
//
// The package knows formats, bounds and signatures. Who may sign what is decided by package identity.
package signed

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"
)

// MaxLen bounds an object's encoding in bytes; a larger one is refused before it is parsed.
const MaxLen = 2048

// ID names a certificate: the SHA-256 of its DER bytes. A node's id on the wire is a string of its own (identity).
type ID [sha256.Size]byte

// Errors that a caller can tell apart with errors.Is.
var (
	ErrMalformed = errors.New("malformed signed object")
	ErrSignature = errors.New("signature does not hold")
	ErrCritical  = errors.New("unknown critical field")
)

// Body is what an object says. The methods are for this package's use; all bodies are declared in it.
type Body interface {
	// context separates the signatures of one kind of object from those of every other.
	context() string
	// known returns the highest field number this version understands, and critical those the signer insists on.
	fields() (known int, critical []int)
	// check returns the first fault of the values, nil if there is none.
	check() error
}

// Sign encodes body and signs it with key. signer tells a receiver whose key to verify with: an issuer's ID for what
// an issuer says, the node's id for a report.
func Sign(body Body, signer []byte, key ed25519.PrivateKey) ([]byte, error) {
	if err := body.check(); err != nil {
		return nil, fmt.Errorf("sign %s: %w", body.context(), err)
	}
	payload, err := encMode.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", body.context(), err)
	}
	cs, err := cose.NewSigner(cose.AlgorithmEdDSA, key)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", body.context(), err)
	}
	m := cose.NewSign1Message()
	m.Headers.Protected.SetAlgorithm(cose.AlgorithmEdDSA)
	m.Headers.Protected[cose.HeaderLabelKeyID] = signer
	m.Payload = payload
	if err := m.Sign(nil, []byte(body.context()), cs); err != nil {
		return nil, fmt.Errorf("sign %s: %w", body.context(), err)
	}
	raw, err := m.MarshalCBOR()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", body.context(), err)
	}
	if len(raw) > MaxLen {
		return nil, fmt.Errorf("sign %s: %d bytes, want at most %d", body.context(), len(raw), MaxLen)
	}
	return raw, nil
}

// Object is a parsed object whose signature has not been checked yet: nothing in it may be acted on but the choice
// of the key.
type Object[B Body] struct {
	raw    []byte
	msg    cose.Sign1Message
	signer []byte
	body   B
}

// Parse decodes raw within the package's bounds. It keeps a copy. Errors wrap ErrMalformed or ErrCritical.
func Parse[B Body](raw []byte) (*Object[B], error) {
	if len(raw) > MaxLen {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(raw))
	}
	o := &Object[B]{raw: bytes.Clone(raw)}
	if err := o.msg.UnmarshalCBOR(o.raw); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if alg, err := o.msg.Headers.Protected.Algorithm(); err != nil || alg != cose.AlgorithmEdDSA {
		return nil, fmt.Errorf("%w: algorithm is not EdDSA", ErrMalformed)
	}
	o.signer, _ = o.msg.Headers.Protected[cose.HeaderLabelKeyID].([]byte)
	if len(o.signer) == 0 || len(o.signer) > 64 {
		return nil, fmt.Errorf("%w: no signer", ErrMalformed)
	}
	if err := decMode.Unmarshal(o.msg.Payload, &o.body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	known, critical := o.body.fields()
	if slices.ContainsFunc(critical, func(f int) bool { return f < 1 || f > known }) {
		return nil, fmt.Errorf("%w in %s: %v", ErrCritical, o.body.context(), critical)
	}
	if err := o.body.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return o, nil
}

// Raw returns the object's bytes as received; the caller must not change them.
func (o *Object[B]) Raw() []byte { return o.raw }

// Signer returns whose key the object claims to be signed with. It is a claim until Verify has succeeded with that
// very key.
func (o *Object[B]) Signer() []byte { return o.signer }

// Unverified returns the body before its signature was checked: for tests, logs and the choice of a key only.
func (o *Object[B]) Unverified() B { return o.body }

// Verify checks the signature and returns the body. The error is ErrSignature.
func (o *Object[B]) Verify(pub ed25519.PublicKey) (B, error) {
	var none B
	if len(pub) != ed25519.PublicKeySize {
		return none, fmt.Errorf("%w: key of %d bytes", ErrSignature, len(pub))
	}
	v, err := cose.NewVerifier(cose.AlgorithmEdDSA, pub)
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if err := o.msg.Verify([]byte(o.body.context()), v); err != nil {
		return none, ErrSignature
	}
	return o.body, nil
}

// The modes are constants in all but syntax.
var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  4,
		MaxArrayElements: 64,
		MaxMapPairs:      64,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
