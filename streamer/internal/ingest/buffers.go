package ingest

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/pion/transport/v5/packetio"
)

const (
	// maxStreams is how many streams of RTP and RTCP one browser may open by sending from ever new sources. A browser
	// opens two or three; pion keeps state for each, so the one that exceeds this is let go.
	maxStreams = 16
	// streamBytes bounds what waits in one of them: 5 s of sound. The newest is dropped; it is read at once normally.
	streamBytes = 64 << 10
)

// buffers makes the queues between pion's network side and its readers.
type buffers struct {
	made    atomic.Int32
	tooMany chan struct{} // closed when a browser opened too many
	once    sync.Once
}

func newBuffers() *buffers { return &buffers{tooMany: make(chan struct{})} }

// make is a webrtc.SettingEngine's BufferFactory.
func (b *buffers) make(packetio.BufferPacketType, uint32) io.ReadWriteCloser {
	q := &queue{packetio.NewBuffer()}
	q.SetLimitSize(streamBytes)
	if b.made.Add(1) > maxStreams {
		q.SetLimitSize(1)
		b.once.Do(func() { close(b.tooMany) })
	}
	return q
}

// queue is a packetio.Buffer as pion's srtp wants it.
type queue struct{ *packetio.Buffer }

func (q *queue) Read(p []byte) (int, error) {
	n, _, err := q.Buffer.Read(p, nil)
	return n, err
}

func (q *queue) Write(p []byte) (int, error) { return q.Buffer.Write(p, nil) }
