package node

import (
	"dongthanh/internal/cluster"
	"dongthanh/internal/config"
	"dongthanh/internal/health"
	"dongthanh/internal/link"
	"dongthanh/internal/logging"
)

// Config is a relay's configuration, relay.yaml. Each part belongs to the package that uses it.
type Config struct {
	Upstreams []link.Upstream `yaml:"upstreams"` // the first is preferred, the others stand by
	Nodes     cluster.Config  `yaml:"nodes"`
	Store     StoreConfig     `yaml:"store"`
	Admin     health.Config   `yaml:"admin"`
	Log       logging.Config  `yaml:"log"`
}

// StoreConfig is where a relay keeps what must outlive it: its keys and certificate, and how often it was started.
type StoreConfig struct {
	Dir string `yaml:"dir"`
}

// maxUpstreams bounds the list: one is active, a second stands by; more only cost pings.
const maxUpstreams = 4

// Default returns the settings in force where a file says nothing.
func Default() Config {
	return Config{
		Upstreams: []link.Upstream{{Control: "wss://localhost:7443"}},
		Nodes:     cluster.Config{Control: ":7543", Media: ":7544"},
		Store:     StoreConfig{Dir: "var/relay"},
		Admin:     health.Default("127.0.0.1:9090"),
		Log:       logging.Default(),
	}
}

// Validate implements config.Validator.
func (c Config) Validate() (faults []config.Fault) {
	if len(c.Upstreams) == 0 || len(c.Upstreams) > maxUpstreams {
		faults = append(faults, config.Faultf("upstreams", "%d given, want 1 to %d", len(c.Upstreams), maxUpstreams))
	}
	seen := map[string]bool{}
	for _, u := range c.Upstreams {
		if seen[u.Control] && u.Control != "" {
			faults = append(faults, config.Faultf("upstreams", "%s is given twice", u.Control))
		}
		seen[u.Control] = true
	}
	return faults
}

// Validate implements config.Validator.
func (c StoreConfig) Validate() []config.Fault {
	if c.Dir == "" {
		return []config.Fault{config.Faultf("dir", "empty; want a directory for the relay's keys")}
	}
	return nil
}
