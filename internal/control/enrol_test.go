package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/zone"
)

// certifier answers enrolments with an authority, through whatever change does to the answer.
type certifier struct {
	n      network
	kind   identity.Kind
	change func(*EnrolResponse) (*EnrolResponse, error)

	mu    sync.Mutex
	asked []EnrolRequest
}

func (c *certifier) Enrol(_ context.Context, r EnrolRequest) (*EnrolResponse, error) {
	c.mu.Lock()
	c.asked = append(c.asked, r)
	c.mu.Unlock()
	signing, sealing, err := identity.ParseRequest(r.CSR)
	if err != nil {
		return nil, &Refused{Code: CodeMalformed, Reason: err.Error()}
	}
	node := identity.Node{ID: "new-1", Kind: c.kind, Zone: zone.Zone("31/11296"), Name: "Loa mới"}
	chain, err := c.n.issuer.Certify(node, signing, sealing, time.Now(), year)
	if err != nil {
		return nil, err
	}
	reply := &EnrolResponse{Chain: chain, Roots: [][]byte{c.n.root.Certificate.Raw}}
	if c.change != nil {
		return c.change(reply)
	}
	return reply, nil
}

func (c *certifier) requests() []EnrolRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

// TestEnrolNode is the ordinary way: a new node, then a connection with what it got.
func TestEnrolNode(t *testing.T) {
	n := newNetwork(t)
	relay := n.node(t, identity.Relay, "relay-1")
	e := &certifier{n: n, kind: identity.Client}
	p := listen(t, relay, func(o *ServerOptions) { o.Enroller = e })
	token := identity.NewToken(identity.Client, relay.Roots.Hash())
	for _, upstream := range []string{p.url, strings.Replace(p.url, "wss", "https", 1)} {
		dir := filepath.Join(t.TempDir(), "client")
		node, err := EnrolNode(t.Context(), upstream, token.String(), identity.Client, dir)
		want := identity.Node{ID: "new-1", Kind: identity.Client, Zone: "31/11296", Name: "Loa mới"}
		if err != nil || node != want {
			t.Fatalf("EnrolNode() = %+v, %v, want %+v", node, err, want)
		}
		c := must(identity.Load(dir))(t)
		if entries := must(os.ReadDir(dir))(t); len(entries) != 4 {
			t.Errorf("enrolment leaves %v, want the four files", entries)
		}
		conn := must(Dial(t.Context(), p.url, c))(t)
		if s := next(t, "the connection", p.conns); s.Peer() != want {
			t.Errorf("peer %+v, want %+v", s.Peer(), want)
		}
		conn.Close(nil)
		r := e.requests()[len(e.requests())-1]
		if r.Token != token.String() || r.Kind != "client" {
			t.Errorf("asked with %+v", r)
		}
		key := must(os.ReadFile(filepath.Join(dir, "key.pem")))(t)
		if bytes.Contains(key, r.CSR) || bytes.Contains(r.CSR, c.Key.Seed()) || bytes.Contains(r.CSR, c.HPKE.Bytes()) {
			t.Error("a private key was sent")
		}
	}
	if a, b := e.requests()[0].CSR, e.requests()[1].CSR; bytes.Equal(a, b) {
		t.Error("two nodes have one key")
	}
	if got := p.count("control_enrolments_total", "ok"); got != 2 {
		t.Errorf("control_enrolments_total{ok} = %v, want 2", got)
	}
}

// TestEnrolAgain: an answer that is lost costs no token, for the second request holds the same keys.
func TestEnrolAgain(t *testing.T) {
	n := newNetwork(t)
	relay := n.node(t, identity.Relay, "relay-1")
	var tries atomic.Int32
	e := &certifier{n: n, kind: identity.Client, change: func(r *EnrolResponse) (*EnrolResponse, error) {
		if tries.Add(1) == 1 {
			return nil, errors.New("the link broke")
		}
		return r, nil
	}}
	p := listen(t, relay, func(o *ServerOptions) { o.Enroller = e })
	token, dir := identity.NewToken(identity.Client, relay.Roots.Hash()).String(), t.TempDir()
	var refused *Refused
	if _, err := EnrolNode(t.Context(), p.url, token, identity.Client, dir); !errors.As(err, &refused) || refused.Code != CodeInternal {
		t.Fatalf("EnrolNode() = %v, want a refusal, internal", err)
	}
	if strings.Contains(refused.Reason, "the link broke") || !strings.Contains(p.log.String(), "the link broke") {
		t.Errorf("the cause belongs in the log, not in the answer %q", refused.Reason)
	}
	for _, f := range []string{newKeyFile, newSealingFile} {
		if mode := must(os.Stat(filepath.Join(dir, f)))(t).Mode(); mode != 0o600 {
			t.Errorf("%s has mode %s, want -rw-------", f, mode)
		}
	}
	if _, err := identity.Load(dir); !errors.Is(err, identity.ErrNotEnrolled) {
		t.Errorf("Load() = %v, want ErrNotEnrolled", err)
	}
	must(EnrolNode(t.Context(), p.url, token, identity.Client, dir))(t)
	asked := e.requests()
	a, _, err1 := identity.ParseRequest(asked[0].CSR)
	b, _, err2 := identity.ParseRequest(asked[1].CSR)
	if err1 != nil || err2 != nil || !a.Equal(b) {
		t.Errorf("the second request has other keys (%v, %v)", err1, err2)
	}
	must(identity.Load(dir))(t)
}

// TestEnrolRefuses: tokens and answers that a new node does not accept, and that nothing is stored then.
func TestEnrolRefuses(t *testing.T) {
	n, other := newNetwork(t), newNetwork(t)
	relay := n.node(t, identity.Relay, "relay-1")
	token := identity.NewToken(identity.Client, relay.Roots.Hash()).String()
	refuse := func(code string) func(*EnrolResponse) (*EnrolResponse, error) {
		return func(*EnrolResponse) (*EnrolResponse, error) {
			return nil, &Refused{Code: code, Reason: "because of " + code, After: 3 * time.Second}
		}
	}
	for _, c := range []struct {
		name    string
		token   string
		kind    identity.Kind
		answer  func(*EnrolResponse) (*EnrolResponse, error)
		want    error
		refused string
		asked   int // how often the issuer was asked
	}{
		{"no token", "", identity.Client, nil, identity.ErrToken, "", 0},
		{"garbage token", "DT1.xyz", identity.Client, nil, identity.ErrToken, "", 0},
		{"a relay with a client's token", token, identity.Relay, nil, identity.ErrUsage, "", 0},
		{"another network's token", identity.NewToken(identity.Client, [32]byte{1}).String(), identity.Client, nil, identity.ErrUnknownRoot, "", 0},
		{"used", token, identity.Client, refuse(CodeUsed), nil, CodeUsed, 1},
		{"expired", token, identity.Client, refuse(CodeExpired), nil, CodeExpired, 1},
		{"unknown", token, identity.Client, refuse(CodeUnknown), nil, CodeUnknown, 1},
		{"kind", token, identity.Client, refuse(CodeKind), nil, CodeKind, 1},
		{"busy", token, identity.Client, refuse(CodeBusy), nil, CodeBusy, 1},
		{"malformed", token, identity.Client, refuse(CodeMalformed), nil, CodeMalformed, 1},
		// A relay of our own network that was taken over:
		{"another root slipped in", token, identity.Client, func(r *EnrolResponse) (*EnrolResponse, error) {
			r.Roots = append(r.Roots, other.root.Certificate.Raw)
			return r, nil
		}, identity.ErrUnknownRoot, "", 1},
		{"another root in its place", token, identity.Client, func(r *EnrolResponse) (*EnrolResponse, error) {
			r.Roots = [][]byte{other.root.Certificate.Raw}
			return r, nil
		}, identity.ErrUnknownRoot, "", 1},
		{"another issuer's certificate", token, identity.Client, func(r *EnrolResponse) (*EnrolResponse, error) {
			r.Chain[1], r.Chain[2] = other.issuer.Certificate.Raw, other.root.Certificate.Raw
			return r, nil
		}, identity.ErrUnknownRoot, "", 1},
		{"somebody else's certificate", token, identity.Client, func(r *EnrolResponse) (*EnrolResponse, error) {
			r.Chain[0] = n.node(t, identity.Client, "new-1").Chain[0].Raw
			return r, nil
		}, nil, "", 1},
		{"empty", token, identity.Client, func(*EnrolResponse) (*EnrolResponse, error) { return &EnrolResponse{}, nil }, identity.ErrUnknownRoot, "", 1},
		{"huge", token, identity.Client, func(r *EnrolResponse) (*EnrolResponse, error) {
			r.Roots = append(r.Roots, make([]byte, maxAnswer))
			return r, nil
		}, ErrMalformed, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &certifier{n: n, kind: identity.Client, change: c.answer}
			p := listen(t, relay, func(o *ServerOptions) { o.Enroller = e })
			dir := t.TempDir()
			_, err := EnrolNode(t.Context(), p.url, c.token, c.kind, dir)
			var r *Refused
			if err == nil || c.want != nil && !errors.Is(err, c.want) || (c.refused != "") != errors.As(err, &r) || r != nil && r.Code != c.refused {
				t.Errorf("EnrolNode() = %v, want %v or a refusal %q", err, c.want, c.refused)
			}
			if r != nil && (r.After != 3*time.Second || r.Reason != "because of "+c.refused) {
				t.Errorf("the refusal arrives as %+v", r)
			}
			if got := len(e.requests()); got != c.asked {
				t.Errorf("the issuer was asked %d times, want %d", got, c.asked)
			}
			if err != nil && c.token != "" && strings.Contains(err.Error(), c.token) {
				t.Errorf("the error repeats the token: %v", err)
			}
			if strings.Contains(p.log.String(), token[len(token)-20:]) {
				t.Error("the log holds the token")
			}
			if _, err := identity.Load(dir); !errors.Is(err, identity.ErrNotEnrolled) {
				t.Errorf("Load() afterwards = %v, want ErrNotEnrolled", err)
			}
		})
	}
}

// TestEnrolInTheMiddle: somebody between the new node and its upstream never sees the token.
func TestEnrolInTheMiddle(t *testing.T) {
	n, mallory := newNetwork(t), newNetwork(t)
	truth := n.node(t, identity.Relay, "relay-1")
	token := identity.NewToken(identity.Client, truth.Roots.Hash()).String()
	behind := func(change func(c *identity.Credentials)) *identity.Credentials {
		c := mallory.node(t, identity.Relay, "relay-1")
		change(c)
		return c
	}
	stolen := *n.node(t, identity.Client, "stolen") // a loudspeaker of the true network, its key in Mallory's hands
	for name, c := range map[string]*identity.Credentials{
		"a network of his own": behind(func(*identity.Credentials) {}),
		"our root shown beside": behind(func(c *identity.Credentials) {
			c.Chain = append(c.Chain, n.root.Certificate)
		}),
		"our root in place of his": behind(func(c *identity.Credentials) {
			c.Chain = append(c.Chain[:2:2], n.root.Certificate)
		}),
		"our issuer and root": behind(func(c *identity.Credentials) {
			c.Chain = append(c.Chain[:1:1], n.issuer.Certificate, n.root.Certificate)
		}),
		"our relay's certificate, without its key": behind(func(c *identity.Credentials) { c.Chain = truth.Chain }),
		"a stolen loudspeaker":                     &stolen,
	} {
		t.Run(name, func(t *testing.T) {
			e := &certifier{n: mallory, kind: identity.Client}
			serving := *c
			serving.Node.Kind = identity.Relay // or NewServer would not have it
			p := listen(t, &serving, func(o *ServerOptions) { o.Enroller = e })
			dir := t.TempDir()
			_, err := EnrolNode(t.Context(), p.url, token, identity.Client, dir)
			if err == nil {
				t.Fatal("EnrolNode() = nil, want an error")
			}
			if !strings.Contains(name, "without its key") && identity.Reason(err) == "other" {
				t.Errorf("EnrolNode() = %v, want a fault of the certificate", err)
			}
			if len(e.requests()) > 0 {
				t.Error("Mallory has the token")
			}
			if _, err := identity.Load(dir); !errors.Is(err, identity.ErrNotEnrolled) {
				t.Errorf("Load() afterwards = %v, want ErrNotEnrolled", err)
			}
		})
	}
}

// TestEnrolPost: bodies that a stranger may send.
func TestEnrolPost(t *testing.T) {
	n := newNetwork(t)
	relay := n.node(t, identity.Relay, "relay-1")
	e := &certifier{n: n, kind: identity.Client}
	p := listen(t, relay, func(o *ServerOptions) { o.Enroller = e })
	keys := must(identity.NewKeys())(t)
	csr := must(keys.Request())(t)
	good := string(must(json.Marshal(EnrolRequest{Token: "t", Kind: "client", CSR: csr}))(t))
	transport := &http.Transport{TLSClientConfig: identity.NewToken(identity.Client, relay.Roots.Hash()).TLS(time.Now), DisableKeepAlives: true}
	post := func(t *testing.T, body string, header http.Header) (*http.Response, *Refused) {
		t.Helper()
		r := must(http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+p.Addr().String()+PathEnrol, strings.NewReader(body)))(t)
		r.Header = header
		answer := must((&http.Client{Transport: transport}).Do(r))(t)
		defer answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return answer, nil
		}
		return answer, refusal(answer)
	}
	if answer, r := post(t, good, http.Header{}); answer.StatusCode != http.StatusOK {
		t.Fatalf("the good one gets %d %+v", answer.StatusCode, r)
	}
	asked := len(e.requests())
	bad := 0
	for name, body := range map[string]string{
		"nothing": "", "garbage": "x", "an array": "[]", "two objects": good + good, "a name twice": `{"token":"a","token":"b"}`,
		"no CSR": `{"token":"t","kind":"client"}`, "large": good[:len(good)-1] + `,"x":"` + strings.Repeat("a", maxRequest) + `"}`,
		"long token": strings.Replace(good, `"t"`, `"`+strings.Repeat("t", 1000)+`"`, 1), "bad base64": `{"token":"t","csr":"!"}`,
		"deep": `{"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`,
	} {
		answer, r := post(t, body, http.Header{})
		if answer.StatusCode != http.StatusBadRequest || r.Code != CodeMalformed || r.Reason == "" {
			t.Errorf("%s gets %d %+v, want 400 malformed", name, answer.StatusCode, r)
		}
		bad++
	}
	if answer, r := post(t, good, http.Header{"Origin": {"https://x"}}); answer.StatusCode != http.StatusForbidden || r.Code != CodeBrowser {
		t.Errorf("a browser gets %d %+v, want 403 browser", answer.StatusCode, r)
	}
	bad++
	if got := len(e.requests()); got != asked {
		t.Errorf("the issuer was asked %d times more", got-asked)
	}
	// What failed counts against the address; what succeeds never does.
	for ; bad < enrolDepth; bad++ {
		post(t, "x", http.Header{})
	}
	answer, r := post(t, good, http.Header{})
	if answer.StatusCode != http.StatusServiceUnavailable || r.Code != CodeBusy || r.After != 3*time.Minute {
		t.Errorf("after %d failures: %d %+v, want 503 busy", bad, answer.StatusCode, r)
	}
	if got := p.count("control_enrolments_total", "malformed"); got == 0 {
		t.Error("refused enrolments are not counted")
	}
}

// TestEnrolMany: a fleet behind one address enrols without hindrance.
func TestEnrolMany(t *testing.T) {
	n := newNetwork(t)
	relay := n.node(t, identity.Relay, "relay-1")
	p := listen(t, relay, func(o *ServerOptions) { o.Enroller = &certifier{n: n, kind: identity.Client} })
	token := identity.NewToken(identity.Client, relay.Roots.Hash()).String()
	var wg sync.WaitGroup
	work := make(chan string, enrolDepth+5)
	for range enrolDepth + 5 {
		work <- t.TempDir()
	}
	close(work)
	for range 4 {
		wg.Go(func() {
			for dir := range work {
				if _, err := EnrolNode(context.Background(), p.url, token, identity.Client, dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestEnrolDisk: what can fail on this side fails before the token is used.
func TestEnrolDisk(t *testing.T) {
	n := newNetwork(t)
	relay := n.node(t, identity.Relay, "relay-1")
	e := &certifier{n: n, kind: identity.Client}
	p := listen(t, relay, func(o *ServerOptions) { o.Enroller = e })
	token := identity.NewToken(identity.Client, relay.Roots.Hash()).String()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := EnrolNode(t.Context(), p.url, token, identity.Client, filepath.Join(file, "dir")); err == nil {
		t.Error("EnrolNode() beneath a file = nil, want an error")
	}
	if len(e.requests()) != 0 {
		t.Error("the token was used")
	}
}
