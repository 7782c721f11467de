package api

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"net/http"
	"sync"
	"time"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
)

// What event streams may cost, with ten thousand nodes and every page of the province open.
const (
	maxStreams    = 256 // at once …
	maxStreamsOne = 16  // … and for one person or machine: a page is one
	listEvery     = time.Second
	listRate      = 1 << 20 // bytes a second of a list that changes all the time, on top of listEvery
	listForgotten = time.Minute
)

var errTooManyStreams = problemf(http.StatusServiceUnavailable, "too_many_streams", "Bạn đang mở quá nhiều trang cùng lúc. Hãy đóng bớt rồi thử lại.")

// streams bounds the event streams and holds what they share. The zero value is ready.
type streams struct {
	mu   sync.Mutex // guards both below
	all  int
	each map[string]int // by principal

	making sync.Mutex             // held while a list is made, so that it is made once for all who wait; guards lists
	lists  map[zone.Zone]nodeList // by the zone whose nodes are seen
}

// enter counts one stream more of a principal; leave must follow unless there is an error.
func (s *streams) enter(id string) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxStreams || s.each[id] >= maxStreamsOne {
		return nil, errTooManyStreams
	}
	if s.each == nil {
		s.each = map[string]int{}
	}
	s.all++
	s.each[id]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.each[id]--; s.each[id] == 0 {
			delete(s.each, id)
		}
	}, nil
}

// nodeList is the list of all nodes of a zone in JSON, as streams send it.
type nodeList struct {
	text    []byte
	sum     [sha256.Size]byte
	made    time.Time
	current <-chan struct{} // closed once there is news
}

// pace is how long a list is good enough although there is news.
func (l nodeList) pace() time.Duration {
	return listEvery + time.Duration(len(l.text))*time.Second/listRate
}

// nodeList returns the nodes that p sees, and if they are out of date, how long until they are made anew.
func (a *api) nodeList(p accounts.Principal) (l nodeList, wait time.Duration, err error) {
	s := &a.streams
	s.making.Lock()
	defer s.making.Unlock()
	now := time.Now()
	l, known := s.lists[p.Zone]
	if known {
		select {
		case <-l.current:
			if wait = l.pace() - now.Sub(l.made); wait > 0 {
				return l, wait, nil
			}
		default:
			return l, 0, nil
		}
	}
	l = nodeList{current: a.Nodes.Changed(), made: now}
	list := []nodeJSON{}
	for _, n := range a.Nodes.List() {
		if p.Zone.Contains(n.Zone) { // every role sees the nodes of its zone
			list = append(list, brief(n))
		}
	}
	if l.text, err = json.Marshal(list); err != nil {
		return nodeList{}, 0, err
	}
	l.sum = sha256.Sum256(l.text)
	if s.lists == nil {
		s.lists = map[zone.Zone]nodeList{}
	}
	maps.DeleteFunc(s.lists, func(_ zone.Zone, x nodeList) bool { return now.Sub(x.made) > listForgotten })
	s.lists[p.Zone] = l
	return l, 0, nil
}
