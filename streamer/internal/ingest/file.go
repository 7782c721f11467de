package ingest

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

const (
	fileAhead   = 100 // frames read ahead, 2 s: a disk that hangs for so long is not heard
	fileStarted = 10  // frames there when Started is closed, or all of a shorter file
)

// PCM is decoded sound: mono at 48 kHz. *codec.WAVReader is one.
type PCM interface {
	// Read fills at most all of pcm and returns the number of samples, with io.EOF at the end. It may block.
	Read(pcm []float32) (int, error)
}

// File is a Source that plays an uploaded file. It reads two seconds ahead and holds no more; when the disk is slower
// than that, silence is played until it comes, and nothing of the file is left out.
type File struct {
	pcm    PCM
	closer io.Closer

	full  chan []float32 // frames in order; closed after the last
	empty chan []float32 // frames to fill
	err   error          // why the file ended; set before full is closed

	started, done, closing chan struct{}
	doneOnce, closeOnce    sync.Once
	closeErr               error
	running                sync.WaitGroup
	waits                  atomic.Uint64

	over error // what Read returns for good; the reading goroutine's only
}

// NewFile plays pcm and closes closer, which may be nil, on Close. It starts to read at once.
func NewFile(pcm PCM, closer io.Closer) *File {
	f := &File{
		pcm: pcm, closer: closer,
		full: make(chan []float32, fileAhead), empty: make(chan []float32, fileAhead),
		started: make(chan struct{}), done: make(chan struct{}), closing: make(chan struct{}),
	}
	for range fileAhead {
		f.empty <- make([]float32, frameSamples)
	}
	f.running.Go(f.fill)
	return f
}

// fill reads ahead until the file ends, fails or is closed.
func (f *File) fill() {
	defer close(f.full)
	start := sync.OnceFunc(func() { close(f.started) })
	for frames := 0; ; {
		var frame []float32
		select {
		case frame = <-f.empty:
		case <-f.closing:
			f.err = io.EOF
			return
		}
		n, err := readPCM(f.pcm, frame)
		if n > 0 {
			clear(frame[n:])
			f.full <- frame // has room for all frames there are
			frames++
		}
		if frames >= fileStarted || (err != nil && frames > 0) {
			start()
		}
		if err != nil {
			if f.err = err; !errors.Is(err, io.EOF) {
				f.err = fmt.Errorf("read audio file: %w", err)
			}
			if frames == 0 {
				f.finish()
			}
			return
		}
	}
}

// Read gives the next frame of the file; the last one is filled up with silence.
func (f *File) Read(frame []float32) error {
	if len(frame) != frameSamples {
		return errFrame(len(frame))
	}
	if f.over != nil {
		clear(frame)
		return f.over
	}
	select {
	case <-f.closing:
		f.over = io.EOF
	default:
		select {
		case got, ok := <-f.full:
			if ok {
				copy(frame, got)
				f.empty <- got
				return nil
			}
			f.over = f.err
		default:
			f.waits.Add(1)
			clear(frame)
			return nil
		}
	}
	f.finish()
	clear(frame)
	return f.over
}

// Waits returns how many frames of silence were played because the disk was too slow.
func (f *File) Waits() uint64 { return f.waits.Load() }

// Started is closed when 200 ms are there, or all of a shorter file. It stays open for a file without sound.
func (f *File) Started() <-chan struct{} { return f.started }

// Done is closed when the last frame was read, the file failed, or Close was called.
func (f *File) Done() <-chan struct{} { return f.done }

func (f *File) finish() { f.doneOnce.Do(func() { close(f.done) }) }

// Close stops at once: Read gives nothing more. It waits for a read of the disk that is under way.
func (f *File) Close() error {
	f.closeOnce.Do(func() {
		close(f.closing)
		f.running.Wait()
		if f.closer != nil {
			f.closeErr = f.closer.Close()
		}
		f.finish()
	})
	return f.closeErr
}
