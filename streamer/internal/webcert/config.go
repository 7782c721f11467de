package webcert

import (
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"dongthanh/internal/config"
)

// Config says where the certificate for https comes from: with nothing set, from the streamer's own authority.
type Config struct {
	Cert string `yaml:"cert"` // PEM file with the chain, leaf first; read again when it changes
	Key  string `yaml:"key"`  // PEM file
	// Names are further names and addresses that people type to reach this machine, for the certificate of its own
	// authority: a name in the local DNS, the outside address of a router that forwards the port.
	Names []string `yaml:"names"`
	// ACME is a public name that leads to this machine, for which an ACME server (RFC 8555) gives a certificate that
	// every browser trusts. Its port 443 must lead to http.listen (RFC 8737), or its port 80 to http.listen or
	// ACMEListen (RFC 8555 §8.3). Setting it agrees to the terms of the server's owner.
	ACME          string `yaml:"acme_domain"`
	ACMEDirectory string `yaml:"acme_directory"` // https URL of the server's directory
	ACMEEmail     string `yaml:"acme_email"`     // where the server's owner writes when something is wrong; may be empty
	ACMEListen    string `yaml:"acme_listen"`    // a further plain http address, such as ":80"; empty: none
}

// DefaultConfig makes certificates by the own authority, and knows Let's Encrypt.
func DefaultConfig() Config {
	return Config{ACMEDirectory: "https://acme-v02.api.letsencrypt.org/directory"}
}

// Validate reports every fault. It reads no file.
func (c Config) Validate() []config.Fault {
	var faults []config.Fault
	if (c.Cert == "") != (c.Key == "") {
		faults = append(faults, config.Faultf("", "cert and key go together"))
	}
	for i, n := range c.Names {
		if ip, err := netip.ParseAddr(n); err == nil && ip.Zone() == "" && !ip.IsUnspecified() || validName(strings.TrimSuffix(n, ".")) {
			continue
		}
		what := "%q is neither a name nor an address"
		if strings.ContainsAny(n, ":/") {
			what += "; leave out https:// and the port"
		}
		faults = append(faults, config.Faultf("names."+strconv.Itoa(i), what, n))
	}
	return append(faults, c.validateACME()...)
}

func (c Config) validateACME() []config.Fault {
	var faults []config.Fault
	if c.ACME == "" {
		if c.ACMEListen != "" {
			faults = append(faults, config.Faultf("acme_listen", "is only of use with acme_domain"))
		}
		return faults
	}
	if c.Cert != "" {
		faults = append(faults, config.Faultf("acme_domain", "set either this or cert and key"))
	}
	if !validName(c.ACME) || !strings.Contains(c.ACME, ".") || net.ParseIP(c.ACME) != nil {
		faults = append(faults, config.Faultf("acme_domain", "%q is not a public name, such as loa.xa.example.vn", c.ACME))
	}
	if u, err := url.Parse(c.ACMEDirectory); err != nil || u.Scheme != "https" || u.Host == "" {
		faults = append(faults, config.Faultf("acme_directory", "%q is not an https:// address", c.ACMEDirectory))
	}
	if a, err := mail.ParseAddress(c.ACMEEmail); c.ACMEEmail != "" && (err != nil || a.Address != c.ACMEEmail) {
		faults = append(faults, config.Faultf("acme_email", "%q is not an e-mail address", c.ACMEEmail))
	}
	if c.ACMEListen != "" {
		if err := config.CheckListen(c.ACMEListen); err != nil {
			faults = append(faults, config.Faultf("acme_listen", "%v", err))
		}
	}
	return faults
}
