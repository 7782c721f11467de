package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestRedisDies kills a real Redis while a session is on air: no loudspeaker loses a frame, and the set of members is
// whole again within 10 s of its return.
func TestRedisDies(t *testing.T) {
	if testing.Short() {
		t.Skip("starts ten programs")
	}
	server, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("redis-server is not installed: make test installs it")
		}
		t.Skip("redis-server is not installed")
	}
	const address = "127.0.0.1:6399"
	dir := t.TempDir()
	start := func() *exec.Cmd {
		cmd := exec.Command(server, "--port", "6399", "--bind", "127.0.0.1", "--save", "", "--dir", dir, "--logfile", dir+"/log")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "redis listens", func() bool {
			c, err := net.Dial("tcp", address)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		return cmd
	}
	proc := start()
	kill := func() {
		_ = proc.Process.Kill()
		_ = proc.Wait()
	}
	defer func() { kill() }()
	r := startRig(t, "REDIS_URL=redis://"+address)
	m := r.machine()
	c := redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1})
	defer c.Close()

	id := m.speak(t, m.upload(t, 750, 60), map[string]any{"title": "Redis chết"}, "31")
	key := "dongthanh:session:" + id
	members := func() int64 { return c.ZCard(t.Context(), key+":members").Val() }
	eventually(t, 10*time.Second, "six members", func() bool { return members() == 6 })
	if lock := c.Get(t.Context(), "dongthanh:onair:31").Val(); lock == "" {
		t.Error("no lock shows the zone as taken")
	}
	if state := c.HGet(t.Context(), "dongthanh:node:"+r.nodeID(t, m, "client-1"), "state").Val(); state != "playing" {
		t.Errorf("client-1 is %q in Redis, want playing", state)
	}
	before := r.frames(t)
	kill()
	<-time.After(4 * time.Second)
	if s := m.session(t, id); s.Listeners.Hearing != 6 {
		t.Errorf("without Redis the official sees %d of 6", s.Listeners.Hearing)
	}
	proc = start()
	back := time.Now()
	eventually(t, 10*time.Second, "six members again", func() bool { return members() == 6 })
	t.Logf("the set was whole %v after Redis came back", time.Since(back))
	for name, f := range r.frames(t) {
		b := before[name]
		if lost := f.concealed + f.late - b.concealed - b.late; lost > 0 {
			t.Errorf("%s lost %v frames", name, lost)
		}
		if f.played+f.repaired-b.played-b.repaired < 150 {
			t.Errorf("%s played %v frames in more than 4 s", name, f.played+f.repaired-b.played-b.repaired)
		}
	}
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "six members after all data was lost", func() bool { return members() == 6 })
	m.post(t, "/sessions/"+id+"/stop", nil)
	eventually(t, 5*time.Second, "the set is gone", func() bool { return c.Exists(t.Context(), key+":members").Val() == 0 })
	if state := c.HGet(t.Context(), key, "state").Val(); state != "ended" {
		t.Errorf("state in Redis = %s", fmt.Sprint(state))
	}
}
