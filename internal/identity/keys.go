package identity

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net/url"

	"dongthanh/internal/signed"
)

// Keys are a node's own private keys, born on the node and never sent anywhere.
type Keys struct {
	Signing ed25519.PrivateKey
	Sealing *ecdh.PrivateKey // X25519
}

// NewKeys draws fresh keys.
func NewKeys() (Keys, error) {
	_, signing, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Keys{}, fmt.Errorf("make signing key: %w", err)
	}
	sealing, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return Keys{}, fmt.Errorf("make sealing key: %w", err)
	}
	return Keys{Signing: signing, Sealing: sealing}, nil
}

// Request returns a certificate request (PKCS #10, RFC 2986, DER): the signing key with its proof of possession, and
// the sealing key as the one URI. Who the node becomes is the issuer's choice, so that nothing else stands in it.
func (k Keys) Request() ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		URIs: []*url.URL{sealingURI(k.Sealing.PublicKey())},
	}, k.Signing)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}

// ParseRequest reads what Request made, from a stranger: it bounds it, and checks the proof of possession and that the
// sealing key can be sealed to.
func ParseRequest(der []byte) (ed25519.PublicKey, *ecdh.PublicKey, error) {
	if len(der) > signed.MaxLen {
		return nil, nil, fmt.Errorf("certificate request of %d bytes, want at most %d", len(der), signed.MaxLen)
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, nil, fmt.Errorf("parse certificate request: %w", err)
	}
	signing, ok := r.PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, nil, fmt.Errorf("certificate request for a %s key, want Ed25519", r.PublicKeyAlgorithm)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, nil, fmt.Errorf("certificate request is not signed with its own key: %w", err)
	}
	sealing, err := sealingOf(labels(r.URIs))
	if err != nil {
		return nil, nil, fmt.Errorf("certificate request: %w", err)
	}
	probe, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("probe sealing key: %w", err)
	}
	// A point of low order would make every later envelope fail (RFC 7748 §6.1).
	if _, err := probe.ECDH(sealing); err != nil {
		return nil, nil, fmt.Errorf("certificate request: sealing key: %w", err)
	}
	return signing, sealing, nil
}
