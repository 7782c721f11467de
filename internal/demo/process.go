package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// endWait is how long a process may take to end before it is killed.
const endWait = 5 * time.Second

// processes starts and ends the parts. The kernel kills them when the thread that started them ends, so one thread
// starts all of them and lives as long as the demo: whatever happens to us, no process and no port is left.
type processes struct {
	work    chan func()
	running []*process
	wg      sync.WaitGroup
}

// process is a running part.
type process struct {
	part part
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how, once done is closed
}

func newProcesses() *processes {
	p := &processes{work: make(chan func())}
	p.wg.Go(func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for f := range p.work {
			f()
		}
	})
	return p
}

// start runs a part in the background; what it says goes to DIR/NAME/log.
func (p *processes) start(pt part) (*process, error) {
	log, err := os.OpenFile(filepath.Join(pt.Dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := pt.args()
	cmd := exec.Command(args[0], args[1:]...) // #nosec G204 -- our own programs
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own, so that a Ctrl-C in the terminal reaches only us and we end them in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	p.work <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", pt.Name, err)
	}
	proc := &process{part: pt, cmd: cmd, done: make(chan struct{})}
	p.wg.Go(func() {
		proc.err = cmd.Wait()
		close(proc.done)
	})
	p.running = append(p.running, proc)
	return proc, nil
}

// close ends all parts, loudspeakers first and the streamer last, and returns when none is left.
func (p *processes) close() {
	for i := len(p.running) - 1; i >= 0; i-- {
		_ = p.running[i].cmd.Process.Signal(syscall.SIGTERM) // an ended one cannot take it
	}
	deadline := time.After(endWait)
	for _, r := range p.running {
		select {
		case <-r.done:
		case <-deadline:
			_ = r.cmd.Process.Kill()
			<-r.done
		}
	}
	close(p.work)
	p.wg.Wait()
}

// ready waits until the part says on /readyz that it can serve.
func (r *process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	last := errors.New("no answer yet")
	for {
		if ok, err := probe(ctx, "http://"+r.part.admin()+"/readyz"); ok {
			return nil
		} else if ctx.Err() == nil {
			last = err
		}
		select {
		case <-r.done:
			return fmt.Errorf("%s ended before it was ready: %w; it said:\n%s", r.part.Name, r.err, r.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; it said:\n%s", r.part.Name, last, r.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func probe(ctx context.Context, url string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if resp.StatusCode == http.StatusOK {
		return true, err
	}
	return false, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
}

// tail is the end of what the part has logged.
func (r *process) tail() string {
	b, err := os.ReadFile(filepath.Join(r.part.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// run runs one of our programs to its end and returns what it printed.
func run(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) // #nosec G204 -- our own programs
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args[:3], " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}
