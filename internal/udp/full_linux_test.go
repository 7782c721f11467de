package udp

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespace runs the test again in a network namespace of its own, where it may make interfaces, and reports whether
// this is that run.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "DONGTHANH_TEST_NAMESPACE"
	if os.Getenv(mark) != "" {
		return true
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip command (iproute2)")
	}
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), mark+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := c.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("no namespaces here: %v", err)
	}
	if err != nil {
		t.Errorf("in a namespace: %v\n%s", err, out)
	}
	return false
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// TestFullBuffer sends to a neighbour that answers no ARP: the kernel keeps what is for it, and the socket's buffer is
// full until it gives up or the neighbour answers.
func TestFullBuffer(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ip(t, "link", "add", "here", "type", "veth", "peer", "name", "there")
	ip(t, "addr", "add", "10.0.0.1/24", "dev", "here")
	ip(t, "link", "set", "here", "up")
	ip(t, "link", "set", "there", "up")
	s := listenTest(t, "10.0.0.1:0")
	raw, err := s.halves[0].conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 8000) }); err != nil {
		t.Fatal(err)
	}
	dead := Path{netip.MustParseAddrPort("10.0.0.2:9"), netip.MustParseAddr("10.0.0.1")}
	alive := Path{s.Addr(), dead.Local}
	b := make([]byte, 500)
	full := 0
	for ; err == nil && full < 1000; full++ {
		err = s.WriteTo(b, dead.Remote, dead.Local)
	}
	if !errors.Is(err, ErrFull) || full > 100 {
		t.Fatalf("datagram %d to a neighbour that is away: %v, want ErrFull soon", full, err)
	}
	began := time.Now()
	s.Room(dead.Remote, began.Add(100*time.Millisecond))
	if d := time.Since(began); d < 90*time.Millisecond || d > 900*time.Millisecond {
		t.Errorf("waited %s for room that never came, want 100 ms", d)
	}
	began = time.Now()
	if err := s.Write(b, alive); !errors.Is(err, ErrFull) {
		t.Errorf("an answer while there is no room: %v, want ErrFull", err)
	}
	if d := time.Since(began); d < patience-time.Millisecond || d > 20*patience {
		t.Errorf("the answer waited %s, want %s", d, patience)
	}

	// The neighbour comes back while somebody waits.
	waited := make(chan time.Duration)
	go func() {
		began := time.Now()
		s.Room(dead.Remote, began.Add(10*time.Second))
		waited <- time.Since(began)
	}()
	ip(t, "neigh", "replace", "10.0.0.2", "lladdr", "02:00:00:00:00:02", "dev", "here", "nud", "permanent")
	if d := <-waited; d > 5*time.Second {
		t.Errorf("waited %s though the buffer emptied", d)
	}
	if err := s.WriteTo(b, dead.Remote, dead.Local); err != nil {
		t.Errorf("WriteTo() with room again = %v", err)
	}
	if err := s.Write(b, alive); err != nil {
		t.Errorf("Write() with room again = %v", err)
	}
}
