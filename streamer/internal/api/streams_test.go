package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/nodes"
	"dongthanh/streamer/internal/store"
)

// TestStreamsAreBounded: one person's pages cannot take everybody's place, and who leaves makes room.
func TestStreamsAreBounded(t *testing.T) {
	var s streams
	var leave []func()
	for n := range maxStreams {
		l, err := s.enter(fmt.Sprint("p", n/maxStreamsOne))
		if err != nil {
			t.Fatalf("stream %d: %v", n, err)
		}
		leave = append(leave, l)
		if n%maxStreamsOne == maxStreamsOne-1 {
			if _, err := s.enter(fmt.Sprint("p", n/maxStreamsOne)); !errors.Is(err, errTooManyStreams) {
				t.Fatalf("one more of one person: %v", err)
			}
		}
	}
	if _, err := s.enter("late"); !errors.Is(err, errTooManyStreams) {
		t.Errorf("one more of all: %v", err)
	}
	leave[0]()
	if _, err := s.enter("late"); err != nil {
		t.Errorf("after one has left: %v", err)
	}
	for _, l := range leave[1:] {
		l()
	}
	if s.all != 1 || len(s.each) != 1 {
		t.Errorf("%d streams of %d counted, want one", s.all, len(s.each))
	}
}

// TestNodesAreToldAtAPace: a list is made once for all who see it, and once a second at most while all of it moves.
func TestNodesAreToldAtAPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var enrolled []store.Node
		for n := range 3000 {
			enrolled = append(enrolled, store.Node{
				ID: fmt.Sprintf("node-%04d", n), Name: "Loa số " + fmt.Sprint(n), Kind: store.NodeClient, Zone: zone.Zone(fmt.Sprintf("31/%05d", n%2)),
			})
		}
		picture, err := nodes.New(t.Context(), nodes.Options{
			Enrolled: func(context.Context) ([]store.Node, error) { return enrolled, nil }, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		a := &api{Options: Options{Nodes: picture}}
		province, commune := accounts.Principal{Role: accounts.Officer, Zone: "31"}, accounts.Principal{Role: accounts.Auditor, Zone: "31/00001"}
		list := func(p accounts.Principal) (nodeList, time.Duration) {
			l, wait, err := a.nodeList(p)
			if err != nil {
				t.Fatal(err)
			}
			return l, wait
		}
		first, wait := list(province)
		if again, _ := list(province); wait != 0 || &again.text[0] != &first.text[0] {
			t.Error("the list is made anew for each who asks")
		}
		if own, _ := list(commune); strings.Contains(string(own.text), `"31/00000"`) || strings.Count(string(own.text), `"id"`) != 1500 {
			t.Error("an official of one commune is told of another's nodes")
		}
		made := 0
		for step := range 100 { // ten seconds in which a node comes or goes every 100 ms
			picture.Changes(control.Changes{Members: []control.Member{{Node: fmt.Sprintf("node-%04d", step), Via: "r", Kind: "client", Zone: "31/00001"}}})
			l, wait := list(province)
			if l.made != first.made {
				made, first = made+1, l
			} else if wait <= 0 || wait > l.pace() {
				t.Fatalf("news are held back for %v, want at most %v", wait, l.pace())
			}
			time.Sleep(100 * time.Millisecond)
		}
		if most := int(10*time.Second/first.pace()) + 1; made < 2 || made > most {
			t.Errorf("the list was made %d times in ten seconds, want 2 to %d", made, most)
		}
		time.Sleep(first.pace())
		last, wait := list(province)
		if n := strings.Count(string(last.text), `"online"`); n != 100 || wait != 0 {
			t.Errorf("in the end %d nodes are online and %v is to be waited, want 100 and nothing", n, wait)
		}
	})
}
