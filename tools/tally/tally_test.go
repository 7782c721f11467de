package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// module is a module whose tests end in every way that a test can.
var module = map[string]string{
	"go.mod": "module sample\n\ngo 1.26\n",
	"good/good_test.go": `package good
import "testing"
func TestPlain(t *testing.T) {}
func TestTable(t *testing.T) { for _, n := range []string{"a", "b"} { t.Run(n, func(t *testing.T) { t.Run("deep", func(*testing.T) {}) }) } }
func TestWarns(t *testing.T) { t.Log("warning: file is long") }
func TestSkips(t *testing.T) { t.Skip("no sound card") }
func TestAlloc(t *testing.T) {}
func BenchmarkSum(b *testing.B) { b.Run("n=3/plain", func(b *testing.B) { for b.Loop() {}; b.ReportMetric(2.5, "skew_seconds") }) }
`,
	"bad/bad_test.go": `package bad
import "testing"
func TestPlain(t *testing.T) { t.Error("plain is wrong") }
func TestTable(t *testing.T) { for _, n := range []string{"a", "b"} { t.Run(n, func(t *testing.T) { if n == "b" { t.Error("b is wrong") } }) } }
func TestParent(t *testing.T) { t.Run("fine", func(*testing.T) {}); t.Error("parent is wrong") }
`,
	"panics/panics_test.go": `package panics
import "testing"
func TestBefore(t *testing.T) {}
func TestPanics(t *testing.T) { t.Log("about to fall"); panic("out of range") }
`,
	"exits/exits_test.go": `package exits
import ("os"; "testing")
func TestMain(m *testing.M) { m.Run(); os.Exit(3) }
func TestFine(t *testing.T) {}
`,
	"broken/broken_test.go": "package broken\nfunc TestX(t *testing.T) {}\n",
	"empty/empty.go":        "package empty\n",
}

// inModule writes the packages named and goes there.
func inModule(t *testing.T, names ...string) {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command here")
	}
	dir := t.TempDir()
	for path, text := range module {
		folder, _, inFolder := strings.Cut(path, "/")
		if inFolder && !strings.Contains(" "+strings.Join(names, " ")+" ", " "+folder+" ") {
			continue
		}
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "")
}

func TestCounts(t *testing.T) {
	tests := []struct {
		packages string
		want     string
		holds    []string
		lacks    []string
	}{
		{"good", "5 passed, 0 failed, 1 skipped", []string{"ok  \tsample/good\t", "warning: sample/good: file is long", "skipped: sample/good TestSkips: good_test.go:6: no sound card"}, []string{"PASS", "=== RUN"}},
		{"bad", "2 passed, 3 failed", []string{"plain is wrong", "b is wrong", "parent is wrong", "--- FAIL: TestTable/b", "FAIL\tsample/bad"}, nil},
		{"panics", "1 passed, 1 failed", []string{"about to fall", "panic: out of range", "FAIL\tsample/panics"}, nil},
		{"exits", "1 passed, 1 failed", []string{"FAIL\tsample/exits"}, nil},
		{"broken", "0 passed, 1 failed", []string{"undefined: testing", "FAIL\tsample/broken [build failed]"}, nil},
		{"good empty", "5 passed, 0 failed, 1 skipped", []string{"?   \tsample/empty\t[no test files]"}, nil},
		{"empty", "0 passed, 0 failed", nil, nil},
	}
	for _, tc := range tests {
		t.Run(tc.packages, func(t *testing.T) {
			inModule(t, strings.Fields(tc.packages)...)
			var out bytes.Buffer
			tally := newTally(&out)
			if err := tally.goTest(t.Context(), nil, "./..."); err != nil {
				t.Fatalf("goTest: %v", err)
			}
			ok := tally.close()
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if last := lines[len(lines)-1]; last != tc.want {
				t.Errorf("last line %q, want %q; in all:\n%s", last, tc.want, out.String())
			}
			if want := strings.Contains(tc.want, " 0 failed") && !strings.HasPrefix(tc.want, "0 "); ok != want {
				t.Errorf("close() = %v, want %v", ok, want)
			}
			for _, s := range tc.holds {
				if !strings.Contains(out.String(), s) {
					t.Errorf("output lacks %q:\n%s", s, out.String())
				}
			}
			for _, s := range tc.lacks {
				if strings.Contains(out.String(), s) {
					t.Errorf("output holds %q:\n%s", s, out.String())
				}
			}
		})
	}
}

// TestCountsTwoPasses holds that a package that failed in one pass does not hide its failure to
// build in the next.
func TestCountsTwoPasses(t *testing.T) {
	inModule(t, "bad", "exits")
	tally := newTally(new(bytes.Buffer))
	for range 2 {
		if err := tally.goTest(t.Context(), nil, "./..."); err != nil {
			t.Fatal(err)
		}
	}
	if tally.passed != 6 || tally.failed != 8 {
		t.Errorf("passed %d, failed %d, want 6 and 8", tally.passed, tally.failed)
	}
}

func TestBench(t *testing.T) {
	inModule(t, "good")
	var out bytes.Buffer
	env := map[string]string{"NAME": "sum", "FAST": "1"}
	ok, err := bench(t.Context(), func(k string) string { return env[k] }, &out)
	if !ok || err != nil {
		t.Fatalf("bench = %v, %v", ok, err)
	}
	first, second, _ := strings.Cut(out.String(), "\n")
	if !strings.HasPrefix(first, "bench=sum n=3 case=plain package=sample/good seconds_per_op=") || !strings.Contains(first, " skew_seconds=2.5") {
		t.Errorf("line = %q", first)
	}
	if !strings.HasPrefix(second, "bench=summary cases=1 failed=0 elapsed_seconds=") {
		t.Errorf("summary = %q", second)
	}
	out.Reset()
	env["NAME"] = "Good"
	if ok, err := bench(t.Context(), func(k string) string { return env[k] }, &out); !ok || err != nil || !strings.HasPrefix(out.String(), "bench=good benchmark=sum n=3 ") {
		t.Errorf("bench of a package = %v, %v: %s", ok, err, out.String())
	}
	env["NAME"] = "su"
	if _, err := bench(t.Context(), func(k string) string { return env[k] }, &out); err == nil {
		t.Error("bench of an unknown name = nil, want an error")
	}
}

func TestBenchLines(t *testing.T) {
	const in = `goos: linux
goarch: amd64
pkg: dongthanh/internal/fanout
cpu: some
BenchmarkFanout/engine=sendmmsg/n=100-2         	     100	   1234567 ns/op	  12.50 MB/s	      16 B/op	       1 allocs/op
BenchmarkNoisy
    x_test.go:3: a remark
BenchmarkNoisy-2   	      10	       200 ns/op
PASS
ok  	dongthanh/internal/fanout	1.2s
`
	const want = `bench=fanout engine=sendmmsg n=100 package=internal/fanout seconds_per_op=0.00123457 bytes_per_second=1.25e+07 bytes_per_op=16 allocs_per_op=1 iterations=100
bench=noisy package=internal/fanout seconds_per_op=2e-07 iterations=10
`
	var out, rest bytes.Buffer
	cases, err := benchLines(strings.NewReader(in), "", &out, &rest)
	if cases != 2 || err != nil || out.String() != want {
		t.Errorf("benchLines = %d, %v:\n%swant\n%s", cases, err, out.String(), want)
	}
	if !strings.Contains(rest.String(), "a remark") {
		t.Errorf("rest = %q, want the remark", rest.String())
	}
}

func TestNoSoak(t *testing.T) {
	inModule(t, "good")
	if ok, err := soak(t.Context(), func(string) string { return "1s" }, new(bytes.Buffer)); ok || err == nil {
		t.Errorf("soak = %v, %v, want an error: nothing was run", ok, err)
	}
	if ok, err := soak(t.Context(), func(string) string { return "soon" }, new(bytes.Buffer)); ok || err == nil {
		t.Errorf("soak with TIME=soon = %v, %v, want an error", ok, err)
	}
}
