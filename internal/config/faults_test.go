package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeFaults(t *testing.T) {
	deep := strings.Repeat("[", 100_000)
	tests := []struct {
		name string
		yaml string
		env  []string
		want []string
	}{
		{
			name: "unknown key, with what was meant",
			yaml: "http:\n  listne: x\n",
			want: []string{"http.listne: unknown key; did you mean listen? (line 2)"},
		},
		{
			name: "unknown key, unlike any other",
			yaml: "redis: {database: 3}",
			want: []string{"redis.database: unknown key; known here: url, token (line 1)"},
		},
		{name: "unknown section", yaml: "htpt: {}", want: []string{"htpt: unknown key; did you mean http? (line 1)"}},
		{name: "untagged field is no key", yaml: "computed: x", want: []string{"computed: unknown key; known here: http, redis, upstreams, webrtc, device, log (line 1)"}},
		{
			name: "repeated key",
			yaml: "http: {listen: \":1\"}\nredis: {url: a, url: b}\nhttp: {listen: \":2\"}\n",
			want: []string{"redis.url: written twice, first in line 2 (line 2)", "http: written twice, first in line 1 (line 3)"},
		},
		{
			name: "every fault at once, file, environment and validation",
			yaml: "http: {listen: nowhere}\ndevice:\n  buffer: 5\n  small: 128\n  count: -1\n  mute: yes\n  skew_ppm: fast\n",
			env:  []string{"DONGTHANH_UPSTREAMS_0_CONTROL=", "DONGTHANH_LOG_LEVEL=loud"},
			want: []string{
				`device.buffer: "5" is not a span of time; write it like 400ms, 15s or 24h (line 3)`,
				`device.small: "128" is not a whole number from -128 to 127 (line 4)`,
				`device.count: "-1" is not a whole number from 0 to 65535 (line 5)`,
				`device.mute: "yes" is neither true nor false (line 6)`,
				`device.skew_ppm: "fast" is not a number (line 7)`,
				`log.level: slog: level string "loud": unknown name (from DONGTHANH_LOG_LEVEL)`,
				`http.listen: "nowhere" is not host:port, such as "127.0.0.1:8080" or ":8080" (line 1)`,
				`upstreams.0.control: empty (from DONGTHANH_UPSTREAMS_0_CONTROL)`,
			},
		},
		{
			name: "not a number although a float",
			yaml: "device: {skew_ppm: .nan}",
			want: []string{`device.skew_ppm: ".nan" is not a number (line 1)`},
		},
		{
			name: "infinite",
			env:  []string{"DONGTHANH_DEVICE_SKEW_PPM=Inf"},
			want: []string{`device.skew_ppm: "Inf" is not a number (from DONGTHANH_DEVICE_SKEW_PPM)`},
		},
		{
			name: "the top's own validation",
			yaml: "upstreams: [{control: a}, {control: b}, {control: c}, {control: d}]",
			want: []string{"upstreams: 4, want 3 at most (line 1)"},
		},
		{
			name: "list elements are validated, each with its index",
			yaml: "upstreams:\n  - control: a\n  - media: b\n",
			want: []string{"upstreams.1.control: empty"},
		},
		{name: "empty value", yaml: "http:\n  listen:\n", want: []string{`http.listen: wants one value, not nothing (an empty text is "") (line 2)`}},
		{name: "empty element", yaml: "webrtc:\n  public_ips:\n    -\n", want: []string{`webrtc.public_ips.0: empty (line 3)`}},
		{name: "list for a value", yaml: "http: {listen: [a]}", want: []string{"http.listen: wants one value, not a list (line 1)"}},
		{name: "keys for a value", yaml: "http: {listen: {a: b}}", want: []string{"http.listen: wants one value, not keys below it (line 1)"}},
		{name: "value for keys", yaml: "http: 8080", want: []string{`http: wants keys below it, not "8080" (line 1)`}},
		{name: "value for a list", yaml: "upstreams: wss://a", want: []string{`upstreams: wants a list, not "wss://a" (line 1)`}},
		{name: "value at the top", yaml: "hello", want: []string{`test.yaml: wants keys below it, not "hello" (line 1)`}},
		{name: "list at the top", yaml: "- a", want: []string{`test.yaml: wants keys below it, not a list (line 1)`}},
		{name: "anchor", yaml: "http: &a {listen: \":1\"}", want: []string{"http: an anchor: write the value out (line 1)"}},
		{name: "alias", yaml: "http: *a", want: []string{"http: an alias: write the value out (line 1)"}},
		{name: "tag", yaml: "http: !!map {}", want: []string{"http: a tag: write the value out (line 1)"}},
		{name: "merge key", yaml: "http:\n  <<: {listen: \":1\"}", want: []string{"http: a key that is not a plain word: write the keys out (line 2)"}},
		{name: "complex key", yaml: "? http\n: {}", want: []string{"test.yaml: a key that is not a plain word: write the keys out (line 1)"}},
		{name: "two documents", yaml: "http: {}\n---\nredis: {}\n", want: []string{"test.yaml: a second document; one file holds one (line 3)"}},
		{name: "not YAML", yaml: "http: {listen: \":1\"\nredis: [\n", want: []string{"test.yaml: ',' or '}' must be specified (line 2)"}},
		{name: "tab", yaml: "http:\n\tlisten: x\n", want: []string{"test.yaml: found character '\t' that cannot start any token (line 2)"}},
		{name: "deep brackets", yaml: deep, want: []string{"test.yaml: nests deeper than 32 (line 1)"}},
		{name: "deep dashes", yaml: strings.Repeat("- ", 100_000), want: []string{"test.yaml: nests deeper than 32 (line 1)"}},
		{
			name: "environment names no key",
			env:  []string{"DONGTHANH_HTTP_LISTNE=:1", "DONGTHANH_=x", "DONGTHANH_COMPUTED=x", "DONGTHANH_HTTP_LISTEN_X=1", "DONGTHANH_UPSTREAMS_X_MEDIA=1", "DONGTHANH_UPSTREAMS_00_MEDIA=1", "DONGTHANH_UPSTREAMS_-1_MEDIA=1", "DONGTHANH_UPSTREAMS_0_X=1"},
			want: []string{
				"DONGTHANH_: names no key of this program's configuration",
				"DONGTHANH_COMPUTED: names no key of this program's configuration",
				"DONGTHANH_HTTP_LISTEN_X: names no key of this program's configuration",
				"DONGTHANH_HTTP_LISTNE: names no key of this program's configuration",
				"DONGTHANH_UPSTREAMS_-1_MEDIA: names no key of this program's configuration",
				"DONGTHANH_UPSTREAMS_0_X: names no key of this program's configuration",
				"DONGTHANH_UPSTREAMS_00_MEDIA: names no key of this program's configuration",
				"DONGTHANH_UPSTREAMS_X_MEDIA: names no key of this program's configuration",
			},
		},
		{
			name: "environment names a section, a list, or leaves a gap",
			env:  []string{"DONGTHANH_HTTP=x", "DONGTHANH_UPSTREAMS=x", "DONGTHANH_UPSTREAMS_0=x", "DONGTHANH_UPSTREAMS_2_CONTROL=x"},
			want: []string{
				"http: a group of keys, not a key; add the key's name (from DONGTHANH_HTTP)",
				"upstreams: a list; add the index of an element, such as _0 (from DONGTHANH_UPSTREAMS)",
				"upstreams.0: a group of keys, not a key; add the key's name (from DONGTHANH_UPSTREAMS_0)",
				"upstreams.2: the list has 1 elements, so the next index is 1 (from DONGTHANH_UPSTREAMS_2_CONTROL)",
			},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := defaults()
			err := decode("test.yaml", []byte(tc.yaml), tc.env, &got)
			faults, ok := err.(Faults)
			if !ok {
				t.Fatalf("decode = %v, want Faults", err)
			}
			if diff := cmp.Diff(tc.want, strings.Split(faults.Error(), "\n")); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(defaults(), got); diff != "" {
				t.Errorf("a faulty file changed the configuration (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExcerptPointsAtThePlace(t *testing.T) {
	got := defaults()
	faults, _ := decode("x.yaml", []byte("# đầu\nhttp: {listen: \":1\", listne: x}\n"), nil, &got).(Faults)
	if len(faults) != 1 {
		t.Fatalf("faults = %v, want one", faults)
	}
	want := "    2 | http: {listen: \":1\", listne: x}\n      |                      ^"
	if faults[0].Excerpt() != want {
		t.Errorf("Excerpt() =\n%s\nwant\n%s", faults[0].Excerpt(), want)
	}
}
