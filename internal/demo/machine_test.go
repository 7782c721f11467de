package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine stands for a computer of its own: a network and a file system that only share with this one what they are
// given. Nothing in it is reached but through it.
type machine struct {
	name    string
	holder  *exec.Cmd // keeps both namespaces
	dir     string    // where its user stands
	env     []string
	running []*job
}

// job is a program that runs on, as in a terminal of its own.
type job struct {
	line string
	cmd  *exec.Cmd
	out  *bytes.Buffer
	done chan struct{} // closed when it has ended
}

// newMachine starts one without a network but its loopback; it ends with the test. It begins with the files that are
// here; what it writes beneath dir and where programs are installed stays its own.
func newMachine(t *testing.T, name, dir string) *machine {
	t.Helper()
	m := &machine{name: name, dir: dir, env: os.Environ()}
	m.holder = exec.Command("unshare", "--net", "--mount", "--propagation", "private", "sleep", "infinity")
	if err := m.holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.off()
		_ = m.holder.Process.Kill()
		_ = m.holder.Wait()
		if t.Failed() {
			for _, j := range m.running {
				t.Logf("%s: %s\n%s", m.name, j.line, tail(j.out.String(), 4000))
			}
		}
	})
	// unshare has done its work once it has become sleep.
	eventually(t, 5*time.Second, "namespaces of "+name, func() bool {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", m.pid()))
		return string(comm) == "sleep\n"
	})
	own := t.TempDir()
	script := "cd / && ip link set lo up && mount -t tmpfs tmpfs " + own
	for i, folder := range []string{dir, "/etc", "/usr/local", "/var/lib", "/var/backups"} {
		layer := fmt.Sprintf("%s/%d", own, i)
		script += fmt.Sprintf("\nmkdir -p %[1]s/own %[1]s/work && mount -t overlay -o lowerdir=%[2]s,upperdir=%[1]s/own,workdir=%[1]s/work overlay %[2]s", layer, folder)
	}
	m.sh(t, script)
	return m
}

func (m *machine) pid() int { return m.holder.Process.Pid }

// command is a shell on the machine.
func (m *machine) command(script string) *exec.Cmd {
	cmd := exec.Command("nsenter", "-t", strconv.Itoa(m.pid()), "-n", "-m", "sh", "-ec", "cd "+m.dir+"\n"+script)
	cmd.Dir, cmd.Env = "/", m.env // the folder that is here has another content there
	return cmd
}

// sh runs a script to its end and returns what it printed.
func (m *machine) sh(t *testing.T, script string) string {
	t.Helper()
	out, err := m.try(script, "")
	if err != nil {
		t.Fatalf("on the %s:\n%s\n%s%v", m.name, script, out, err)
	}
	return out
}

// try is sh for what may fail.
func (m *machine) try(script, stdin string) (string, error) {
	cmd := m.command(script)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// start runs a program that goes on.
func (m *machine) start(t *testing.T, line string) *job {
	t.Helper()
	j := &job{line: line, cmd: m.command("exec " + line), out: &bytes.Buffer{}, done: make(chan struct{})}
	j.cmd.Stdout, j.cmd.Stderr = j.out, j.out
	if err := j.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the program
		_ = j.cmd.Wait()
		close(j.done)
	}()
	m.running = append(m.running, j)
	return j
}

// end sends a signal to the newest program in whose command line this stands, and waits for its end.
func (m *machine) end(t *testing.T, program string, signal syscall.Signal) (line string) {
	t.Helper()
	for i := len(m.running) - 1; i >= 0; i-- {
		if j := m.running[i]; strings.Contains(j.line, program) {
			_ = j.cmd.Process.Signal(signal)
			select {
			case <-j.done:
			case <-time.After(20 * time.Second):
				t.Fatalf("%s does not end", j.line)
			}
			return j.line
		}
	}
	t.Fatalf("%s does not run on the %s", program, m.name)
	return ""
}

// off ends all that runs.
func (m *machine) off() {
	for _, j := range m.running {
		_ = j.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, j := range m.running {
		select {
		case <-j.done:
		case <-time.After(10 * time.Second):
			_ = j.cmd.Process.Kill()
			<-j.done
		}
	}
}

// http is a client that stands on the machine.
func (m *machine) http() *http.Client {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		runtime.LockOSThread() // a socket belongs to the network of the thread that makes it
		defer runtime.UnlockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return nil, err
		}
		defer home.Close()
		there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.pid()))
		if err != nil {
			return nil, err
		}
		defer there.Close()
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			return nil, err
		}
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp4", "127.0.0.1:"+port)
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			panic(back) // the thread would be in the wrong network for good
		}
		return c, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

// ready waits until the program whose administration is on port says that it is ready.
func (m *machine) ready(t *testing.T, port int) {
	t.Helper()
	c := m.http()
	var said string
	defer func() {
		if t.Failed() {
			t.Log(said)
		}
	}()
	eventually(t, 30*time.Second, fmt.Sprintf("port %d of the %s is ready", port, m.name), func() bool {
		resp, err := c.Get(fmt.Sprintf("http://localhost:%d/readyz", port))
		if err != nil {
			said = err.Error()
			return false
		}
		defer resp.Body.Close()
		said = resp.Status
		return resp.StatusCode == http.StatusOK
	})
}

// wire joins two machines by a cable; each end gets an interface with an address.
func wire(t *testing.T, a *machine, ifA, addrA string, b *machine, ifB, addrB string) {
	t.Helper()
	out, err := exec.Command("ip", "link", "add", ifA, "netns", strconv.Itoa(a.pid()), "type", "veth",
		"peer", "name", ifB, "netns", strconv.Itoa(b.pid())).CombinedOutput()
	if err != nil {
		t.Fatalf("%s%v", out, err)
	}
	a.sh(t, fmt.Sprintf("ip addr add %s dev %s && ip link set %s up", addrA, ifA, ifA))
	b.sh(t, fmt.Sprintf("ip addr add %s dev %s && ip link set %s up", addrB, ifB, ifB))
}

func tail(text string, n int) string { return text[max(len(text)-n, 0):] }
