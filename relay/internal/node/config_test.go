package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dongthanh/internal/config"
)

const sample = "../../../configs/relay.yaml"

// TestSample holds the commented sample to the defaults: every key stands in it, with the value in force without it.
func TestSample(t *testing.T) {
	got := Config{}
	if err := config.Load(sample, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got); diff != "" {
		t.Errorf("the sample is not the defaults (-default +sample):\n%s", diff)
	}
	text, err := os.ReadFile(sample)
	check(t, err)
	keys, err := config.Written(string(text))
	check(t, err)
	written := strings.Join(keys, "\n")
	def := Default()
	for _, line := range config.Show(&def) {
		key, _, _ := strings.Cut(line, ":")
		if !strings.Contains(written, key) {
			t.Errorf("the sample does not show %s", key)
		}
	}
}

func TestConfigFaults(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"no upstream", "upstreams: []\n", []string{"upstreams:"}},
		{"too many", "upstreams: [{control: 'wss://a:1'}, {control: 'wss://b:1'}, {control: 'wss://c:1'}, {control: 'wss://d:1'}, {control: 'wss://e:1'}]\n", []string{"upstreams: 5"}},
		{"twice the same", "upstreams: [{control: 'wss://a:1'}, {control: 'wss://a:1'}]\n", []string{"given twice"}},
		{"not an address", "upstreams: [{control: 'a:1'}]\n", []string{"upstreams.0.control", "wss://"}},
		{"several at once", "upstreams: [{control: 'a:1', media: x}]\nstore: {dir: ''}\nadmin: {listen: nowhere}\nnodes: {control: ':99999'}\n",
			[]string{"upstreams.0.control", "upstreams.0.media", "store.dir", "admin.listen", "nodes.control"}},
		{"unknown key", "upstream: x\n", []string{"upstream", "unknown key"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "relay.yaml")
			check(t, os.WriteFile(path, []byte(tc.text), 0o600))
			cfg := Default()
			err := config.Load(path, &cfg)
			if err == nil {
				t.Fatal("no fault found")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("faults\n%v\nlack %q", err, w)
				}
			}
		})
	}
}
