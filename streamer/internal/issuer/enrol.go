package issuer

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// maxAttempts is how often a token may be tried in vain (wrong kind, unreadable request) before it is dead.
const maxAttempts = 5

// AddToken makes an enrolment token and stores the hash of its secret. The text is shown to whoever asked, once; by is
// that person's user id, or "cli".
func (i *Issuer) AddToken(ctx context.Context, kind identity.Kind, name string, z zone.Zone, ttl time.Duration, by string) (text, id string, err error) {
	if kind != identity.Relay && kind != identity.Client {
		return "", "", fmt.Errorf("add token: no token enrols a %s", kind)
	}
	if !i.o.Scope.Contains(z) {
		return "", "", fmt.Errorf("add token: %w: zone %q is not in %q", identity.ErrScope, z, i.o.Scope)
	}
	t := identity.NewToken(kind, i.Root())
	now := i.o.Now()
	id = store.NewID()
	err = i.o.Store.AddToken(ctx, store.Token{
		ID: id, Secret: t.Hash(), Kind: store.TokenKind(kind), Name: name, Zone: z, CreatedBy: by, Created: now, Expires: now.Add(ttl),
	})
	if err != nil {
		return "", "", err
	}
	return t.String(), id, nil
}

// Enrol certifies a node that brings a token: the token says what it becomes, the request holds its keys. A token works
// once; asking again with the same keys, because the answer was lost, gives the same certificate. Refusals are
// *control.Refused; other errors are the database's.
func (i *Issuer) Enrol(ctx context.Context, r control.EnrolRequest) (*control.EnrolResponse, error) {
	kind := identity.Kind(r.Kind)
	t, err := identity.ParseToken(r.Token)
	if err != nil {
		return nil, &control.Refused{Code: control.CodeUnknown, Reason: err.Error()}
	}
	root := i.Root()
	if subtle.ConstantTimeCompare(t.Root[:], root[:]) != 1 {
		return nil, &control.Refused{Code: control.CodeUnknown, Reason: "this token belongs to another network"}
	}
	signing, sealing, err := identity.ParseRequest(r.CSR)
	if err != nil {
		return nil, &control.Refused{Code: control.CodeMalformed, Reason: err.Error()}
	}
	now := i.o.Now()
	var chain [][]byte
	node, err := i.o.Store.EnrolNode(ctx, t.Hash(), now, func(s store.Token) (store.Node, error) {
		n, c, err := i.certify(s, t.Kind, kind, signing, sealing, now)
		chain = c
		return n, err
	})
	if errors.Is(err, store.ErrUsed) {
		node, chain, err = i.again(ctx, t, signing, err)
	}
	if err != nil {
		return nil, refusal(err)
	}
	i.o.Log.Info("node enrolled", "id", node.ID, "kind", string(node.Kind), "name", node.Name, "zone", string(node.Zone))
	return &control.EnrolResponse{Chain: chain, Roots: [][]byte{i.root}}, nil
}

// certify builds the node that a token stands for. It runs inside a transaction and uses no store.
func (i *Issuer) certify(s store.Token, token, asked identity.Kind, signing ed25519.PublicKey, sealing *ecdh.PublicKey, now time.Time) (store.Node, [][]byte, error) {
	kind := identity.Kind(s.Kind)
	switch {
	case s.Attempts > maxAttempts:
		return store.Node{}, nil, &control.Refused{Code: control.CodeUsed, Reason: "this token was tried too often; make a new one"}
	case asked != kind || token != kind:
		return store.Node{}, nil, &control.Refused{Code: control.CodeKind, Reason: fmt.Sprintf("this token enrols a %s, not a %q", kind, asked)}
	}
	n := identity.Node{ID: store.NewID(), Kind: kind, Zone: s.Zone, Name: s.Name}
	chain, err := i.current.Load().authority.Certify(n, signing, sealing, now, lifeOf(kind))
	if err != nil {
		return store.Node{}, nil, err
	}
	c, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return store.Node{}, nil, fmt.Errorf("read own certificate of %q: %w", n.ID, err)
	}
	node := record(n, c.Raw, signing, sealing)
	node.Serial, node.NotAfter, node.Enrolled = identity.Serial(c), c.NotAfter, now
	return node, chain, nil
}

// again answers one that enrolled before and shows by its request that it holds the very keys: its answer was lost.
func (i *Issuer) again(ctx context.Context, t identity.Token, signing ed25519.PublicKey, used error) (store.Node, [][]byte, error) {
	s, err := i.o.Store.Token(ctx, t.Hash())
	if err != nil {
		return store.Node{}, nil, err
	}
	n, err := i.o.Store.Node(ctx, s.UsedBy)
	if err != nil || !n.Revoked.IsZero() || subtle.ConstantTimeCompare(n.Signing[:], signing) != 1 {
		return store.Node{}, nil, used
	}
	c, err := x509.ParseCertificate(n.Certificate)
	if err != nil {
		return store.Node{}, nil, used
	}
	issuer := i.current.Load().authority.Certificate
	if c.CheckSignatureFrom(issuer) != nil {
		return store.Node{}, nil, used // certified before the last renewal: too long ago
	}
	return n, [][]byte{n.Certificate, issuer.Raw, i.root}, nil
}

// refusal turns an answer of the database into one for the asker.
func refusal(err error) error {
	var refused *control.Refused
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, store.ErrNotFound):
		return &control.Refused{Code: control.CodeUnknown, Reason: "this token is not known here"}
	case errors.Is(err, store.ErrUsed):
		return &control.Refused{Code: control.CodeUsed, Reason: "this token has been used; make a new one"}
	case errors.Is(err, store.ErrExpired):
		return &control.Refused{Code: control.CodeExpired, Reason: "this token has expired; make a new one"}
	case errors.Is(err, store.ErrRevoked):
		return &control.Refused{Code: control.CodeUnknown, Reason: "this token was revoked; make a new one"}
	case errors.Is(err, store.ErrBusy), errors.Is(err, store.ErrFull), errors.Is(err, store.ErrReadOnly):
		return &control.Refused{Code: control.CodeBusy, Reason: "the database cannot be written now", After: 10 * time.Second}
	}
	return fmt.Errorf("enrol node: %w", err)
}
