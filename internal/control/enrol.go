package control

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"dongthanh/internal/identity"
)

// The keys of an enrolment that is under way. They are kept until it has succeeded: if the answer is lost, asking again
// with the same token and the same keys gives the same certificate, and no second token is needed.
const (
	newKeyFile     = "enrol-key.pem"
	newSealingFile = "enrol-hpke.pem"
)

// EnrolNode enrols this node: makes its keys, gets a certificate for them from the issuer above upstream (wss:// or
// https://host:port of any relay, or of the streamer) and stores all in dir, for identity.Load. It talks to nobody who
// does not belong to the root that the token names. Errors: identity.ErrToken, identity.ErrUsage (the token is for
// another kind of node), identity.ErrUnknownRoot, *Refused, and those of Dial.
func EnrolNode(ctx context.Context, upstream, token string, kind identity.Kind, dir string) (identity.Node, error) {
	return enrolNode(ctx, upstream, token, kind, dir, time.Now)
}

func enrolNode(ctx context.Context, upstream, token string, kind identity.Kind, dir string, now func() time.Time) (identity.Node, error) {
	u, err := ParseURL(upstream)
	if err != nil {
		return identity.Node{}, fmt.Errorf("enrol: %w", err)
	}
	t, err := identity.ParseToken(token)
	if err != nil {
		return identity.Node{}, fmt.Errorf("enrol: %w", err)
	}
	if t.Kind != kind {
		return identity.Node{}, fmt.Errorf("enrol: this is a %s, the token is for a %s: %w", kind, t.Kind, identity.ErrUsage)
	}
	// Whatever can fail on our side fails before the token is used up.
	keys, err := pendingKeys(dir)
	if err != nil {
		return identity.Node{}, fmt.Errorf("enrol: prepare keys in %s: %w", dir, err)
	}
	csr, err := keys.Request()
	if err != nil {
		return identity.Node{}, fmt.Errorf("enrol: %w", err)
	}
	u.Scheme, u.Path = "https", PathEnrol
	reply, err := post(ctx, u.String(), t, now, EnrolRequest{Token: t.String(), Kind: string(kind), CSR: csr})
	if err != nil {
		return identity.Node{}, fmt.Errorf("enrol at %s: %w", upstream, err)
	}
	c, err := t.Accept(keys, reply.Chain, reply.Roots, now())
	if err != nil {
		return identity.Node{}, fmt.Errorf("enrol at %s: %w", upstream, err)
	}
	if err := c.Save(dir); err != nil {
		return identity.Node{}, fmt.Errorf("enrol: %w", err)
	}
	// Only now, and in vain is no harm: they are in key.pem too.
	_ = os.Remove(filepath.Join(dir, newKeyFile))
	_ = os.Remove(filepath.Join(dir, newSealingFile))
	return c.Node, nil
}

// pendingKeys returns the keys of an enrolment that did not come to its end, or new ones.
func pendingKeys(dir string) (identity.Keys, error) {
	if err := identity.MakeDir(dir); err != nil {
		return identity.Keys{}, err
	}
	signing, err1 := identity.ReadKey(filepath.Join(dir, newKeyFile))
	sealing, err2 := identity.ReadKey(filepath.Join(dir, newSealingFile))
	if err := errors.Join(err1, err2); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return identity.Keys{}, err
	}
	ed, ok1 := signing.(ed25519.PrivateKey)
	x, ok2 := sealing.(*ecdh.PrivateKey)
	if ok1 && ok2 {
		return identity.Keys{Signing: ed, Sealing: x}, nil
	}
	k, err := identity.NewKeys()
	if err != nil {
		return identity.Keys{}, err
	}
	return k, errors.Join(identity.WriteKey(dir, newKeyFile, k.Signing), identity.WriteKey(dir, newSealingFile, k.Sealing))
}

// post asks for a certificate.
func post(ctx context.Context, url string, t identity.Token, now func() time.Time, request EnrolRequest) (*EnrolResponse, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, dialWithin+answerWithin)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialWithin)
			defer cancel()
			return handshake(ctx, network, address, t.TLS(now), (&net.Dialer{}).DialContext)
		},
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		return nil, explain(err)
	}
	defer answer.Body.Close() // read to its end or not wanted
	if answer.StatusCode != http.StatusOK {
		return nil, refusal(answer)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return nil, explain(err)
	}
	var reply EnrolResponse
	if _, err = strict(text); err == nil {
		err = json.Unmarshal(text, &reply)
	}
	if err == nil {
		err = reply.check()
	}
	if err != nil || len(text) > maxAnswer {
		return nil, fmt.Errorf("answer cannot be read: %w", errors.Join(ErrMalformed, err))
	}
	return &reply, nil
}
