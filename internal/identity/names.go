package identity

import (
	"crypto/ecdh"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
)

// prefix starts each of our names in a certificate: URIs among the subject's alternative names (RFC 5280 §4.2.1.6).
// The subject itself is for people and never looked at.
const prefix = "urn:dongthanh:"

// The labels behind the prefix.
const (
	labelNode   = "node"
	labelKind   = "kind"
	labelZone   = "zone"
	labelHPKE   = "hpke"
	labelName   = "name"
	labelIssuer = "issuer"
	labelClass  = "class"
)

// maxName bounds a node's name in bytes; the database holds 80 characters. Taste.
const maxName = 320

// URIs are the names of a node's certificate. sealing is its X25519 key.
func (n Node) URIs(sealing *ecdh.PublicKey) []*url.URL {
	uris := []*url.URL{
		uri(labelNode, n.ID),
		uri(labelKind, string(n.Kind)),
		uri(labelZone, string(n.Zone)),
		sealingURI(sealing),
	}
	if n.Name != "" {
		uris = append(uris, uri(labelName, url.PathEscape(n.Name)))
	}
	return uris
}

// IssuerURIs are the names of an issuer's certificate: what it may grant.
func IssuerURIs(scope zone.Zone, max signed.Class) []*url.URL {
	return []*url.URL{
		{Scheme: "urn", Opaque: "dongthanh:" + labelIssuer},
		uri(labelZone, string(scope)),
		uri(labelClass, strconv.Itoa(int(max))),
	}
}

func sealingURI(key *ecdh.PublicKey) *url.URL {
	return uri(labelHPKE, base64.RawURLEncoding.EncodeToString(key.Bytes()))
}

func uri(label, value string) *url.URL {
	return &url.URL{Scheme: "urn", Opaque: "dongthanh:" + label + ":" + value}
}

// labels sorts our names by label; names of others are ignored.
func labels(uris []*url.URL) map[string][]string {
	m := make(map[string][]string)
	for _, u := range uris {
		if rest, ours := strings.CutPrefix(u.String(), prefix); ours {
			label, value, _ := strings.Cut(rest, ":")
			m[label] = append(m[label], value)
		}
	}
	return m
}

// only returns the one value of a label.
func only(m map[string][]string, label string) (string, error) {
	if n := len(m[label]); n != 1 {
		return "", fmt.Errorf("%w: %d names %s%s, want 1", ErrNames, n, prefix, label)
	}
	return m[label][0], nil
}

// nodeOf reads the names of a node's certificate, whose signature the caller has checked.
func nodeOf(c *x509.Certificate) (n Node, err error) {
	m := labels(c.URIs)
	if len(m[labelIssuer]) > 0 || len(m[labelClass]) > 0 {
		return Node{}, fmt.Errorf("%w: an issuer's names in a node's certificate", ErrNames)
	}
	var kind, place string
	if n.ID, err = only(m, labelNode); err != nil {
		return Node{}, err
	}
	if kind, err = only(m, labelKind); err != nil {
		return Node{}, err
	}
	if place, err = only(m, labelZone); err != nil {
		return Node{}, err
	}
	if _, err = sealingOf(m); err != nil {
		return Node{}, err
	}
	if len(m[labelName]) > 1 {
		return Node{}, fmt.Errorf("%w: %d names %s%s, want at most 1", ErrNames, len(m[labelName]), prefix, labelName)
	}
	if len(m[labelName]) == 1 {
		if n.Name, err = url.PathUnescape(m[labelName][0]); err != nil || len(n.Name) > maxName {
			return Node{}, fmt.Errorf("%w: a display name that cannot be read", ErrNames)
		}
	}
	n.Kind = Kind(kind)
	if n.Zone, err = zone.Parse(place); err != nil {
		return Node{}, fmt.Errorf("%w: %w", ErrNames, err)
	}
	if err := n.Validate(); err != nil {
		return Node{}, err
	}
	return n, nil
}

// Validate returns the first fault of a node's names (ErrNames), nil if there is none.
func (n Node) Validate() error {
	switch {
	case !ValidID(n.ID):
		return fmt.Errorf("%w: id %q is not 1 to %d letters, digits, - or _", ErrNames, n.ID, signed.MaxNodeID)
	case !n.Kind.valid():
		return fmt.Errorf("%w: unknown kind %q", ErrNames, n.Kind)
	case len(n.Name) > maxName:
		return fmt.Errorf("%w: a display name of %d bytes, want at most %d", ErrNames, len(n.Name), maxName)
	}
	if _, err := zone.Parse(string(n.Zone)); err != nil {
		return fmt.Errorf("%w: %w", ErrNames, err)
	}
	return nil
}

// ValidID reports whether s can be a node's id: 1 to signed.MaxNodeID letters, digits, - or _.
func ValidID(s string) bool {
	return s != "" && len(s) <= signed.MaxNodeID &&
		strings.Trim(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_") == ""
}

// SealingKey returns the X25519 key that a node's certificate carries. ErrNames.
func SealingKey(c *x509.Certificate) (*ecdh.PublicKey, error) { return sealingOf(labels(c.URIs)) }

func sealingOf(m map[string][]string) (*ecdh.PublicKey, error) {
	text, err := only(m, labelHPKE)
	if err != nil {
		return nil, err
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: sealing key: %w", ErrNames, err)
	}
	key, err := ecdh.X25519().NewPublicKey(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: sealing key: %w", ErrNames, err)
	}
	return key, nil
}
