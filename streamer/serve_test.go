package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/program"
)

// limit is how long a test waits for what comes soon on a quiet machine.
const limit = 20 * time.Second

// ports is a configuration on ports of this machine that the system chooses, but for one.
func (x *terminal) ports(key, value string) (path string) {
	x.t.Helper()
	set := map[string]string{"http.listen": "127.0.0.1:0", "webrtc.listen": "127.0.0.1:0", "admin.listen": "127.0.0.1:0", "nodes.control": "127.0.0.1:0", "nodes.media": "127.0.0.1:0"}
	set[key] = value
	return x.write("serve.yaml", fmt.Sprintf("http: {listen: %q}\nwebrtc: {listen: %q}\nadmin: {listen: %q}\nnodes: {control: %q, media: %q}\nstore: {dir: %s}\n",
		set["http.listen"], set["webrtc.listen"], set["admin.listen"], set["nodes.control"], set["nodes.media"], x.dir))
}

// TestServe runs a whole streamer, goes on air, and ends it: the session is stopped, and all is let go.
func TestServe(t *testing.T) {
	x := newTerminal(t)
	token := x.run("", "token add --kind api --role officer --zone 31").ok()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	errs, write := io.Pipe()
	exit := make(chan int, 1)
	go func() {
		code := commands().Run(ctx, program.IO{In: strings.NewReader(""), Out: io.Discard, Err: write}, []string{"serve", "--config", x.ports("", "")})
		_ = write.Close()
		exit <- code
	}()
	lines := make(chan map[string]any, 1000)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(errs); s.Scan(); {
			var line map[string]any
			if err := json.Unmarshal(s.Bytes(), &line); err != nil {
				line = map[string]any{"msg": s.Text()}
			}
			lines <- line
		}
	}()
	said := func(msg string) map[string]any {
		t.Helper()
		deadline := time.After(limit)
		for {
			select {
			case line, open := <-lines:
				if !open {
					t.Fatalf("the streamer ended without saying %q", msg)
				}
				if line["level"] == "ERROR" {
					t.Errorf("the streamer says %v", line)
				}
				if line["msg"] == msg {
					return line
				}
			case <-deadline:
				t.Fatalf("the streamer does not say %q", msg)
			}
		}
	}
	console, _ := said("streamer is up")["console"].(string)

	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	ask := func(method, path, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequest(method, console+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		a, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		text, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		return a.StatusCode, string(text)
	}
	for path, want := range map[string]string{"/healthz": "", "/readyz": "", "/metrics": "dongthanh_streamer_sessions{state=\"live\"} 0", "/api/v1/zones": "Hải Phòng", "/": "Đăng nhập"} {
		if code, text := ask("GET", path, ""); code != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("GET %s = %d %.300s, want 200 with %q", path, code, text, want)
		}
	}
	if code, text := ask("POST", "/api/v1/sessions", `{"zones":["31/11296"],"source":{"kind":"browser"}}`); code != http.StatusCreated {
		t.Fatalf("go on air: %d %s", code, text)
	}
	if c := x.run("", "token list"); c.code != 0 { // beside the server, which has the database open
		t.Errorf("token list: exit %d, %s", c.code, c.err)
	}
	cancel()
	if line := said("session ended"); line["reason"] != "shutdown" {
		t.Errorf("the session ended because of %v", line["reason"])
	}
	for range lines { // until it has ended
	}
	if code := <-exit; code != program.ExitOK {
		t.Errorf("exit %d, want 0", code)
	}
	if _, err := net.DialTimeout("tcp", strings.TrimPrefix(console, "http://"), time.Second); err == nil {
		t.Error("the port is still open")
	}
}

// TestServePortInUse: one clear line that names key and address, whichever port it is.
func TestServePortInUse(t *testing.T) {
	x := newTerminal(t)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for key, address := range map[string]string{
		"http.listen": tcp.Addr().String(), "admin.listen": tcp.Addr().String(), "nodes.control": tcp.Addr().String(),
		"nodes.media": udp.LocalAddr().String(), "webrtc.listen": udp.LocalAddr().String(),
	} {
		t.Run(key, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			var errs bytes.Buffer
			code := commands().Run(ctx, program.IO{In: strings.NewReader(""), Out: io.Discard, Err: &errs}, []string{"serve", "--config", x.ports(key, address)})
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Fatal("the streamer runs without its port")
			}
			var said []string
			for line := range strings.Lines(errs.String()) {
				if !strings.HasPrefix(line, "{") { // the log
					said = append(said, line)
				}
			}
			if code != program.ExitFailed || len(said) != 1 || !strings.Contains(said[0], key) || !strings.Contains(said[0], address) || !strings.Contains(said[0], "in use") {
				t.Errorf("exit %d, want 1 and one line about %s at %s\n%s", code, key, address, errs.String())
			}
			if strings.Contains(errs.String(), "streamer is up") {
				t.Error("it says that it is up")
			}
		})
	}
}
