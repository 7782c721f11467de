package program

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dongthanh/internal/config"
)

type settings struct {
	HTTP struct {
		Listen string `yaml:"listen"`
	} `yaml:"http"`
}

func (s settings) Validate() []config.Fault {
	if err := config.CheckListen(s.HTTP.Listen); err != nil {
		return []config.Fault{config.Faultf("http.listen", "%v", err)}
	}
	return nil
}

func defaults() (s settings) {
	s.HTTP.Listen = ":8080"
	return s
}

// sample is a program with a command of each sort.
func sample() Program {
	return Program{Name: "sample", About: "a sample", Commands: []Command{
		Configured("serve", "serve", defaults, func(_ context.Context, std IO, cfg settings) error {
			_, err := fmt.Fprintln(std.Out, "serving", cfg.HTTP.Listen)
			return err
		}),
		Check(defaults),
		{Name: "user add", Args: "NAME", About: "add a user", Setup: func(flags *flag.FlagSet) Action {
			role := flags.String("role", "officer", "the user's `role`")
			return func(_ context.Context, std IO, args []string) error {
				if *role == "king" {
					return Usagef("no role %s", *role)
				}
				in, err := io.ReadAll(std.In)
				fmt.Fprintf(std.Out, "%q %s %s", args, *role, in)
				return err
			}
		}},
		{Name: "fail", About: "fail", Setup: func(*flag.FlagSet) Action {
			return func(context.Context, IO, []string) error { return errors.New("open store: disk full") }
		}},
		{Name: "wait", About: "wait for a signal", Setup: func(*flag.FlagSet) Action {
			return func(ctx context.Context, std IO, _ []string) error {
				fmt.Fprintln(std.Out, "waiting")
				<-ctx.Done()
				return fmt.Errorf("wait: %w", ctx.Err())
			}
		}},
	}}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	good, bad, broken := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml"), filepath.Join(dir, "broken.yaml")
	for path, text := range map[string]string{
		good:   "http: {listen: \":9\"}\n",
		bad:    "http:\n  listen: nowhere\n  port: 3\nstore: {}\n",
		broken: "http: {listen: \":9\"\n\nx: [\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name     string
		args     []string
		want     int
		out, err string // what they must hold; empty: they must be empty
	}{
		{"no command", nil, 2, "", "sample check"},
		{"unknown command", []string{"sevre"}, 2, "", `sample: unknown command "sevre"`},
		{"half a command", []string{"user"}, 2, "", `sample: unknown command "user"`},
		{"help", []string{"--help"}, 0, "sample user add NAME  add a user", ""},
		{"help of a command", []string{"user", "add", "--help"}, 0, "--role ROLE", ""},
		{"version", []string{"version"}, 0, "sample devel go1.", ""},
		{"version with an argument", []string{"version", "x"}, 2, "", "got 1 arguments, want 0"},
		{"serve on defaults", []string{"serve"}, 0, "serving :8080\n", ""},
		{"serve on a file", []string{"serve", "--config", good}, 0, "serving :9\n", ""},
		{"serve on a file, one dash and equals", []string{"serve", "-config=" + good}, 0, "serving :9\n", ""},
		{"serve on a bad file", []string{"serve", "--config", bad}, 2, "", "http.port: unknown key; known here: listen (line 3)\n    3 |   port: 3\n      |   ^\n"},
		{"serve on no file", []string{"serve", "--config", dir + "/none"}, 2, "", "none: no such file\n"},
		{"serve with an unknown flag", []string{"serve", "--port", "3"}, 2, "", "flag provided but not defined: -port"},
		{"check a good file", []string{"check", "--config", good}, 0, "ok\n", ""},
		{"check and print", []string{"check", "--print", "--config", good}, 0, "http.listen: \":9\"\n", ""},
		{"check's defaults", []string{"check", "--defaults", "--config", bad}, 0, "http.listen: \":8080\"\n", ""},
		{"flags after the arguments", []string{"user", "add", "lan", "--role", "admin"}, 0, `["lan"] admin secret`, ""},
		{"flags before the arguments", []string{"user", "add", "--role", "admin", "lan"}, 0, `["lan"] admin secret`, ""},
		{"an argument like a flag", []string{"user", "add", "--role", "admin", "--", "--lan"}, 0, `["--lan"] admin secret`, ""},
		{"too few arguments", []string{"user", "add"}, 2, "", "got 0 arguments, want 1"},
		{"too many arguments", []string{"user", "add", "a", "b"}, 2, "", "got 2 arguments, want 1"},
		{"wrong argument", []string{"user", "add", "a", "--role", "king"}, 2, "", "sample: no role king\n"},
		{"failure", []string{"fail"}, 1, "", "sample: open store: disk full\n"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			got := sample().Run(t.Context(), IO{In: strings.NewReader("secret"), Out: &out, Err: &errs}, tc.args)
			if got != tc.want {
				t.Errorf("exit = %d, want %d", got, tc.want)
			}
			for _, s := range []struct{ name, got, want string }{{"stdout", out.String(), tc.out}, {"stderr", errs.String(), tc.err}} {
				if s.want == "" && s.got != "" || !strings.Contains(s.got, s.want) {
					t.Errorf("%s = %q, want %q", s.name, s.got, s.want)
				}
			}
		})
	}
	t.Run("check prints every fault and nothing else", func(t *testing.T) {
		for path, want := range map[string]string{
			bad: "http.port: unknown key; known here: listen (line 3)\n" +
				"store: unknown key; known here: http (line 4)\n" +
				"http.listen: \"nowhere\" is not host:port, such as \"127.0.0.1:8080\" or \":8080\" (line 2)\n",
			broken: broken + ": ',' or '}' must be specified (line 3)\n",
		} {
			var out, errs bytes.Buffer
			got := sample().Run(t.Context(), IO{Out: &out, Err: &errs}, []string{"check", "--config", path})
			if got != 2 || out.String() != want || errs.Len() > 0 {
				t.Errorf("check = %d, stdout\n%s\nstderr %q; want 2 and\n%s", got, out.String(), errs.String(), want)
			}
		}
	})
}

// TestMain lets this test binary be the sample program, so that signals meet a real process.
func TestMain(m *testing.M) {
	if os.Getenv("BE_SAMPLE") != "" {
		sample().Main()
	}
	os.Exit(m.Run())
}

func TestSignalsEndCleanly(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), self, "wait")
			cmd.Env = append(os.Environ(), "BE_SAMPLE=1")
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(out, make([]byte, len("waiting\n"))); err != nil {
				t.Fatalf("read from the sample: %v", err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("exit = %v, want 0 after %v", err, sig)
			}
		})
	}
}
