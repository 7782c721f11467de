//go:build !linux

package ingest

import (
	"errors"
	"net"
	"net/netip"
)

// own is of Linux alone.
func own(*net.UDPConn, netip.AddrPort) (*net.UDPConn, error) { return nil, errors.ErrUnsupported }
