package main

import (
	"path/filepath"

	"dongthanh/internal/cluster"
	"dongthanh/internal/config"
	"dongthanh/internal/health"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/membership"
	"dongthanh/streamer/internal/radio"
	"dongthanh/streamer/internal/recording"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/web"
)

// Config is the streamer's configuration: each part belongs to the package that uses it.
type Config struct {
	HTTP     web.Config        `yaml:"http"`
	WebRTC   ingest.Config     `yaml:"webrtc"`
	Line     ingest.LineConfig `yaml:"line"`
	Sources  radio.Config      `yaml:"sources"`
	Admin    health.Config     `yaml:"admin"`
	Nodes    cluster.Config    `yaml:"nodes"`
	Redis    membership.Config `yaml:"redis"`
	Store    StoreConfig       `yaml:"store"`
	Sessions session.Config    `yaml:"sessions"`

	Recordings recording.Config `yaml:"recordings"`
}

// StoreConfig is where everything that must outlive the process lies.
type StoreConfig struct {
	Dir string `yaml:"dir"` // database, audio, keys
}

// Validate reports a missing directory name.
func (c StoreConfig) Validate() []config.Fault {
	if c.Dir == "" {
		return []config.Fault{config.Faultf("dir", "name a directory for database, audio and keys")}
	}
	return nil
}

func (c StoreConfig) keys() string  { return filepath.Join(c.Dir, "keys") }
func (c StoreConfig) https() string { return filepath.Join(c.Dir, "keys", "https") }

// defaults are what holds where the file and the environment say nothing; configs/streamer.yaml shows them.
func defaults() Config {
	return Config{
		HTTP:     web.DefaultConfig(),
		WebRTC:   ingest.DefaultConfig(),
		Admin:    health.Default("127.0.0.1:9089"),
		Nodes:    cluster.Config{Control: ":7443", Media: ":7444"},
		Store:    StoreConfig{Dir: "var/streamer"},
		Sessions: session.DefaultConfig(),

		Recordings: recording.DefaultConfig(),
	}
}
