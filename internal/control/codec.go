package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

// Bounds of what a message holds. What has no reason of its own is taste, well above what occurs.
const (
	maxDepth     = 32 // levels of JSON
	maxPath      = 64 // nodes; the rule of 16 hops is the reader's to judge
	maxText      = 512
	maxWord      = 64
	maxEnvelopes = 3 * (zone.MaxDepth + 1) // epochs × zones of a chain
	maxChain     = 4
	maxRoots     = 2
	// MaxRevocations is how many revocations one message holds: as many as fit with room for the issuer.
	MaxRevocations = 16
)

// Frame is an encoded message, for sending the same to many. It is read only.
type Frame struct{ text []byte }

// Encode encodes a message, which must have exactly one member. ErrMalformed, ErrTooLarge.
func Encode(m Message) (Frame, error) {
	if n := m.members(); n != 1 {
		return Frame{}, fmt.Errorf("encode message: %w: %d members, want 1", ErrMalformed, n)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return Frame{}, fmt.Errorf("encode message: %w", err)
	}
	if len(text) > MaxMessage {
		return Frame{}, fmt.Errorf("encode message: %w: %d bytes, want at most %d", ErrTooLarge, len(text), MaxMessage)
	}
	return Frame{text: text}, nil
}

// decode reads a message from outside: valid UTF-8, one object of one member, no name twice in an object, bounded depth,
// nothing behind it, values within bounds. A member that this version does not know gives the empty message. Errors wrap
// ErrMalformed.
func decode(text []byte) (Message, error) {
	var m Message
	n, err := strict(text)
	if err != nil {
		return Message{}, err
	}
	if n != 1 {
		return Message{}, fmt.Errorf("%w: %d members, want 1", ErrMalformed, n)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := m.check(); err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return m, nil
}

// strict refuses what encoding/json would let pass and two readers might understand differently: names that come twice
// (also in other letter case, which it takes for the same), bytes that are no UTF-8, great depth, trailing data, and a
// top level that is no object. It returns how many members that object has.
func strict(text []byte) (members int, err error) {
	if !utf8.Valid(text) || !json.Valid(text) {
		return 0, fmt.Errorf("%w: not JSON in UTF-8", ErrMalformed)
	}
	if text = bytes.TrimLeft(text, " \t\r\n"); text[0] != '{' {
		return 0, fmt.Errorf("%w: not an object", ErrMalformed)
	}
	// The text is valid JSON: only strings, braces and commas matter.
	type level struct {
		object, name bool // name: a name comes next
		names        map[string]bool
	}
	open := make([]level, 0, maxDepth)
	for i := 0; i < len(text); i++ {
		top := len(open) - 1
		switch text[i] {
		case '{', '[':
			if len(open) == maxDepth {
				return 0, fmt.Errorf("%w: deeper than %d levels", ErrMalformed, maxDepth)
			}
			open = append(open, level{object: text[i] == '{', name: text[i] == '{'})
		case '}', ']':
			members = len(open[top].names)
			open = open[:top]
		case ',':
			open[top].name = open[top].object
		case '"':
			end := quoted(text, i)
			if l := &open[top]; l.name {
				name, err := plain(text[i:end])
				if err != nil || l.names[name] {
					return 0, fmt.Errorf("%w: name %s comes twice", ErrMalformed, text[i:min(end, i+maxWord)])
				}
				if l.names == nil {
					l.names = make(map[string]bool)
				}
				l.names[name], l.name = true, false
			}
			i = end - 1
		}
	}
	return members, nil
}

// quoted returns where the string that begins at i ends.
func quoted(text []byte, i int) int {
	for i++; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// plain returns a name without quotes, escapes and letter case.
func plain(quoted []byte) (string, error) {
	var s string
	if !bytes.ContainsRune(quoted, '\\') {
		return fold(string(quoted[1 : len(quoted)-1])), nil
	}
	if err := json.Unmarshal(quoted, &s); err != nil {
		return "", err
	}
	return fold(s), nil
}

// fold maps names to one where encoding/json takes them for the same: each letter becomes the least of those that
// differ from it in case only.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r) // the next higher one, at last the least
			if next <= r {
				return next
			}
			r = next
		}
	}, s)
}

// members counts what is set.
func (m Message) members() int {
	n := 0
	for _, set := range []bool{
		m.Join != nil, m.Welcome != nil, m.Refuse != nil, m.Path != nil, m.Session != nil, m.Stop != nil, m.Keys != nil,
		m.Order != nil, m.Certificate != nil, m.Revoked != nil, m.Changes != nil, m.Digest != nil, m.Resync != nil, m.Reports != nil, m.Enrol != nil, m.EnrolReply != nil,
	} {
		if set {
			n++
		}
	}
	return n
}

// check returns the first value out of bounds.
func (m Message) check() error {
	switch {
	case m.Join != nil:
		return text("version", m.Join.Version, maxWord)
	case m.Welcome != nil:
		if len(m.Welcome.Flow) != len(wire.FlowID{}) {
			return fmt.Errorf("flow id of %d bytes", len(m.Welcome.Flow))
		}
		return errors.Join(text("media address", m.Welcome.Media, maxText), path(m.Welcome.Path))
	case m.Refuse != nil:
		return errors.Join(text("code", m.Refuse.Code, maxWord), text("reason", m.Refuse.Reason, maxText))
	case m.Path != nil:
		return path(m.Path.Nodes)
	case m.Session != nil:
		return errors.Join(object(m.Session.Cert), object(m.Session.Issuer))
	case m.Stop != nil:
		return errors.Join(object(m.Stop.Order), object(m.Stop.Issuer))
	case m.Keys != nil:
		return m.Keys.check()
	case m.Order != nil:
		return m.Order.check()
	case m.Certificate != nil:
		return m.Certificate.check()
	case m.Revoked != nil:
		return errors.Join(objects(m.Revoked.Orders, MaxRevocations), object(m.Revoked.Issuer))
	case m.Changes != nil:
		for _, x := range m.Changes.Members {
			if err := x.check(); err != nil {
				return err
			}
		}
	case m.Reports != nil:
		return objects(m.Reports.Reports, MaxMessage)
	case m.Enrol != nil:
		return m.Enrol.Request.check()
	case m.EnrolReply != nil:
		return m.EnrolReply.check()
	}
	return nil
}

func (k *Keys) check() error {
	if !identity.ValidID(k.Node) {
		return fmt.Errorf("node id %q", k.Node)
	}
	return errors.Join(objects(k.Envelopes, maxEnvelopes), object(k.Issuer))
}

func (o *Order) check() error {
	if !identity.ValidID(o.Node) {
		return fmt.Errorf("node id %q", o.Node)
	}
	return errors.Join(object(o.Order), object(o.Issuer))
}

func (c *Certificate) check() error {
	if !identity.ValidID(c.Node) {
		return fmt.Errorf("node id %q", c.Node)
	}
	return objects(c.Chain, maxChain)
}

func (x Member) check() error {
	if !identity.ValidID(x.Node) || x.Via != "" && !identity.ValidID(x.Via) {
		return fmt.Errorf("member %q via %q", x.Node, x.Via)
	}
	if _, err := zone.Parse(string(x.Zone)); err != nil {
		return err
	}
	return errors.Join(text("kind", x.Kind, maxWord), text("version", x.Version, maxWord), text("address", x.Address, maxWord),
		text("serial", x.Serial, maxWord))
}

func (r EnrolRequest) check() error {
	return errors.Join(text("token", r.Token, 2*maxWord), text("kind", r.Kind, maxWord), object(r.CSR))
}

func (r *EnrolReply) check() error {
	if err := errors.Join(text("code", r.Code, maxWord), text("error", r.Error, maxText)); err != nil || r.Reply == nil {
		return err
	}
	return r.Reply.check()
}

func (r *EnrolResponse) check() error {
	return errors.Join(objects(r.Chain, maxChain), objects(r.Roots, maxRoots))
}

func text(what, s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%s of %d bytes, want at most %d", what, len(s), most)
	}
	return nil
}

func object(b []byte) error {
	if len(b) == 0 || len(b) > signed.MaxLen {
		return fmt.Errorf("object of %d bytes, want 1 to %d", len(b), signed.MaxLen)
	}
	return nil
}

func objects(list [][]byte, most int) error {
	if len(list) > most {
		return fmt.Errorf("%d objects, want at most %d", len(list), most)
	}
	for _, b := range list {
		if err := object(b); err != nil {
			return err
		}
	}
	return nil
}

func path(nodes []string) error {
	if len(nodes) > maxPath {
		return fmt.Errorf("path of %d nodes, want at most %d", len(nodes), maxPath)
	}
	for _, id := range nodes {
		if !identity.ValidID(id) {
			return fmt.Errorf("node id %q in a path", id)
		}
	}
	return nil
}
