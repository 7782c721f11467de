package main

import (
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSignals ends make run in every way: by its own pid, by make's, politely and not. No process and no port is left.
func TestSignals(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many programs")
	}
	for _, c := range []struct {
		name   string
		toMake bool
		signal syscall.Signal
		want   syscall.Signal // that make ends by; 0: it exits 0
	}{
		{"SIGINT to the demo", false, syscall.SIGINT, 0},
		{"SIGTERM to the demo", false, syscall.SIGTERM, 0},
		{"SIGINT to make", true, syscall.SIGINT, syscall.SIGINT},
		{"SIGTERM to make", true, syscall.SIGTERM, syscall.SIGTERM},
		{"SIGKILL to make", true, syscall.SIGKILL, syscall.SIGKILL},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startRig(t, "SPEAKERS=1")
			procs := r.processes(t)
			if len(procs) != 5 {
				t.Errorf("%d processes with SPEAKERS=1, want 5", len(procs))
			}
			target := r.pid()
			if c.toMake {
				target = r.make.Process.Pid
			}
			if err := syscall.Kill(target, c.signal); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-r.ended:
				r.ended <- nil // for stop
				if got := endedBy(err); got != c.want || (c.want == 0 && err != nil) {
					t.Errorf("make ended by %v (%v), want %v", got, err, c.want)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("make does not end")
			}
			eventually(t, 10*time.Second, "all processes are gone", func() bool {
				for _, p := range procs {
					if syscall.Kill(p.Pid, 0) == nil {
						return false
					}
				}
				return syscall.Kill(r.pid(), 0) != nil
			})
			for _, address := range []string{"127.0.0.1:8080", "127.0.0.1:7443", "127.0.0.1:9101"} {
				l, err := net.Listen("tcp", address)
				if err != nil {
					t.Errorf("port is left: %v", err)
					continue
				}
				l.Close()
			}
		})
	}
}

// endedBy is the signal that ended a command; 0 if it exited.
func endedBy(err error) syscall.Signal {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return status.Signal()
		}
	}
	return 0
}

// TestClearRefusals: a port in use and a directory of somebody else's are said in one line, and nothing is started.
func TestClearRefusals(t *testing.T) {
	o := options{port: 8080, speakers: 2}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o.port = l.Addr().(*net.TCPAddr).Port
	if err := portsFree(plan(o)[:1], o); err == nil || !strings.Contains(err.Error(), "in use") || !strings.Contains(err.Error(), "PORT=") {
		t.Errorf("port in use: %v", err)
	}
	dir := t.TempDir()
	if err := prepare(filepath.Join(dir, "demo")); err != nil {
		t.Fatal(err)
	}
	if err := prepare(filepath.Join(dir, "demo")); err != nil {
		t.Errorf("a demo's own directory: %v", err)
	}
	if err := prepare(dir); err == nil || !strings.Contains(err.Error(), "DIR=") {
		t.Errorf("a directory that holds something else: %v", err)
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct{ arg, want string }{
		{"--port=80x", "PORT=80x: want a number from 1 to 65535"},
		{"--port=99999", "PORT=99999: want a number from 1 to 65535"},
		{"--speakers=0", "SPEAKERS=0: want a number from 1 to 400"},
		{"--announce=no", "ANNOUNCE=no: want 0 or 1"},
	} {
		if _, err := readOptions([]string{c.arg}); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.arg, err, c.want)
		}
	}
	want := options{port: 8090, speakers: 9, dir: "d", redisURL: "redis://r"}
	if o, err := readOptions(strings.Fields("--port 8090 --speakers 9 --dir d --redis-url redis://r --announce=0")); err != nil || o != want {
		t.Errorf("%+v, %v, want %+v", o, err, want)
	}
}
