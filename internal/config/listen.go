package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// CheckListen returns what is wrong with an address to listen on: host:port, where an empty host
// means all addresses of the machine and port 0 one that the system picks. The host is an IP
// address or localhost: any other name could mean another address tomorrow.
func CheckListen(address string) error {
	host, err := checkPort(address, 0)
	if err != nil {
		return err
	}
	if host == "" || host == "localhost" {
		return nil
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return fmt.Errorf("%q is not an IP address; leave it out to listen on all addresses", host)
	}
	return nil
}

// CheckDial returns what is wrong with an address to reach: host:port, where the host is a name or
// an IP address and the port is not 0.
func CheckDial(address string) error {
	host, err := checkPort(address, 1)
	if err != nil {
		return err
	}
	if host == "" {
		return fmt.Errorf("%q has no host", address)
	}
	if strings.ContainsAny(host, " /@?#%") && !strings.Contains(host, ":") {
		return fmt.Errorf("%q is not the name of a host", host)
	}
	return nil
}

// checkPort splits address and checks that its port is a number from least up.
func checkPort(address string, least uint64) (host string, err error) {
	if address == "" {
		return "", errors.New(`empty; write host:port, such as "127.0.0.1:8080" or ":8080"`)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf(`%q is not host:port, such as "127.0.0.1:8080" or ":8080"`, address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n < least {
		return "", fmt.Errorf("%q is not a port: a number from %d to 65535", port, least)
	}
	return host, nil
}
