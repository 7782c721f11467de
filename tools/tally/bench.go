package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bench runs the benchmarks that NAME names, or all, and prints a line "bench=name key=value …" for
// each case, then a summary. NAME, in any case, is a benchmark's name after "Benchmark" or the last
// word of a package's path, which means all of its benchmarks.
//
// Numbers are in base units: seconds, bytes. A subtest's name gives keys (n=100 stays so, another
// word becomes case=word), as does each metric that a benchmark reports with b.ReportMetric.
func bench(ctx context.Context, env func(string) string, out io.Writer) (bool, error) {
	all, err := find(ctx, "Benchmark", "")
	if err != nil {
		return false, err
	}
	name := strings.ToLower(env("NAME"))
	chosen := map[string][]string{} // by package
	for _, t := range all {
		if name == "" || strings.ToLower(t.name) == "benchmark"+name || path.Base(t.pkg) == name {
			chosen[t.pkg] = append(chosen[t.pkg], t.name)
		}
	}
	if len(chosen) == 0 {
		return false, fmt.Errorf("no benchmark and no package with benchmarks is named %q; go test -list Benchmark ./... lists them", name)
	}
	start := time.Now()
	cases, failed := 0, 0
	for _, pkg := range slices.Sorted(maps.Keys(chosen)) { // one after the other, lest they disturb each other
		args := []string{"test", "-run", "^$", "-bench", "^(" + strings.Join(chosen[pkg], "|") + ")$", "-benchmem", "-timeout", "60m"}
		if env("FAST") == "1" {
			args = append(args, "-short", "-benchtime", "100ms") // a long benchmark asks testing.Short
		}
		n, err := benchPackage(ctx, name, out, append(args, pkg)...)
		cases += n
		if ctx.Err() != nil {
			return false, fmt.Errorf("run benchmarks: interrupted")
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "benchmarks of %s: %v\n", pkg, err)
			failed++
		}
	}
	fmt.Fprintf(out, "bench=summary cases=%d failed=%d elapsed_seconds=%.1f\n", cases, failed, time.Since(start).Seconds())
	return failed == 0 && cases > 0, nil
}

// benchPackage runs go with args and returns the number of cases it printed.
func benchPackage(ctx context.Context, name string, out io.Writer, args ...string) (int, error) {
	cmd := command(ctx, args...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	cases, err := benchLines(pipe, name, out, os.Stderr)
	if err != nil {
		return cases, err
	}
	return cases, cmd.Wait()
}

// benchLines translates the output of go test -bench. What is no result goes to rest: a benchmark's
// own log lines and failures. asked is NAME, or empty. It returns the number of cases.
func benchLines(in io.Reader, asked string, out, rest io.Writer) (cases int, err error) {
	pkg, name := "", ""
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "pkg: "):
			pkg = strings.TrimPrefix(strings.TrimPrefix(line, "pkg: "), "dongthanh/")
		case len(fields) == 1 && strings.HasPrefix(line, "Benchmark"):
			name = fields[0] // the result follows on a line of its own, after what the benchmark printed
		case len(fields) >= 4 && strings.HasPrefix(line, "Benchmark"):
			fmt.Fprintln(out, benchLine(asked, pkg, fields[0], fields[1:]))
			cases++
		case len(fields) >= 3 && name != "" && strings.HasSuffix(fields[2], "ns/op"):
			fmt.Fprintln(out, benchLine(asked, pkg, name, fields))
			cases++
		default:
			fmt.Fprintln(rest, line)
		}
	}
	return cases, lines.Err()
}

// benchLine returns the line of one case. name is the benchmark's with its subtests and the number
// of processors; result is the number of iterations and then value and unit in turn.
func benchLine(asked, pkg, name string, result []string) string {
	if at := strings.LastIndexByte(name, '-'); at > 0 {
		if _, err := strconv.Atoi(name[at+1:]); err == nil {
			name = name[:at]
		}
	}
	parts := strings.Split(strings.TrimPrefix(name, "Benchmark"), "/")
	bench := strings.ToLower(parts[0])
	words := []string{"bench=" + bench}
	if asked != "" && asked != bench {
		words = []string{"bench=" + asked, "benchmark=" + bench}
	}
	for _, p := range parts[1:] {
		if !strings.Contains(p, "=") {
			p = "case=" + p
		}
		words = append(words, p)
	}
	words = append(words, "package="+pkg)
	for i := 1; i+1 < len(result); i += 2 {
		words = append(words, metric(result[i], result[i+1]))
	}
	return strings.Join(append(words, "iterations="+result[0]), " ")
}

// metric returns key=value with the value in base units.
func metric(value, unit string) string {
	scale := map[string]struct {
		key string
		by  float64
	}{
		"ns/op": {"seconds_per_op", 1e-9}, "MB/s": {"bytes_per_second", 1e6},
		"B/op": {"bytes_per_op", 1}, "allocs/op": {"allocs_per_op", 1},
	}[unit]
	if scale.key == "" {
		return strings.ReplaceAll(unit, "/", "_per_") + "=" + value
	}
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return scale.key + "=" + value
	}
	return scale.key + "=" + strconv.FormatFloat(n*scale.by, 'g', 6, 64)
}
