package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// test vets, runs every test with the race detector, and those about allocations without it, since
// the detector allocates by itself.
func test(ctx context.Context, _ func(string) string, out io.Writer) (bool, error) {
	vet := command(ctx, "vet", "./...")
	vet.Stdout = out
	t := newTally(out)
	if vet.Run() != nil {
		fmt.Fprintln(out, "FAIL\tgo vet")
		t.failed++
	}
	// Go's ten minutes a package are too few for internal/demo on a busy machine of two cores.
	if err := t.goTest(ctx, nil, "-race", "-timeout", "30m", "./..."); err != nil {
		return false, err
	}
	allocs, err := find(ctx, "Test", "Alloc")
	if err != nil {
		return false, err
	}
	if len(allocs) > 0 {
		fmt.Fprintln(out, "\nAllocations, without the race detector:")
		if err := t.goTest(ctx, nil, append([]string{"-run", "Alloc"}, packages(allocs)...)...); err != nil {
			return false, err
		}
	}
	return t.close(), nil
}

// soak runs the tests named TestSoak…, which read their length from SOAK and skip without it.
func soak(ctx context.Context, env func(string) string, out io.Writer) (bool, error) {
	length, err := duration(env("TIME"), 10*time.Minute)
	if err != nil {
		return false, err
	}
	soaks, err := find(ctx, "Test", "^TestSoak")
	if err != nil {
		return false, err
	}
	if len(soaks) == 0 {
		return false, fmt.Errorf("there is no test named TestSoak…")
	}
	t := newTally(out)
	args := []string{"-count=1", "-timeout", (length*2 + 10*time.Minute).String(), "-run", "^TestSoak"}
	if err := t.goTest(ctx, []string{"SOAK=" + length.String()}, append(args, packages(soaks)...)...); err != nil {
		return false, err
	}
	return t.close() && t.passed > 0, nil
}

// event is a line of go test -json (see go doc cmd/test2json).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output
	Test        string
	Output      string
	FailedBuild string
}

// id names a test of a package.
type id struct{ pkg, test string }

// tally prints what go test would print without -v, and counts. A test with subtests is not counted
// itself, unless it failed and none of them did.
type tally struct {
	out                     io.Writer
	passed, failed, skipped int

	held     map[string]*bytes.Buffer // by package, what is printed when it ends: several run at once
	output   map[id][]string          // what a test that has not ended printed
	parents  map[id]bool              // has subtests
	broken   map[id]bool              // a test, or package if test is "", within which one failed
	reasons  []string                 // why tests were skipped
	warnings []string                 // lines of passing tests that begin with "warning: "
}

// newTally returns a tally that prints to out.
func newTally(out io.Writer) *tally {
	return &tally{out: out, held: map[string]*bytes.Buffer{}, output: map[id][]string{}, parents: map[id]bool{}, broken: map[id]bool{}}
}

// goTest runs go test with args and env, and counts its results. The error says that it could not
// be run; tests that fail are none.
func (t *tally) goTest(ctx context.Context, env []string, args ...string) error {
	before := t.failed
	cmd := command(ctx, append([]string{"test", "-json"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	if err := t.read(pipe); err != nil {
		return fmt.Errorf("read from go test: %w", err)
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("run go test: interrupted")
	}
	if err != nil && t.failed == before {
		t.failed++ // such as a package that cannot be loaded: no event tells
		fmt.Fprintf(t.out, "FAIL\tgo test: %v\n", err)
	}
	return nil
}

// read takes the lines of go test -json.
func (t *tally) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20) // a test may print a long line
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(t.out, lines.Text())
			continue
		}
		if e.Test == "" {
			t.packageEvent(e)
		} else {
			t.testEvent(e)
		}
	}
	for pkg := range t.held { // interrupted
		t.flush(pkg)
	}
	return lines.Err()
}

// hold returns where the output of a package goes until it ends.
func (t *tally) hold(pkg string) *bytes.Buffer {
	if t.held[pkg] == nil {
		t.held[pkg] = new(bytes.Buffer)
	}
	return t.held[pkg]
}

// flush prints the output of a package.
func (t *tally) flush(pkg string) {
	if b := t.held[pkg]; b != nil {
		_, _ = t.out.Write(b.Bytes())
		delete(t.held, pkg)
	}
}

// packageEvent takes an event of a package as a whole, or of its build.
func (t *tally) packageEvent(e event) {
	switch e.Action {
	case "build-output":
		fmt.Fprint(t.out, e.Output)
	case "output":
		if e.Output != "PASS\n" && !strings.HasPrefix(e.Output, "testing: warning: no tests to run") {
			t.hold(e.Package).WriteString(e.Output)
		}
	case "fail":
		for _, i := range t.open(e.Package) { // tests that a panic or a timeout cut short
			t.print(i)
		}
		if !t.broken[id{pkg: e.Package}] {
			t.failed++ // it did not build, or TestMain, a panic or a timeout ended it
		}
	}
	if e.Action == "pass" || e.Action == "skip" || e.Action == "fail" {
		t.flush(e.Package)
		delete(t.broken, id{pkg: e.Package}) // the package may run again in another pass
	}
}

// testEvent takes an event of one test.
func (t *tally) testEvent(e event) {
	i := id{e.Package, e.Test}
	switch e.Action {
	case "run":
		delete(t.broken, i)
		for p := parent(i); p.test != ""; p = parent(p) {
			t.parents[p] = true
		}
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			t.output[i] = append(t.output[i], e.Output)
		}
	case "pass":
		for _, line := range t.output[i] {
			if _, w, ok := strings.Cut(line, ": warning: "); ok {
				t.warnings = append(t.warnings, e.Package+": "+strings.TrimSpace(w))
			}
		}
		delete(t.output, i)
		if !t.parents[i] {
			t.passed++
		}
	case "skip":
		t.skipped++
		t.reasons = append(t.reasons, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(t.output[i])))
		delete(t.output, i)
	case "fail":
		t.print(i)
		if !t.broken[i] {
			t.failed++
		}
		for p := i; p.test != ""; {
			p = parent(p)
			t.broken[p] = true
		}
	}
}

// parent returns the test, or the package, that i is part of.
func parent(i id) id {
	at := strings.LastIndexByte(i.test, '/')
	if at < 0 {
		return id{pkg: i.pkg}
	}
	return id{i.pkg, i.test[:at]}
}

// open returns the tests of a package that have printed something and not ended, in order.
func (t *tally) open(pkg string) []id {
	var all []id
	for i := range t.output {
		if i.pkg == pkg {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b id) int { return strings.Compare(a.test, b.test) })
	return all
}

// print prints what test i printed.
func (t *tally) print(i id) {
	for _, line := range t.output[i] {
		t.hold(i.pkg).WriteString(line)
	}
	delete(t.output, i)
}

// reason returns the message that a test skipped itself with.
func reason(output []string) string {
	for _, line := range output {
		if !strings.HasPrefix(strings.TrimSpace(line), "--- ") {
			return strings.TrimSpace(line)
		}
	}
	return "no reason given"
}

// close prints the end of the report and tells whether nothing failed and something passed.
func (t *tally) close() bool {
	fmt.Fprintln(t.out)
	for _, w := range t.warnings {
		fmt.Fprintln(t.out, "warning:", w)
	}
	for _, r := range t.reasons {
		fmt.Fprintln(t.out, "skipped:", r)
	}
	fmt.Fprintf(t.out, "%d passed, %d failed", t.passed, t.failed)
	if t.skipped > 0 {
		fmt.Fprintf(t.out, ", %d skipped", t.skipped)
	}
	fmt.Fprintln(t.out)
	return t.failed == 0 && t.passed > 0
}
