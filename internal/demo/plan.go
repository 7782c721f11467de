package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

// Ports of make run (INTERFACES §2); that of the console is a variable.
const (
	streamerControl = 7443
	webrtcPort      = 8082
	streamerAdmin   = 9089
	speakerAdmin    = 9100 // + number
)

// part is one process of the demo. Paths are as the process sees them from the repository's root.
type part struct {
	Name      string
	Program   string // in bin/
	Verb      string // serve or play
	Dir       string
	Zone      string
	Port      int    // of the console: the streamer's only
	RedisURL  string // the streamer's only
	Upstreams []int  // control ports, preferred first
	Control   int    // relays only
	Media     int
	Admin     int
}

// plan lays out the tree: a streamer, a province relay below it, two commune relays below that, and the loudspeakers
// in equal halves below those, each with a standby.
func plan(o options) []part {
	parts := []part{
		{Name: "streamer", Program: "streamer", Verb: "serve", Zone: "31", Port: o.port, RedisURL: o.redisURL, Admin: streamerAdmin, Control: streamerControl, Media: 7444},
		{Name: "relay-province", Program: "relay", Verb: "serve", Zone: "31", Upstreams: []int{streamerControl}, Control: 7543, Media: 7544, Admin: 9090},
		{Name: "relay-1", Program: "relay", Verb: "serve", Zone: "31/11296", Upstreams: []int{7543, streamerControl}, Control: 7553, Media: 7554, Admin: 9091},
		{Name: "relay-2", Program: "relay", Verb: "serve", Zone: "31/11407", Upstreams: []int{7543, streamerControl}, Control: 7563, Media: 7564, Admin: 9092},
	}
	first := (o.speakers + 1) / 2
	for n := 1; n <= o.speakers; n++ {
		p := part{Name: fmt.Sprintf("client-%d", n), Program: "client", Verb: "play", Admin: speakerAdmin + n}
		if n <= first {
			p.Zone, p.Upstreams = fmt.Sprintf("31/11296/%02d", (n-1)%3+1), []int{7553, 7563}
		} else {
			p.Zone, p.Upstreams = fmt.Sprintf("31/11407/%02d", (n-first-1)%3+1), []int{7563, 7553}
		}
		parts = append(parts, p)
	}
	for i := range parts {
		parts[i].Dir = filepath.Join(o.dir, parts[i].Name)
	}
	return parts
}

// config is the path of the part's configuration.
func (p part) config() string { return filepath.Join(p.Dir, "config.yaml") }

// store is where the part keeps what outlives it.
func (p part) store() string { return filepath.Join(p.Dir, "store") }

// args is the part's whole command line.
func (p part) args() []string {
	return []string{filepath.Join("bin", p.Program), p.Verb, "--config", p.config()}
}

// admin is the address of its administration pages.
func (p part) admin() string { return fmt.Sprintf("127.0.0.1:%d", p.Admin) }

// writeConfig fills in the part's template from configs/demo.
func (p part) writeConfig() error {
	t, err := template.ParseFiles(filepath.Join("configs", "demo", p.Program+".yaml.tmpl"))
	if err != nil {
		return fmt.Errorf("read the demo's configuration (make run starts in the repository's root): %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("fill in the configuration of %s: %w", p.Name, err)
	}
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(p.config(), b.Bytes(), 0o600)
}
