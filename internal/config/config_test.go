package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// program is a configuration as our programs nest them.
type program struct {
	HTTP      listener   `yaml:"http"`
	Redis     redis      `yaml:"redis"`
	Upstreams []upstream `yaml:"upstreams"`
	WebRTC    webrtc     `yaml:"webrtc"`
	Device    device     `yaml:"device"`
	Log       logged     `yaml:"log"`
	Computed  string     `yaml:"-"`
}

type listener struct {
	Listen string `yaml:"listen"`
}

func (l listener) Validate() []Fault {
	if err := CheckListen(l.Listen); err != nil {
		return []Fault{Faultf("listen", "%v", err)}
	}
	return nil
}

type redis struct {
	URL   string `yaml:"url"`
	Token string `yaml:"token" secret:"true"`
}

type upstream struct {
	Control string `yaml:"control"`
	Media   string `yaml:"media"`
}

// Validate has a pointer receiver, which must be found as well.
func (u *upstream) Validate() []Fault {
	if u.Control == "" {
		return []Fault{Faultf("control", "empty")}
	}
	return nil
}

type webrtc struct {
	PublicIPs []string       `yaml:"public_ips"`
	Networks  []netip.Prefix `yaml:"networks"`
}

type device struct {
	Kind    string        `yaml:"kind"`
	SkewPPM float64       `yaml:"skew_ppm"`
	Buffer  time.Duration `yaml:"buffer"`
	Small   int8          `yaml:"small"`
	Count   uint16        `yaml:"count"`
	Mute    bool          `yaml:"mute"`
}

type logged struct {
	Level slog.Level `yaml:"level"`
}

func (p program) Validate() []Fault {
	if len(p.Upstreams) > 3 {
		return []Fault{Faultf("upstreams", "%d, want 3 at most", len(p.Upstreams))}
	}
	return nil
}

func defaults() program {
	return program{
		HTTP:      listener{Listen: ":8080"},
		Upstreams: []upstream{{Control: "wss://default:7443"}},
		Device:    device{Kind: "null", Buffer: 40 * time.Millisecond},
	}
}

func TestDecode(t *testing.T) {
	tests := []struct {
		name string
		yaml string
		env  []string
		want func(*program) // what differs from the defaults
	}{
		{name: "nothing", want: func(*program) {}},
		{name: "only comments", yaml: "# http: {listen: x}\n", want: func(*program) {}},
		{name: "empty section keeps its defaults", yaml: "http:\n  # listen: x\nredis:\n", want: func(*program) {}},
		{
			name: "flow style",
			yaml: `http: {listen: "127.0.0.1:0"}` + "\n" + `upstreams: [{control: "wss://a:1", media: ""}, {control: wss://b:2}]`,
			want: func(p *program) {
				p.HTTP.Listen = "127.0.0.1:0"
				p.Upstreams = []upstream{{Control: "wss://a:1"}, {Control: "wss://b:2"}}
			},
		},
		{
			name: "block style with every kind of value",
			yaml: `
device:
  kind: file
  skew_ppm: -12.5
  buffer: 1m30s
  small: -128
  count: 65535
  mute: true
log: {level: debug}
webrtc:
  public_ips:
    - 192.0.2.1
    - "2001:db8::1"
  networks: [192.0.2.0/24]
`,
			want: func(p *program) {
				p.Device = device{Kind: "file", SkewPPM: -12.5, Buffer: 90 * time.Second, Small: -128, Count: 65535, Mute: true}
				p.Log.Level = slog.LevelDebug
				p.WebRTC.PublicIPs = []string{"192.0.2.1", "2001:db8::1"}
				p.WebRTC.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
			},
		},
		{
			name: "a text stays as written, whatever YAML would call it",
			yaml: "redis: {url: 007}\ndevice: {kind: no}\n",
			want: func(p *program) { p.Redis.URL, p.Device.Kind = "007", "no" },
		},
		{
			name: "block text",
			yaml: "redis:\n  url: |\n    two\n    lines\n",
			want: func(p *program) { p.Redis.URL = "two\nlines\n" },
		},
		{
			name: "an empty list replaces the default",
			yaml: "upstreams: []",
			want: func(p *program) { p.Upstreams = []upstream{} },
		},
		{
			name: "windows line ends and a byte order mark",
			yaml: "\ufeffhttp:\r\n  listen: \":1\"\r\n",
			want: func(p *program) { p.HTTP.Listen = ":1" },
		},
		{
			name: "environment over file over default",
			yaml: "http: {listen: \":1\"}\ndevice: {kind: file}",
			env:  []string{"HOME=x", "DONGTHANH_HTTP_LISTEN=:2", "DONGTHANH_DEVICE_SKEW_PPM=50", "DONGTHANHX=1"},
			want: func(p *program) { p.HTTP.Listen, p.Device.Kind, p.Device.SkewPPM = ":2", "file", 50 },
		},
		{
			name: "environment empties a text",
			yaml: "redis: {url: redis://localhost}",
			env:  []string{"DONGTHANH_REDIS_URL="},
			want: func(*program) {},
		},
		{
			name: "environment changes and extends a list",
			env: []string{
				"DONGTHANH_UPSTREAMS_2_CONTROL=wss://third=x", "DONGTHANH_UPSTREAMS_0_MEDIA=udp:1",
				"DONGTHANH_UPSTREAMS_1_CONTROL=wss://second", "DONGTHANH_WEBRTC_PUBLIC_IPS_0=192.0.2.9",
			},
			want: func(p *program) {
				p.Upstreams = []upstream{{Control: "wss://default:7443", Media: "udp:1"}, {Control: "wss://second"}, {Control: "wss://third=x"}}
				p.WebRTC.PublicIPs = []string{"192.0.2.9"}
			},
		},
		{
			name: "environment extends a list beyond ten in order",
			env: func() (env []string) {
				for i := range 12 {
					env = append(env, fmt.Sprintf("DONGTHANH_WEBRTC_PUBLIC_IPS_%d=192.0.2.%d", i, i))
				}
				return env
			}(),
			want: func(p *program) {
				for i := range 12 {
					p.WebRTC.PublicIPs = append(p.WebRTC.PublicIPs, fmt.Sprintf("192.0.2.%d", i))
				}
			},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			want := defaults()
			tc.want(&want)
			got := defaults()
			if err := decode("test.yaml", []byte(tc.yaml), tc.env, &got); err != nil {
				t.Fatalf("decode: %v", err)
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("decode (-want +got):\n%s", diff)
			}
		})
	}
}

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

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name, path, want string
	}{
		{"good", write("good.yaml", "http: {listen: \":9\"}"), ""},
		{"missing", filepath.Join(dir, "none.yaml"), "none.yaml: no such file"},
		{"folder", dir, ": a folder, not a file"},
		{"endless", "/dev/zero", "/dev/zero: larger than 1048576 bytes: not a configuration file"},
		{"large", write("large.yaml", strings.Repeat("# x\n", MaxFileBytes/4)+"#"), "larger than 1048576 bytes"},
		{"largest", write("largest.yaml", strings.Repeat("# x\n", MaxFileBytes/4)), ""},
		{"not text", write("binary.yaml", "http: {listen: \xff}"), "binary.yaml: not text in UTF-8"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := defaults()
			err := Load(tc.path, &got)
			if (tc.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Load(%s) = %v, want %q", tc.path, err, tc.want)
			}
		})
	}
}

func TestLoadReadsTheEnvironment(t *testing.T) {
	t.Setenv("DONGTHANH_HTTP_LISTEN", "127.0.0.1:7")
	got := defaults()
	if err := Load("", &got); err != nil || got.HTTP.Listen != "127.0.0.1:7" {
		t.Errorf("Load = %v, listen %q, want the environment's", err, got.HTTP.Listen)
	}
}

// TestDefaultsAreNotShared holds that an override of a list element leaves the defaults' array alone.
func TestDefaultsAreNotShared(t *testing.T) {
	base := defaults()
	got := base
	if err := decode("", nil, []string{"DONGTHANH_UPSTREAMS_0_CONTROL=wss://other"}, &got); err != nil {
		t.Fatal(err)
	}
	if base.Upstreams[0].Control != "wss://default:7443" {
		t.Errorf("default upstream became %q", base.Upstreams[0].Control)
	}
}

func TestBugsOfTheProgramPanic(t *testing.T) {
	tests := []struct {
		name string
		load func()
	}{
		{"no tag", func() { _ = Load("", &struct{ Listen string }{}) }},
		{"upper case", func() {
			_ = Load("", &struct {
				A string `yaml:"Listen"`
			}{})
		}},
		{"a map", func() {
			_ = Load("", &struct {
				A map[string]string `yaml:"a"`
			}{})
		}},
		{"two keys with one variable", func() {
			_ = Load("", &struct {
				A struct {
					BC string `yaml:"b_c"`
				} `yaml:"a"`
				AB struct {
					C string `yaml:"c"`
				} `yaml:"a_b"`
			}{})
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic, want one that names the field")
				}
			}()
			tc.load()
		})
	}
}

func TestShowAndWritten(t *testing.T) {
	c := defaults()
	c.Redis = redis{URL: "redis://user:hunter2@localhost:6379/0", Token: "hunter2"}
	want := []string{
		`http.listen: ":8080"`,
		`redis.url: "redis://user:xxxxx@localhost:6379/0"`,
		`redis.token: (set)`,
		`upstreams.0.control: "wss://default:7443"`,
		`upstreams.0.media: ""`,
		`webrtc.public_ips: []`,
		`webrtc.networks: []`,
		`device.kind: "null"`,
		`device.skew_ppm: 0`,
		`device.buffer: 40ms`,
		`device.small: 0`,
		`device.count: 0`,
		`device.mute: false`,
		`log.level: "INFO"`,
	}
	if diff := cmp.Diff(want, Show(&c)); diff != "" {
		t.Errorf("Show (-want +got):\n%s", diff)
	}
	paths, err := Written("http: {listen: \":8080\"}\nupstreams: [{control: a, media: \"\"}]\nwebrtc: {public_ips: []}\n")
	if diff := cmp.Diff([]string{"http.listen", "upstreams.0.control", "upstreams.0.media", "webrtc.public_ips"}, paths); err != nil || diff != "" {
		t.Errorf("Written = %v (-want +got):\n%s", err, diff)
	}
}

func TestCheckAddresses(t *testing.T) {
	tests := []struct {
		address      string
		listen, dial bool
	}{
		{":8080", true, false},
		{"127.0.0.1:9089", true, true},
		{"127.0.0.1:0", true, false},
		{"[::1]:80", true, true},
		{"[fe80::1%eth0]:80", true, true},
		{"localhost:80", true, true},
		{"example.com:80", false, true},
		{"", false, false},
		{":", false, false},
		{"8080", false, false},
		{":http", false, false},
		{":65536", false, false},
		{":-1", false, false},
		{":+1", false, false},
		{"::1:80", false, false},
		{"127.0.0.1", false, false},
		{"127.0.0.1:80:80", false, false},
		{"256.0.0.1:80", false, true}, // may be a name
		{"http://example.com:80", false, false},
		{"exa mple:80", false, false},
	}
	for _, tc := range tests {
		if err := CheckListen(tc.address); (err == nil) != tc.listen {
			t.Errorf("CheckListen(%q) = %v, want ok %v", tc.address, err, tc.listen)
		}
		if err := CheckDial(tc.address); (err == nil) != tc.dial {
			t.Errorf("CheckDial(%q) = %v, want ok %v", tc.address, err, tc.dial)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("http: {listen: \":1\"}\nupstreams: [{control: a}, {control: b}]", "DONGTHANH_UPSTREAMS_2_CONTROL=x")
	f.Add("device:\n  buffer: 1s\n  kind: |\n    a\n", "DONGTHANH_HTTP=x")
	f.Add("a: &b [*b, !!int 3, <<: {}]\n---\n? x\n: y", "DONGTHANH_")
	f.Add("http: {listen: \"\\u0000\"}", "")
	f.Fuzz(func(t *testing.T, yaml, env string) {
		got := defaults()
		err := decode("fuzz.yaml", []byte(yaml), []string{env}, &got)
		if err == nil {
			return
		}
		faults, ok := err.(Faults)
		if !ok || len(faults) == 0 {
			t.Fatalf("decode = %v, want Faults", err)
		}
		for _, one := range faults {
			if s := one.String(); one.Path == "" || one.What == "" || strings.Contains(s, "\n") {
				t.Fatalf("fault %q, want one line with a path and a reason", s)
			}
		}
	})
}
