package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// handle sends single datagrams through one file descriptor without ever waiting, which package net cannot: it waits
// for room, up to a deadline that also passes while the process merely has no processor.
type handle struct {
	conn *net.UDPConn
	raw  syscall.RawConn
	v6   bool

	mu    sync.Mutex // guards what follows: the arguments of one system call
	try   func(fd uintptr) bool
	look  func(fd uintptr) bool
	msg   unix.Msghdr
	iov   unix.Iovec
	four  unix.RawSockaddrInet4
	six   unix.RawSockaddrInet6
	poll  [1]unix.PollFd
	errno syscall.Errno
}

func newHandle(c *net.UDPConn, v6 bool) (*handle, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	h := &handle{conn: c, raw: raw, v6: v6}
	h.try, h.look = h.attempt, h.writable // made once: a method value allocates
	h.msg.Iov = &h.iov
	h.msg.Iovlen = 1
	return h, nil
}

// attempt makes the one system call.
func (h *handle) attempt(fd uintptr) bool {
	for {
		_, _, h.errno = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&h.msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if h.errno != unix.EINTR {
			return true
		}
	}
}

// send sends b, or says why not: ErrFull, or what the system has against it.
func (h *handle) send(b []byte, to netip.AddrPort, oob []byte) error {
	if to.Addr().Zone() != "" {
		_, _, err := h.conn.WriteMsgUDPAddrPort(b, oob, to) // a link's own address; its interface must be looked up
		return err
	}
	if len(b) == 0 {
		return unix.EINVAL
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.v6 {
		h.six = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: to.Addr().As16()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&h.six.Port))[:], to.Port())
		h.msg.Name, h.msg.Namelen = (*byte)(unsafe.Pointer(&h.six)), unix.SizeofSockaddrInet6
	} else {
		h.four = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&h.four.Port))[:], to.Port())
		h.msg.Name, h.msg.Namelen = (*byte)(unsafe.Pointer(&h.four)), unix.SizeofSockaddrInet4
	}
	h.iov.Base = &b[0]
	h.iov.SetLen(len(b))
	h.msg.Control = nil
	h.msg.SetControllen(len(oob))
	if len(oob) > 0 {
		h.msg.Control = &oob[0]
	}
	err := h.raw.Write(h.try)
	h.iov.Base, h.msg.Control = nil, nil // keep nothing of the caller's
	switch {
	case err != nil:
		return err
	case h.errno != 0:
		return h.errno
	}
	return nil
}

// room waits until the socket can be written, or until t.
func (h *handle) room(t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn.SetWriteDeadline(t) != nil {
		return
	}
	_ = h.raw.Write(h.look)                  // the deadline is as good an end as room is
	_ = h.conn.SetWriteDeadline(time.Time{}) // of an open socket it cannot fail
}

// writable reports whether half of the buffer is free; if not, raw.Write waits until the kernel says so.
func (h *handle) writable(fd uintptr) bool {
	h.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
	n, err := unix.Poll(h.poll[:], 0)
	return n > 0 || (err != nil && err != unix.EINTR)
}
