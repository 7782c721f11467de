package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
)

// each has one message of each sort.
func each() []Message {
	return []Message{
		{Join: &Join{Version: "1.0", Standby: true, Boot: 7}},
		{Welcome: &Welcome{Flow: []byte("12345678"), Media: "[::1]:7444", Path: []string{"s", "r"}}},
		{Refuse: &Refuse{Code: CodeLoop, Reason: "r stands in its own path"}},
		{Path: &Path{Nodes: []string{"s"}}},
		{Session: &Session{Cert: []byte{1}, Issuer: []byte{2}}},
		{Stop: &Stop{Order: []byte{1}, Issuer: []byte{2}}},
		{Keys: &Keys{Node: "c", Envelopes: [][]byte{{1}, {2}}, Issuer: []byte{3}}},
		{Order: &Order{Node: "c", Order: []byte{1}, Issuer: []byte{2}}},
		{Certificate: &Certificate{Node: "c", Chain: [][]byte{{1}, {2}, {3}}}},
		{Revoked: &Revoked{Orders: [][]byte{{1}}, Issuer: []byte{2}}},
		{Changes: &Changes{Full: true, Members: []Member{{Node: "c", Via: "r", Kind: "client", Zone: "31/1", Since: 5, Serial: "0a"}, {Node: "d", Gone: true}}}},
		{Digest: &Digest{Count: 3, Sum: 1<<64 - 1}},
		{Resync: &Resync{}},
		{Reports: &Reports{Reports: [][]byte{{1}}}},
		{Enrol: &Enrol{Ref: 1, Request: EnrolRequest{Token: "DT1.x", Kind: "client", CSR: []byte{1}}}},
		{EnrolReply: &EnrolReply{Ref: 1, Reply: &EnrolResponse{Chain: [][]byte{{1}}, Roots: [][]byte{{2}}}}},
		{EnrolReply: &EnrolReply{Ref: 1, Error: "used", Code: CodeUsed}},
	}
}

func TestMessages(t *testing.T) {
	seen := make(map[int]bool)
	for _, m := range each() {
		f := must(Encode(m))(t)
		got, err := decode(f.text)
		if diff := cmp.Diff(m, got); err != nil || diff != "" {
			t.Errorf("decode(%s) = %v (-want +got):\n%s", f.text, err, diff)
		}
		v := reflect.ValueOf(m)
		for i := range v.NumField() {
			seen[i] = seen[i] || !v.Field(i).IsNil()
		}
	}
	// members and check must know each that Message has.
	if n := reflect.TypeFor[Message]().NumField(); len(seen) != n || !allTrue(seen) {
		t.Errorf("not every member of Message is tried: %v of %d", seen, n)
	}
	for i := range each() {
		if each()[i].members() != 1 {
			t.Errorf("members() does not count %+v", each()[i])
		}
	}
}

func allTrue(m map[int]bool) bool {
	for _, ok := range m {
		if !ok {
			return false
		}
	}
	return true
}

func TestEncodeRefuses(t *testing.T) {
	if _, err := Encode(Message{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("Encode(nothing) = %v, want ErrMalformed", err)
	}
	if _, err := Encode(Message{Resync: &Resync{}, Path: &Path{}}); !errors.Is(err, ErrMalformed) {
		t.Errorf("Encode(two) = %v, want ErrMalformed", err)
	}
	if _, err := Encode(Message{Refuse: &Refuse{Reason: strings.Repeat("x", MaxMessage)}}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Encode(large) = %v, want ErrTooLarge", err)
	}
}

// TestDecodeIgnores: what a later version may send.
func TestDecodeIgnores(t *testing.T) {
	for name, text := range map[string]string{
		"an unknown message":       `{"weather":{"rain":[1,2,{"x":null}]}}`,
		"with a number too large":  `{"weather":1e999}`,
		"null":                     `{"join":null}`,
		"an unknown field":         `{"resync":{"why":"x"}}`,
		"space around":             " \r\n\t{\"resync\" : { } }\n",
		"depth within bounds":      `{"x":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`,
		"same names in two places": `{"x":[{"a":1},{"a":{"a":2}}]}`,
	} {
		if _, err := decode([]byte(text)); err != nil {
			t.Errorf("decode(%s) = %v, want nil", name, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	quote := func(n int) string { return `"` + strings.Repeat("a", n) + `"` }
	base := func(n int) string { return string(must(json.Marshal(make([]byte, n)))(t)) }
	list := func(n int, item string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	for name, text := range map[string]string{
		"nothing": ``, "space": ` `, "null": `null`, "a number": `1`, "a string": `"join"`, "an array": `[]`, "true": `true`,
		"empty object": `{}`, "two members": `{"resync":{},"path":{}}`, "two unknown members": `{"a":1,"b":2}`,
		"known and unknown": `{"resync":{},"b":2}`, "same twice": `{"resync":{},"resync":{}}`, "same in capitals": `{"resync":{},"RESYNC":{}}`,
		"trailing object": `{"resync":{}}{"resync":{}}`, "trailing word": `{"resync":{}} x`, "trailing brace": `{"resync":{}}}`,
		"cut off": `{"resync":{}`, "comma at the end": `{"resync":{},}`, "no quotes": `{resync:{}}`, "single quotes": `{'resync':{}}`,
		"comment": `{"resync":{}/**/}`, "byte order mark": "\xef\xbb\xbf{\"resync\":{}}", "NUL": "{\"resync\":{}}\x00",
		"not UTF-8": "{\"refuse\":{\"code\":\"\xff\"}}", "NaN": `{"x":NaN}`, "leading zero": `{"x":01}`,
		"deep": `{"x":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `}`, "deep objects": strings.Repeat(`{"x":`, 100000),
		"one too deep":       `{"x":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`,
		"duplicate within":   `{"join":{"boot":1,"boot":2}}`,
		"duplicate by case":  `{"join":{"boot":1,"Boot":2}}`,
		"duplicate by fold":  `{"session":{"cert":"AA==","issuer":"AA==","iſſuer":"AQ=="}}`,
		"duplicate unknown":  `{"x":{"y":[{"z":1,"z":2}]}}`,
		"duplicate escaped":  `{"join":{"boot":1,"\u0062oot":2}}`,
		"negative":           `{"join":{"boot":-1}}`,
		"2^32":               `{"join":{"boot":4294967296}}`,
		"fraction":           `{"join":{"boot":1.5}}`,
		"2^63":               `{"changes":{"members":[{"node":"a","since":9223372036854775808}]}}`,
		"1e999":              `{"digest":{"count":1e999,"sum":"0"}}`,
		"2^64 in a string":   `{"digest":{"count":1,"sum":"18446744073709551616"}}`,
		"wrong type":         `{"join":[]}`,
		"no base64":          `{"session":{"cert":"!","issuer":"AA=="}}`,
		"version too long":   `{"join":{"version":` + quote(maxWord+1) + `}}`,
		"no flow":            `{"welcome":{"media":":1","path":["s"]}}`,
		"short flow":         `{"welcome":{"flow":"AA==","path":[]}}`,
		"media too long":     `{"welcome":{"flow":"AAAAAAAAAAA=","media":` + quote(maxText+1) + `}}`,
		"bad id in welcome":  `{"welcome":{"flow":"AAAAAAAAAAA=","path":["a b"]}}`,
		"empty id in path":   `{"path":{"nodes":[""]}}`,
		"long id in path":    `{"path":{"nodes":[` + quote(signed.MaxNodeID+1) + `]}}`,
		"long path":          `{"path":{"nodes":` + list(maxPath+1, `"a"`) + `}}`,
		"long reason":        `{"refuse":{"reason":` + quote(maxText+1) + `}}`,
		"empty session":      `{"session":{}}`,
		"large session":      `{"session":{"cert":` + base(signed.MaxLen+1) + `,"issuer":"AA=="}}`,
		"large issuer":       `{"session":{"cert":"AA==","issuer":` + base(signed.MaxLen+1) + `}}`,
		"empty stop":         `{"stop":{"issuer":"AA=="}}`,
		"keys for nobody":    `{"keys":{"envelopes":[],"issuer":"AA=="}}`,
		"empty envelope":     `{"keys":{"node":"a","envelopes":[""],"issuer":"AA=="}}`,
		"many envelopes":     `{"keys":{"node":"a","envelopes":` + list(maxEnvelopes+1, `"AA=="`) + `,"issuer":"AA=="}}`,
		"order for nobody":   `{"order":{"order":"AA==","issuer":"AA=="}}`,
		"empty order":        `{"order":{"node":"a","issuer":"AA=="}}`,
		"large order":        `{"order":{"node":"a","order":` + base(signed.MaxLen+1) + `,"issuer":"AA=="}}`,
		"order by nobody":    `{"order":{"node":"a","order":"AA=="}}`,
		"member without id":  `{"changes":{"members":[{}]}}`,
		"member's bad via":   `{"changes":{"members":[{"node":"a","via":"/"}]}}`,
		"member's bad zone":  `{"changes":{"members":[{"node":"a","zone":"31//"}]}}`,
		"member's long kind": `{"changes":{"members":[{"node":"a","kind":` + quote(maxWord+1) + `}]}}`,
		"empty report":       `{"reports":{"reports":[""]}}`,
		"enrol without CSR":  `{"enrol":{"request":{"token":"x","kind":"client"}}}`,
		"long token":         `{"enrol":{"request":{"token":` + quote(2*maxWord+1) + `,"csr":"AA=="}}}`,
		"long chain":         `{"enrol_reply":{"reply":{"chain":` + list(maxChain+1, `"AA=="`) + `,"roots":[]}}}`,
		"three roots":        `{"enrol_reply":{"reply":{"chain":[],"roots":` + list(maxRoots+1, `"AA=="`) + `}}}`,
	} {
		if m, err := decode([]byte(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("decode(%s) = %+v, %v, want ErrMalformed", name, m, err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range each() {
		text, err := Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text.text)
	}
	f.Add([]byte(`{"x":{"a":1,"A":2}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > MaxMessage {
			return
		}
		m, err := decode(text)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("decode(%q) = %v, want ErrMalformed", text, err)
			}
			return
		}
		if !json.Valid(text) {
			t.Fatalf("decode accepts %q, which is no JSON", text)
		}
		if m.members() == 0 {
			return // unknown
		}
		again, err := Encode(m)
		if errors.Is(err, ErrTooLarge) {
			return // escapes grow
		}
		if err != nil {
			t.Fatalf("Encode(decode(%q)) = %v", text, err)
		}
		n, err := decode(again.text)
		if err != nil {
			t.Fatalf("decode(%q) = %v", again.text, err)
		}
		third, err := Encode(n)
		if err != nil || !bytes.Equal(again.text, third.text) {
			t.Fatalf("%q becomes %q, then %q, %v", text, again.text, third.text, err)
		}
	})
}

func TestSplitChanges(t *testing.T) {
	var members []Member
	for i := range 3000 {
		members = append(members, Member{
			Node: fmt.Sprintf("client-%d", i), Via: "relay-1", Kind: "client", Zone: zone.Zone(fmt.Sprintf("31/%d", i%700)),
			Version: "v1.2.3", Address: "203.0.113.7:40000", Since: 1795500000000, Standby: i%700 == 5 && i < 700,
		})
	}
	for _, full := range []bool{true, false} {
		parts := SplitChanges(Changes{Full: full, Members: members})
		seen := make(map[string]int)
		var order []string
		for i, p := range parts {
			f, err := Encode(Message{Changes: &p})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := decode(f.text); err != nil {
				t.Fatal(err)
			}
			if i < len(parts)-1 && len(f.text) < MaxMessage/2 {
				t.Errorf("part %d of %d has %d bytes: wasteful", i, len(parts), len(f.text))
			}
			if p.Full != (full && i == 0) {
				t.Errorf("part %d has Full %t", i, p.Full)
			}
			for _, m := range p.Members {
				seen[m.Node]++
				order = append(order, m.Node)
			}
		}
		if len(seen) != len(members) || len(order) != len(members) || len(parts) < 3 {
			t.Errorf("%d members in %d parts, %d of them once, want %d", len(order), len(parts), len(seen), len(members))
		}
		if !full && order[0] != members[0].Node {
			t.Errorf("changes were put in another order")
		}
		if full {
			zones := make(map[zone.Zone]bool)
			for _, m := range parts[0].Members {
				zones[m.Zone] = zones[m.Zone] || !m.Standby
			}
			if len(zones) > 700 || len(parts[0].Members) < len(zones) {
				t.Errorf("the first part holds %d zones", len(zones))
			}
		}
	}
	// Zones come first as far as they fit.
	few := members[:1400]
	first := SplitChanges(Changes{Full: true, Members: few})[0]
	zones := make(map[zone.Zone]bool)
	for i, m := range first.Members[:min(700, len(first.Members))] {
		if zones[m.Zone] || m.Standby {
			t.Fatalf("member %d of the first part is the second of zone %q, or stands by", i, m.Zone)
		}
		zones[m.Zone] = true
	}
	if parts := SplitChanges(Changes{Full: true}); len(parts) != 1 || !parts[0].Full {
		t.Errorf("SplitChanges(full and empty) = %+v, want one full part", parts)
	}
	if parts := SplitChanges(Changes{}); len(parts) != 0 {
		t.Errorf("SplitChanges(nothing) = %+v, want none", parts)
	}
}

func TestSplitReports(t *testing.T) {
	var reports [][]byte
	for i := range 300 {
		reports = append(reports, bytes.Repeat([]byte{byte(i)}, 1+i*6))
	}
	var got [][]byte
	for _, p := range SplitReports(reports) {
		if _, err := Encode(Message{Reports: &p}); err != nil {
			t.Fatal(err)
		}
		got = append(got, p.Reports...)
	}
	if !slices.EqualFunc(reports, got, bytes.Equal) {
		t.Errorf("SplitReports() gives %d reports back, or others, want %d", len(got), len(reports))
	}
}
