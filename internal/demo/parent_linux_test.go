package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestEndingBy(t *testing.T) {
	tests := []struct {
		name          string
		blk, ign, cgt string
		want          syscall.Signal
	}{
		{"running", "0000000000000000", "0000000000000000", "0000000000014a07", 0},
		{"starting a child: signals blocked, handlers in place", "0000000000004007", "0000000000000000", "0000000000014a07", 0},
		{"in the handler of SIGINT", "0000000000000002", "0000000000000000", "0000000000014a05", syscall.SIGINT},
		{"in the handler of SIGHUP", "0000000000000001", "0000000000000000", "0000000000014a06", syscall.SIGHUP},
		{"in the handler of SIGTERM", "0000000000004000", "0000000000000000", "0000000000010a07", syscall.SIGTERM},
		{"started in the background: SIGINT ignored", "0000000000000002", "0000000000000006", "0000000000014a01", 0},
	}
	for _, tc := range tests {
		status := fmt.Sprintf("Name:\tmake\nSigQ:\t1/95916\nSigBlk:\t%s\nSigIgn:\t%s\nSigCgt:\t%s\n", tc.blk, tc.ign, tc.cgt)
		if got := endingBy(status); got != tc.want {
			t.Errorf("%s: endingBy = %v, want %v", tc.name, got, tc.want)
		}
	}
	if got := endingBy(""); got != 0 {
		t.Errorf("endingBy of a process that is gone = %v, want 0", got)
	}
}

// TestParentHelper is no test: it is the child that the tests below let make start.
func TestParentHelper(t *testing.T) {
	if os.Getenv("PARENT_HELPER") == "" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	gone := parentGone(ctx)
	out := os.NewFile(3, "report") // make's own standard output may be closed when it is killed
	fmt.Fprintln(out, os.Getpid())
	why := <-gone
	if ctx.Err() != nil {
		why = "received SIGTERM"
	}
	fmt.Fprintln(out, why)
}

// TestParentGone signals a real make, and it alone, in each way that a person or a supervisor may.
func TestParentGone(t *testing.T) {
	make, err := exec.LookPath("make")
	if err != nil {
		t.Skip("no make here")
	}
	tests := []struct {
		signal syscall.Signal
		want   string // what the child hears of
	}{
		{syscall.SIGINT, "received signal 2"},
		{syscall.SIGHUP, "received signal 1"},
		{syscall.SIGTERM, ""}, // make passes it on while its handler shows: either may come first
		{syscall.SIGKILL, "is gone"},
	}
	for _, tc := range tests {
		for name, recipe := range map[string]string{"by a shell's exec": "@exec $(CHILD)", "directly": "@$(CHILD)"} {
			t.Run(tc.signal.String()+" "+name, func(t *testing.T) {
				t.Parallel()
				cmd, report := startMake(t, make, recipe)
				lines := bufio.NewScanner(report)
				if !lines.Scan() {
					t.Fatalf("the child did not start: %v", lines.Err())
				}
				pid := lines.Text()
				if err := cmd.Process.Signal(tc.signal); err != nil {
					t.Fatal(err)
				}
				if !lines.Scan() || !strings.Contains(lines.Text(), tc.want) {
					t.Errorf("child heard %q (%v), want %q", lines.Text(), lines.Err(), tc.want)
				}
				lines.Scan() // until the child has closed its end, that is, has ended
				var exit *exec.ExitError
				if err := cmd.Wait(); !errors.As(err, &exit) {
					t.Fatalf("make = %v, want an end by signal", err)
				}
				if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != tc.signal {
					t.Errorf("make ended with %v, want by %v", exit, tc.signal)
				}
				eventually(t, 10*time.Second, "child "+pid+" has ended", func() bool { // its last breath may outlast its output
					stat := readFile(t, "/proc/"+pid+"/stat")
					return stat == "" || strings.Contains(stat, ") Z ")
				})
			})
		}
	}
}

// startMake runs a make whose recipe starts this test binary as its child. What the child reports
// comes from the returned file, which ends when the child has ended.
func startMake(t *testing.T, make, recipe string) (*exec.Cmd, *os.File) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "Makefile")
	if err := os.WriteFile(file, []byte("run:\n\t"+recipe+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(stop)
	cmd := exec.CommandContext(ctx, make, "-f", file, "run", "CHILD="+self+" -test.run=TestParentHelper")
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // make's whole group
	cmd.Env = append(os.Environ(), "PARENT_HELPER=1", "MAKEFLAGS=", "MAKELEVEL=")
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the signal must not come by the group
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatalf("start make: %v", err)
	}
	return cmd, r
}

// readFile returns a file's text, or "" if it does not exist.
func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
	return string(b)
}

// TestParentOther holds that below anything but make nothing is watched, and that ctx ends it.
func TestParentOther(t *testing.T) {
	if isMake(os.Getppid()) {
		t.Skip("this test is a child of make itself")
	}
	ctx, stop := context.WithCancel(t.Context())
	gone := parentGone(ctx)
	stop()
	if why, sent := <-gone; sent {
		t.Errorf("parentGone = %q, want nothing", why)
	}
}
