package main

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"dongthanh/internal/config"
	"dongthanh/internal/program"
)

// TestSample: configs/client.yaml loads, names every key, and holds the defaults.
func TestSample(t *testing.T) {
	const path = "../configs/client.yaml"
	got, want := defaults(), defaults()
	got.Upstreams, got.Store.Dir, got.Admin.Listen = nil, "", ""
	if err := config.Load(path, &got); err != nil {
		t.Fatal(err)
	}
	if g, w := config.Show(&got), config.Show(&want); !slices.Equal(g, w) {
		t.Errorf("the sample holds\n%s\nthe defaults are\n%s", strings.Join(g, "\n"), strings.Join(w, "\n"))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	written, err := config.Written(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range config.Show(&want) {
		if key, _, _ := strings.Cut(line, ": "); !slices.Contains(written, key) {
			t.Errorf("the sample does not name %s", key)
		}
	}
}

// TestCommands: what each wrong command line says, and its exit code.
func TestCommands(t *testing.T) {
	dir := t.TempDir()
	p := program.Program{Name: "client", Commands: []program.Command{
		program.Configured("play", "", defaults, play), program.Check(defaults), enrol(),
	}}
	for _, tc := range []struct {
		name string
		env  map[string]string
		args []string
		code int
		want string
	}{
		{"check of the sample", nil, []string{"check", "--config", "../configs/client.yaml"}, 0, "ok"},
		{"check tells every fault", map[string]string{
			"DONGTHANH_DEVICE_KIND": "rtp", "DONGTHANH_ADMIN_LISTEN": "here", "DONGTHANH_UPSTREAMS_0_CONTROL": "https://x",
		}, []string{"check"}, 2, `device.kind: "rtp" is not in this build yet; it has alsa, file, null`},
		{"file without a path", map[string]string{"DONGTHANH_DEVICE_KIND": "file"}, []string{"play"}, 2, "device.path: empty"},
		{"unknown key", map[string]string{"DONGTHANH_DEVICE_PAHT": "x"}, []string{"play"}, 2, "DONGTHANH_DEVICE_PAHT"},
		{"not enrolled", map[string]string{"DONGTHANH_STORE_DIR": dir}, []string{"play"}, 1, "not enrolled"},
		{"no configuration", nil, []string{"play", "--config", dir + "/none.yaml"}, 2, "no such file"},
		{"enrol without a token", nil, []string{"enrol", "--upstream", "wss://localhost:1"}, 2, "--token"},
		{"enrol with a broken token", nil, []string{"enrol", "--upstream", "wss://localhost:1", "--token", "DT1.x", "--dir", dir}, 1, "token"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for k, v := range tc.env {
				t.Setenv(k, v)
			}
			var out bytes.Buffer
			code := p.Run(context.Background(), program.IO{In: strings.NewReader(""), Out: &out, Err: &out}, tc.args)
			if code != tc.code || !strings.Contains(out.String(), tc.want) {
				t.Errorf("exit %d, said %q; want %d and %q", code, out.String(), tc.code, tc.want)
			}
		})
	}
}
