package recording

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"syscall"
	"time"

	"dongthanh/codec"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/tap"
)

const (
	lookEvery = codec.SampleRate      // of sound, between two looks at what is free on the disk
	syncEvery = 10 * codec.SampleRate // of sound that a power cut may take

	recordAgain = 5 * time.Second // before a record that could not be stored is tried again …
	recordTries = 12              // … so many times; then the next start finds the file
)

// errLow says that the disk has no more than what stays free.
var errLow = errors.New("disk is nearly full")

// take is a recording being written.
type take struct {
	session store.Session
	name    string // of the finished file
	file    *os.File
	ogg     *codec.OggWriter
	looked  int64 // sample at which the disk was last looked at
	synced  int64
}

// record writes what comes from a queue until it ends, then makes the file whole.
func (r *Recorder) record(x store.Session, q *tap.Queue) {
	defer q.Leave()
	name, ok := place(x.ID)
	if !ok {
		r.Log.Error("a session whose id names no file is not recorded", "session", x.ID)
		return
	}
	r.metrics.open.Inc()
	defer r.metrics.open.Dec()
	var (
		t     *take
		fault error
		p     tap.Packet
		end   int64 // of the session's sound
	)
	for q.Next(context.Background(), &p) {
		end = p.Sample + int64(p.Samples)
		if fault != nil {
			continue // what follows is counted
		}
		if t == nil {
			if t, fault = r.begin(x, name); fault == nil {
				r.setTrouble(TroubleNone)
			}
		}
		if fault == nil {
			fault = r.write(t, p)
		}
		if fault != nil {
			r.stopped(x.ID, fault)
		}
	}
	if t != nil {
		r.finish(t, end)
	} else {
		r.metrics.missing.Add(float64(end) / codec.SampleRate)
	}
}

// stopped tells that a recording breaks off.
func (r *Recorder) stopped(session string, fault error) {
	reason, trouble := "fault", TroubleFault
	if errors.Is(fault, errLow) || errors.Is(fault, syscall.ENOSPC) || errors.Is(fault, syscall.EDQUOT) {
		reason, trouble = "disk_full", TroubleDisk
	}
	r.metrics.stopped.WithLabelValues(reason).Inc()
	r.setTrouble(trouble)
	r.Log.Error("recording breaks off; the sound goes on", "session", session, "error", fault)
}

// begin makes the file of a session.
func (r *Recorder) begin(x store.Session, name string) (*take, error) {
	if !r.room() {
		return nil, errLow
	}
	if err := r.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("make folder of recording: %w", err)
	}
	f, err := r.root.OpenFile(name+part, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make recording: %w", err)
	}
	var serial [4]byte
	_, _ = rand.Read(serial[:]) // never fails (crypto/rand)
	comments := []string{"DATE=" + x.Created.UTC().Format(time.RFC3339), "SESSION=" + x.ID}
	if x.Title != "" {
		comments = append(comments, "TITLE="+x.Title)
	}
	t := &take{session: x, name: name, file: f}
	if t.ogg, err = codec.NewOggWriter(f, binary.LittleEndian.Uint32(serial[:]), comments); err != nil {
		_ = f.Close() // err says more
		return nil, err
	}
	return t, nil
}

// write appends a packet, and what stands for those that are missing before it.
func (r *Recorder) write(t *take, p tap.Packet) error {
	at := t.ogg.Samples()
	if at-t.looked >= lookEvery {
		if t.looked = at; !r.room() {
			return errLow
		}
	}
	if at-t.synced >= syncEvery {
		t.synced = at
		if err := t.file.Sync(); err != nil {
			return fmt.Errorf("sync recording: %w", err)
		}
	}
	if p.Sample > at {
		if err := t.ogg.Skip((p.Sample - at) / codec.FrameSamples * codec.FrameSamples); err != nil {
			return err
		}
	}
	return t.ogg.Write(p.Data)
}

// finish makes a recording whole and stores its record. end is where the session's sound ended.
func (r *Recorder) finish(t *take, end int64) {
	defer t.file.Close()
	if err := t.ogg.Flush(); err != nil && r.Trouble() == TroubleNone {
		r.stopped(t.session.ID, err)
	}
	x, err := r.complete(t.file, t.name, t.session.ID, end)
	if errors.Is(err, ErrNone) {
		return
	}
	if err != nil {
		r.Log.Error("finish recording", "session", t.session.ID, "error", err)
		return
	}
	r.metrics.missing.Add(x.Missing)
	r.keep(x)
	ctx, cancel := context.WithTimeout(context.Background(), storeWait)
	defer cancel()
	r.prune(ctx)
}

// complete makes the file of a session whole, gives it its name and returns its record. A file without sound is removed:
// ErrNone. end is where the session's sound ended, 0 if that is not known.
func (r *Recorder) complete(f *os.File, name, session string, end int64) (store.Recording, error) {
	info, err := codec.FinishOgg(f)
	if err != nil {
		return store.Recording{}, err
	}
	if info.Samples == 0 {
		return store.Recording{}, errors.Join(ErrNone, r.root.Remove(name+part))
	}
	sum := sha256.New()
	if _, err = f.Seek(0, io.SeekStart); err == nil {
		if _, err = io.Copy(sum, f); err == nil {
			err = f.Sync()
		}
	}
	if err != nil {
		return store.Recording{}, fmt.Errorf("read recording back: %w", err)
	}
	if err := r.root.Rename(name+part, name); err != nil {
		return store.Recording{}, fmt.Errorf("name recording: %w", err)
	}
	r.syncFolder(path.Dir(name))
	lost := max(end-info.Samples-codec.PreSkip, 0) + info.Missing
	return store.Recording{
		Session: session, Seconds: float64(info.Samples) / codec.SampleRate, Missing: float64(lost) / codec.SampleRate,
		Bytes: info.Bytes, SHA256: [32]byte(sum.Sum(nil)), Recorded: time.Now(),
	}, nil
}

// syncFolder brings a new name to the disk. Where that fails, the next start finds the file under its old one.
func (r *Recorder) syncFolder(name string) {
	d, err := r.root.Open(name)
	if err != nil {
		return
	}
	_ = d.Sync()
	_ = d.Close()
}

// keep stores a record, again and again for a minute: the session's own may come late, and the disk may be back soon.
func (r *Recorder) keep(x store.Recording) {
	for n := 0; ; n++ {
		ctx, cancel := context.WithTimeout(context.Background(), storeWait)
		err := r.Records.AddRecording(ctx, x)
		cancel()
		if err == nil {
			r.Log.Info("recorded", "session", x.Session, "seconds", x.Seconds, "missing", x.Missing, "bytes", x.Bytes)
			return
		}
		if n == recordTries {
			r.Log.Error("record of a recording", "session", x.Session, "error", err)
			return
		}
		select {
		case <-time.After(recordAgain):
		case <-r.closing:
			n = recordTries - 1 // one last time
		}
	}
}
