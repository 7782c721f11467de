package link

import (
	"net"
	"runtime"
	"testing"
	"time"
)

// TestReadStamped: a datagram that lay in the socket for a while is known to have; and reading allocates nothing.
func TestReadStamped(t *testing.T) {
	far, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	c, err := dialUDP(far.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send := func() {
		if _, err := far.WriteToUDP([]byte("hello"), c.LocalAddr().(*net.UDPAddr)); err != nil {
			t.Fatal(err)
		}
	}
	buf, oob := make([]byte, 2048), make([]byte, oobLen)
	const lain = 30 * time.Millisecond
	var waited time.Duration
	for range 50 { // the kernel begins to stamp a little after the first socket has asked it to
		send()
		time.Sleep(lain) // what is measured
		n, w, err := readStamped(c, buf, oob)
		if err != nil || string(buf[:n]) != "hello" {
			t.Fatalf("read %q, %v", buf[:n], err)
		}
		if waited = w; waited >= lain-time.Millisecond {
			break
		}
	}
	if runtime.GOOS == "linux" && (waited < lain-time.Millisecond || waited > time.Second) {
		t.Errorf("waited %s, want at least %s", waited, lain)
	}
	got := testing.AllocsPerRun(50, func() {
		send()
		if _, _, err := readStamped(c, buf, oob); err != nil {
			t.Fatal(err)
		}
	})
	if got > 0 {
		t.Errorf("%g allocations a datagram, want 0", got)
	}
}
