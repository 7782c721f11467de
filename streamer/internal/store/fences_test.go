package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"dongthanh/streamer/internal/store"
)

func TestFencesAreCountedPerClass(t *testing.T) {
	s := open(t)
	for _, c := range []struct {
		class string
		want  uint64
	}{{"normal", 1}, {"normal", 2}, {"emergency", 1}, {"normal", 3}, {"emergency", 2}} {
		if got, err := s.NextFence(t.Context(), c.class); got != c.want || err != nil {
			t.Errorf("NextFence(%s) = %d, %v, want %d", c.class, got, err, c.want)
		}
	}
	if _, err := s.NextFence(t.Context(), ""); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("NextFence of no class: %v, want ErrInvalid", err)
	}
}

// drawFences prints fences until it is killed.
func drawFences(dir string) error {
	s, err := store.Open(context.Background(), dir, nil)
	if err != nil {
		return err
	}
	for {
		n, err := s.NextFence(context.Background(), "emergency")
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// A streamer that is killed while it draws fences must never draw one again that somebody saw.
func TestFencesSurviveKills(t *testing.T) {
	const kills = 12
	dir := t.TempDir()
	var last uint64
	for round := range kills {
		cmd := helperCommand(t, "fences", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for seen := 0; lines.Scan(); seen++ {
			n, err := strconv.ParseUint(lines.Text(), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if n <= last {
				t.Fatalf("after kill %d: fence %d, want more than %d", round, n, last)
			}
			last = n
			if seen == 3+7*round { // each time at another place; what comes until the pipe ends is checked too
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // killed
	}
	s := openDir(t, dir)
	if n, err := s.NextFence(t.Context(), "emergency"); err != nil || n <= last {
		t.Errorf("NextFence = %d, %v, want more than %d", n, err, last)
	}
	if last < kills*(kills-1)/2 {
		t.Errorf("only %d fences were drawn", last)
	}
}
