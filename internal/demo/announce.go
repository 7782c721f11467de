package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// access is how the demo talks to its own streamer: as any machine would.
type access struct {
	port     int
	password string
	token    string
}

// call makes one API call and decodes the answer into out.
func (a access) call(ctx context.Context, method, path string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://127.0.0.1:%d/api/v1%s", a.port, path), body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	return json.Unmarshal(b, out)
}

// until asks every 50 ms until done says so.
func until(ctx context.Context, limit time.Duration, what string, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errors.New("took longer than "+limit.String()))
	defer cancel()
	for {
		ok, err := done(ctx)
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// waitOnline waits until the streamer sees all nodes.
func (a access) waitOnline(ctx context.Context, want int) error {
	return until(ctx, 15*time.Second, "all nodes to be online", func(ctx context.Context) (bool, error) {
		var nodes []struct {
			State string `json:"state"`
		}
		if err := a.call(ctx, http.MethodGet, "/nodes", nil, &nodes); err != nil {
			return false, err
		}
		online := 0
		for _, n := range nodes {
			if n.State != "offline" {
				online++
			}
		}
		return online >= want, nil
	})
}

// announce plays the bundled announcement to everybody and prints what each loudspeaker heard.
func announce(ctx context.Context, a access, parts []part) error {
	ctx, cancel := context.WithTimeout(ctx, announceWait)
	defer cancel()
	wav, err := os.ReadFile(filepath.Join("configs", "demo", "announcement.wav"))
	if err != nil {
		return err
	}
	var audio struct {
		ID string `json:"id"`
	}
	if err := a.call(ctx, http.MethodPost, "/audio?name=announcement.wav", bytes.NewReader(wav), &audio); err != nil {
		return err
	}
	request, err := json.Marshal(map[string]any{
		"zones": []string{"31"}, "priority": "normal", "title": "Giới thiệu hệ thống",
		"source": map[string]string{"kind": "file", "audio": audio.ID},
	})
	if err != nil {
		return err
	}
	type session struct {
		ID    string `json:"id"`
		State string `json:"state"`
	}
	var s session
	if err := a.call(ctx, http.MethodPost, "/sessions", bytes.NewReader(request), &s); err != nil {
		return err
	}
	err = until(ctx, announceWait, "the announcement to end", func(ctx context.Context) (bool, error) {
		err := a.call(ctx, http.MethodGet, "/sessions/"+s.ID, nil, &s)
		return s.State == "ended" || s.State == "failed", err
	})
	if err != nil {
		return err
	}
	if s.State != "ended" {
		return fmt.Errorf("the announcement %s", s.State)
	}
	return printTable(ctx, parts)
}

// printTable prints one line for each loudspeaker: what its metrics count, and how far its sound lies from that of the
// first loudspeaker, measured from what both have played.
func printTable(ctx context.Context, parts []part) error {
	var speakers []part
	for _, p := range parts {
		if p.Program == "client" {
			speakers = append(speakers, p)
		}
	}
	time.Sleep(1500 * time.Millisecond) // played.wav is at most 1 s behind, and the last fade must be in it
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "loudspeaker\tzone\tframes\trepaired\tlost\tlatency\tunison error\t")
	first, err := openPlayed(speakers[0])
	if err != nil {
		return err
	}
	for _, p := range speakers {
		m, err := scrape(ctx, p)
		if err != nil {
			return err
		}
		played, err := openPlayed(p)
		if err != nil {
			return err
		}
		offset, err := played.offset(first)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		fmt.Fprintf(w, "%s\t%s\t%.0f\t%.0f\t%.0f\t%.0f ms\t%.2f ms\t\n", p.Name, p.Zone,
			m.played+m.repaired, m.repaired, m.concealed+m.late, m.delay*1000, offset.Seconds()*1000)
	}
	return w.Flush()
}
