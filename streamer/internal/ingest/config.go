package ingest

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"dongthanh/internal/config"
)

// Config says where browsers reach the streamer with their microphones.
type Config struct {
	// Listen is the one port of all microphones, as address:port. Without an address it is opened on every address of
	// the machine, loopback included.
	Listen string `yaml:"listen"`
	// PublicIPs are addresses under which the port is reached from outside where the machine does not have them itself
	// (port forwarding, 1:1 NAT). They are offered to browsers beside the machine's own.
	PublicIPs []string `yaml:"public_ips"`
	// ICEServers are told to WHIP clients, for networks that let nothing through but by them. The streamer itself needs
	// none: it has an address that clients reach.
	ICEServers []ICEServer `yaml:"ice_servers"`
}

// ICEServer is a STUN or TURN server, as WebRTC has them.
type ICEServer struct {
	URL        string `yaml:"url"` // stun:, turn: or turns: (RFC 7064, RFC 7065)
	Username   string `yaml:"username"`
	Credential string `yaml:"credential" secret:"true"`
}

// Links are the ICE servers as values of Link headers (RFC 9725 §4.6).
func (c Config) Links() []string {
	var links []string
	for _, s := range c.ICEServers {
		link := fmt.Sprintf(`<%s>; rel="ice-server"`, s.URL)
		if s.Username != "" {
			link += fmt.Sprintf("; username=%s; credential=%s; credential-type=\"password\"", quoted(s.Username), quoted(s.Credential))
		}
		links = append(links, link)
	}
	return links
}

// quoted is a quoted-string of a header (RFC 9110 §5.6.4).
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// validate reports what is wrong with a server at a path.
func (s ICEServer) validate(path string) (faults []config.Fault) {
	scheme, rest, _ := strings.Cut(s.URL, ":")
	if !slices.Contains([]string{"stun", "stuns", "turn", "turns"}, scheme) || rest == "" || strings.ContainsAny(rest, "<> \"\r\n\t") {
		faults = append(faults, config.Faultf(path+".url", "%q is no stun: or turn: address, as stun:stun.example.vn:3478", s.URL))
	}
	for _, x := range [][2]string{{"username", s.Username}, {"credential", s.Credential}} {
		if strings.ContainsFunc(x[1], func(r rune) bool { return r < ' ' || r > '~' }) {
			faults = append(faults, config.Faultf(path+"."+x[0], "only ASCII fits into a header"))
		}
	}
	return faults
}

// DefaultConfig listens on port 8082 of every address.
func DefaultConfig() Config { return Config{Listen: ":8082"} }

// Validate reports every fault.
func (c Config) Validate() []config.Fault {
	var faults []config.Fault
	if err := config.CheckListen(c.Listen); err != nil {
		faults = append(faults, config.Faultf("listen", "%v", err))
	}
	for i, s := range c.PublicIPs {
		path := "public_ips." + strconv.Itoa(i)
		ip, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			faults = append(faults, config.Faultf(path, "%q is not an IP address", s))
		case ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "":
			faults = append(faults, config.Faultf(path, "%q is not an address that a browser could reach", s))
		}
	}
	for i, server := range c.ICEServers {
		faults = append(faults, server.validate("ice_servers."+strconv.Itoa(i))...)
	}
	return faults
}
