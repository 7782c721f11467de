package radio

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"dongthanh/streamer/internal/ffmpeg"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/library"
)

const (
	headBytes = 64 // of the beginning, which tell what it is

	// maxUnsounded may go into ffmpeg between two pieces of sound: a cover picture before an MP3, no more. Else an
	// endless stream of nothing would keep a processor busy.
	maxUnsounded = 16 << 20
	// maxBreaks in a row are borne, each answered by a new attempt; a minute of sound makes up for them.
	maxBreaks = 6
	forgiven  = time.Minute

	// liveCPU is far more than four hours of any codec take.
	liveCPU = time.Hour
)

// source is a stream as a Source: its File reads it ahead by two seconds. A gap of the network is a gap of the sound.
type source struct {
	*ingest.File
	stream *stream
	once   sync.Once
}

// Close hangs up and waits until nothing runs any more.
func (s *source) Close() error {
	s.once.Do(func() {
		s.stream.cancel()
		_ = s.File.Close()        // has nothing to close
		if s.stream.feed != nil { // nobody read it to its end
			_ = s.stream.part()
		}
		s.stream.radio.give()
	})
	return nil
}

// stream is one address that is being listened to, an ingest.PCM.
type stream struct {
	radio   *Radio
	url     *url.URL
	program string

	ctx    context.Context // ends with the source
	cancel context.CancelFunc

	// What follows belongs to the goroutine that reads: Open's, then File's.
	feed    *feed
	raw     [2 * 960]byte
	odd     int       // bytes of half a sample that wait in raw
	breaks  int       // in a row
	sounded time.Time // when sound last came
}

func newStream(r *Radio, u *url.URL, program string) *stream {
	s := &stream{radio: r, url: u, program: program, sounded: time.Now()}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// feed is one connection with its ffmpeg.
type feed struct {
	cancel context.CancelFunc
	answer io.Closer
	body   *body
	child  *ffmpeg.Process
	began  time.Time
	// ends says that the server told where the stream ends: a file, not radio.
	ends bool
}

// body counts what goes into ffmpeg.
type body struct {
	io.Reader
	unsounded atomic.Int64
	whole     atomic.Bool // it was read to the end that the server announced
}

func (b *body) Read(p []byte) (int, error) {
	if b.unsounded.Load() > maxUnsounded {
		return 0, errors.New("bytes without sound")
	}
	n, err := b.Reader.Read(p)
	b.unsounded.Add(int64(n))
	if errors.Is(err, io.EOF) {
		b.whole.Store(true)
	}
	return n, err
}

// tune connects, looks at what comes, and starts ffmpeg on it.
func (s *stream) tune(ctx context.Context) error {
	live, cancel := context.WithCancel(s.ctx)
	failed := true
	defer func() {
		if failed {
			cancel()
		}
	}()
	late := time.AfterFunc(s.radio.waits.open, cancel)
	defer late.Stop()
	defer context.AfterFunc(ctx, cancel)()
	response, err := s.get(live)
	if err != nil {
		return err
	}
	head := bufio.NewReaderSize(response.Body, 4096)
	first, err := head.Peek(headBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return unreachable(err)
	}
	demuxer, refusal := demuxerOf(first, response.Header.Get("Content-Type"))
	if refusal != nil {
		return refusal
	}
	if !late.Stop() {
		return unreachable(context.DeadlineExceeded)
	}
	in := &body{Reader: head}
	child, err := ffmpeg.Start(live, s.program, ffmpeg.Live(demuxer), in, liveCPU, s.radio.log)
	if err != nil {
		return err
	}
	failed = false
	s.odd = 0
	s.feed = &feed{
		cancel: cancel, answer: response.Body, body: in, child: child, began: time.Now(),
		ends: response.ContentLength >= 0 || len(response.TransferEncoding) > 0, // RFC 9112 §6.3
	}
	return nil
}

// get asks for the address and returns an answer of 200.
func (s *stream) get(ctx context.Context) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.String(), nil)
	if err != nil {
		return nil, refuse("Địa chỉ không hợp lệ.", "make request: %w", err)
	}
	request.Header.Set("User-Agent", "dongthanh")
	request.Header.Set("Accept", "audio/*, application/ogg, */*;q=0.1")
	response, err := s.radio.client.Do(request) // #nosec G107 -- dial and checkURL decide where it may go
	if err != nil {
		return nil, unreachable(err)
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, refuse(fmt.Sprintf("Máy chủ của địa chỉ này từ chối (mã %d).", response.StatusCode), "status %d", response.StatusCode)
	}
	return response, nil // its body ends with ctx
}

// unreachable makes a Refusal of a failure to connect, unless it is one.
func unreachable(err error) error {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	return refuse("Không kết nối được với địa chỉ này, hoặc máy chủ trả lời quá chậm.", "fetch: %w", err)
}

// types are what servers call sound that may begin anywhere, so that its first bytes say nothing.
var types = map[string]string{
	"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/mpeg3": "mp3", "audio/x-mpeg": "mp3",
	"audio/aac": "aac", "audio/aacp": "aac", "audio/x-aac": "aac",
}

// demuxerOf tells what a stream is by its first bytes, then by its type.
func demuxerOf(head []byte, contentType string) (string, *Refusal) {
	text := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n"))
	media, _, _ := mime.ParseMediaType(contentType)
	switch {
	case len(head) == 0:
		return "", refuse("Địa chỉ này không có dữ liệu.", "empty body")
	case bytes.HasPrefix(text, []byte("#extm3u")), bytes.HasPrefix(text, []byte("[playlist]")), bytes.HasPrefix(text, []byte("<?xml")),
		bytes.HasPrefix(text, []byte("http://")), bytes.HasPrefix(text, []byte("https://")):
		return "", refuse("Địa chỉ này là danh sách phát (HLS, M3U, PLS) chứ không phải luồng âm thanh. Hãy dùng địa chỉ của chính luồng MP3, AAC hoặc Ogg.", "a playlist")
	}
	if demuxer := library.Demuxer(head); demuxer != "" {
		return demuxer, nil
	}
	if demuxer := types[media]; demuxer != "" && !bytes.HasPrefix(text, []byte("<")) {
		return demuxer, nil
	}
	return "", refuse("Địa chỉ này không phải luồng âm thanh MP3, AAC, Ogg, FLAC hay WAV.", "no sound: %q begins %.20q", media, head)
}

// Read implements ingest.PCM: it blocks until sound comes, through breaks of the connection. io.EOF is the end that the
// server announced; other errors wrap ErrLost.
func (s *stream) Read(pcm []float32) (int, error) {
	for {
		if s.ctx.Err() != nil {
			return 0, io.EOF
		}
		if s.feed == nil {
			if err := s.again(); err != nil {
				return 0, err
			}
			continue
		}
		if n := s.listen(pcm); n > 0 {
			return n, nil
		}
		if err := s.part(); err != nil {
			return 0, err
		}
	}
}

// listen gives samples of what is connected; 0: it has ended, or has stalled.
func (s *stream) listen(pcm []float32) int {
	stalled := time.AfterFunc(s.radio.waits.stall, s.feed.cancel)
	defer stalled.Stop()
	n, _ := io.ReadAtLeast(s.feed.child.Sound, s.raw[s.odd:min(len(s.raw), 2*len(pcm))], 2-s.odd)
	n += s.odd
	for i := range n / 2 {
		pcm[i] = float32(int16(binary.LittleEndian.Uint16(s.raw[2*i:]))) / 32768 // #nosec G115 -- two's complement
	}
	if n < 2 {
		return 0
	}
	s.odd = copy(s.raw[:], s.raw[n&^1:n])
	s.feed.body.unsounded.Store(0)
	s.sounded = time.Now()
	if time.Since(s.feed.began) > forgiven {
		s.breaks = 0
	}
	return n / 2
}

// part ends a connection that gives nothing more: nil, if it shall be tried again.
func (s *stream) part() error {
	f := s.feed
	s.feed = nil
	ended := f.child.Wait() // its output has ended, or it was killed
	f.cancel()
	_ = f.answer.Close()
	complete := f.body.whole.Load() || ended == nil || errors.Is(ended, exec.ErrWaitDelay)
	switch {
	case s.ctx.Err() != nil:
		return io.EOF
	case f.ends && complete:
		return io.EOF
	case f.ends: // to begin anew would be to repeat it
		return fmt.Errorf("%w: %s broke off (%w)", ErrLost, s.url.Hostname(), ended)
	}
	s.radio.log.Warn("radio broke off", "host", s.url.Hostname(), "ffmpeg", ended, "breaks", s.breaks+1)
	return nil
}

// again connects anew, after a while.
func (s *stream) again() error {
	pause := s.radio.waits.first << s.breaks
	s.breaks++
	if s.breaks > maxBreaks || time.Since(s.sounded) > s.radio.waits.lost {
		return fmt.Errorf("%w: %s does not come back", ErrLost, s.url.Hostname())
	}
	select {
	case <-time.After(pause):
	case <-s.ctx.Done():
		return io.EOF
	}
	if err := s.tune(s.ctx); err != nil {
		var refusal *Refusal
		if errors.As(err, &refusal) && refusal.Private {
			return fmt.Errorf("%w: %w", ErrLost, err) // the name means another place now
		}
		s.radio.log.Warn("radio does not answer", "host", s.url.Hostname(), "error", err)
	}
	return nil
}
