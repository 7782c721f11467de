package main

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// idle is how long a client may be silent, in both directions, before its socket is closed: what a
// NAT of a mobile network grants at the least.
const idle = 60 * time.Second

// client is one address behind the proxy.
type client struct {
	addr netip.AddrPort
	conn *net.UDPConn // towards the upstream
	seen atomic.Int64 // time since the start of the last packet, either way
}

// clients is the table of known addresses. It is pure and opens and closes nothing.
type clients struct {
	limit  int
	byAddr map[netip.AddrPort]*client
}

// find returns the client of addr, which is seen at now; nil if it is unknown.
func (c *clients) find(addr netip.AddrPort, now time.Duration) *client {
	known := c.byAddr[addr]
	if known != nil {
		known.seen.Store(int64(now))
	}
	return known
}

// full reports whether no further client fits. Those that are known keep their places.
func (c *clients) full() bool { return len(c.byAddr) >= c.limit }

// add enters a client, which is seen at now.
func (c *clients) add(x *client, now time.Duration) {
	x.seen.Store(int64(now))
	c.byAddr[x.addr] = x
}

// expire removes and returns those that are silent since idle.
func (c *clients) expire(now time.Duration) (gone []*client) {
	for addr, x := range c.byAddr {
		if now-time.Duration(x.seen.Load()) >= idle {
			delete(c.byAddr, addr)
			gone = append(gone, x)
		}
	}
	return gone
}
