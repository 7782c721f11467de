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
