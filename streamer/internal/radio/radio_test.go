package radio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dongthanh/internal/testkit"
	"dongthanh/streamer/internal/ingest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const frame = 960

// here is a Radio that may fetch from loopback, and is impatient.
func here(change ...func(*Radio)) *Radio {
	r := New(Config{Allow: []string{"127.0.0.1/32"}}, slog.New(slog.DiscardHandler))
	r.waits = waits{open: 10 * time.Second, stall: 3 * time.Second, lost: 10 * time.Second, first: 20 * time.Millisecond}
	for _, c := range change {
		c(r)
	}
	return r
}

// encode returns seconds of a tone of 1 kHz in a format of ffmpeg's.
func encode(t *testing.T, seconds int, args ...string) []byte {
	t.Helper()
	testkit.Program(t, "ffmpeg")
	args = append([]string{"-v", "error", "-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=1000:duration=%d:sample_rate=48000", seconds)}, args...)
	b, err := exec.CommandContext(t.Context(), "ffmpeg", append(args, "pipe:1")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// serve answers with handler on loopback and returns the address.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL
}

// all reads a source, as fast as it comes, to its end.
func all(t *testing.T, src ingest.Source) (tone, frames int, err error) {
	t.Helper()
	file := src.(*source).File
	pcm := make([]float32, frame)
	tick := time.NewTicker(2 * time.Millisecond) // ten times real time
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		waited := file.Waits()
		if err = src.Read(pcm); err != nil {
			return tone, frames, err
		}
		if file.Waits() == waited {
			frames++
			if isTone(pcm) {
				tone++
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no end after %d frames", frames)
		}
	}
}

// isTone reports whether nearly all power of a frame is at 1 kHz.
func isTone(pcm []float32) bool {
	w := 2 * math.Pi * 1000 / 48000
	var s1, s2, sum float64
	for _, x := range pcm {
		s1, s2 = float64(x)+2*math.Cos(w)*s1-s2, s1
		sum += float64(x) * float64(x)
	}
	return sum > 1 && 2*(s1*s1+s2*s2-2*math.Cos(w)*s1*s2) > 0.9*sum*frame
}

// A file of each format sounds from its beginning to its end, which is the end of the source.
func TestFile(t *testing.T) {
	for name, args := range map[string][]string{
		"mp3": {"-f", "mp3"}, "aac": {"-f", "adts"}, "opus": {"-c:a", "libopus", "-f", "ogg"},
		"flac": {"-f", "flac"}, "wav": {"-f", "wav"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := encode(t, 3, args...)
			at := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/" {
					http.Redirect(w, r, "/sound", http.StatusFound)
					return
				}
				_, _ = w.Write(b)
			})
			src, err := here().Open(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			select {
			case <-src.Started():
			case <-time.After(10 * time.Second):
				t.Fatal("it does not begin")
			}
			tone, frames, err := all(t, src)
			if tone < 145 || frames > 156 || err != io.EOF {
				t.Errorf("%d frames of tone in %d, then %v; want 150, then EOF", tone, frames, err)
			}
		})
	}
}

// Radio begins within a frame, has no end, breaks off, stalls and comes back; then it is gone for good.
func TestLive(t *testing.T) {
	b := encode(t, 4, "-f", "mp3", "-b:a", "128k")
	var calls atomic.Int32
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		call := calls.Add(1)
		protocol := map[bool]string{true: "ICY", false: "HTTP/1.0"}[call == 2]
		_, _ = buf.WriteString(protocol + " 200 OK\r\nContent-Type: audio/mpeg\r\nicy-br: 128\r\n\r\n")
		switch call {
		case 1: // breaks off
			_, _ = buf.Write(b[777 : len(b)/2])
			_ = buf.Flush()
		case 2: // is of the old kind, and stalls
			_, _ = buf.Write(b[len(b)/2:])
			_ = buf.Flush()
			_, _ = conn.Read(make([]byte, 1)) // until the other side hangs up
		}
	})
	src, err := here().Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	tone, frames, err := all(t, src)
	if !errors.Is(err, ErrLost) {
		t.Errorf("in the end: %v, want ErrLost", err)
	}
	if tone < 185 || frames > 210 {
		t.Errorf("%d frames of tone in %d, want nearly 200", tone, frames)
	}
	if n := calls.Load(); n < 3 || n > maxBreaks+1 {
		t.Errorf("%d connections, want some and not many", n)
	}
}

// Close ends a stream that sounds, and one that hangs; TestMain sees whether a goroutine stays.
func TestClose(t *testing.T) {
	b := encode(t, 2, "-f", "mp3")
	for _, hang := range []bool{false, true} {
		at := serve(t, func(w http.ResponseWriter, r *http.Request) {
			for w.Header().Set("Content-Type", "audio/mpeg"); r.Context().Err() == nil; {
				if _, err := w.Write(b); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				if hang {
					<-r.Context().Done()
				}
			}
		})
		r := here()
		src, err := r.Open(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		<-src.Started()
		for range 2 {
			if err := src.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := src.Read(make([]float32, frame)); err != io.EOF || r.open != 0 {
			t.Errorf("Read = %v after Close, %d open", err, r.open)
		}
	}
}

// What a stranger's address may do wrong is refused with a sentence, in time, and nothing stays behind.
func TestRefuses(t *testing.T) {
	testkit.Program(t, "ffmpeg")
	pages := map[string]http.HandlerFunc{
		"/page":     text("text/html", "<!DOCTYPE html><html><body>Đài phát thanh</body></html>"),
		"/lies":     text("audio/mpeg", "<html>không phải âm thanh, mà là một trang web nói dối về kiểu của mình</html>"),
		"/hls":      text("application/vnd.apple.mpegurl", "#EXTM3U\n#EXT-X-VERSION:3\nhttp://169.254.169.254/latest.ts\n"),
		"/pls":      text("audio/x-scpls", "[playlist]\nNumberOfEntries=1\nFile1=http://127.0.0.1/\n"),
		"/m3u":      text("audio/x-mpegurl", "http://10.0.0.1/stream.mp3\n"),
		"/concat":   text("audio/mpeg", "ffconcat version 1.0\nfile /etc/passwd\n"),
		"/picture":  text("image/png", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06"),
		"/empty":    text("audio/mpeg", ""),
		"/none":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"/private":  redirect("http://127.0.0.2:80/"),
		"/metadata": redirect("http://169.254.169.254/latest/meta-data/"),
		"/file":     redirect("file:///etc/passwd"),
		"/password": redirect("http://admin:admin@127.0.0.1/"),
		"/round":    redirect("/round"),
		"/slow":     func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"/loris": func(w http.ResponseWriter, r *http.Request) { // headers, then a byte now and then
			w.Header().Set("Content-Type", "audio/mpeg")
			for tick := time.NewTicker(100 * time.Millisecond); r.Context().Err() == nil; <-tick.C {
				_, _ = w.Write([]byte{0xff})
				_ = http.NewResponseController(w).Flush()
			}
		},
		"/headers": func(w http.ResponseWriter, _ *http.Request) {
			for i := range 3000 {
				w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 100))
			}
		},
	}
	at := serve(t, func(w http.ResponseWriter, r *http.Request) { pages[r.URL.Path](w, r) })
	for _, c := range []struct {
		address string
		private bool
		say     string
	}{
		{"/page", false, "không phải luồng âm thanh"}, {"/lies", false, "không phải luồng âm thanh"},
		{"/hls", false, "danh sách phát"}, {"/pls", false, "danh sách phát"}, {"/m3u", false, "danh sách phát"},
		{"/picture", false, "không phải luồng"}, {"/empty", false, "không có dữ liệu"}, {"/none", false, "404"},
		{"/private", true, "mạng nội bộ"}, {"/metadata", true, "mạng nội bộ"}, {"/file", false, "http://"},
		{"/password", false, "mật khẩu"}, {"/round", false, "chuyển hướng"}, {"/slow", false, "quá chậm"},
		{"/loris", false, "quá chậm"}, {"/headers", false, "Không kết nối"},
		{"ftp://127.0.0.1/x", false, "http://"}, {"file:///etc/passwd", false, "http://"}, {"http://", false, "http://"},
		{"http:127.0.0.1", false, "http://"}, {"", false, "http://"}, {"http://[::1", false, "không hợp lệ"},
		{"http://u:p@127.0.0.1/", false, "mật khẩu"}, {"http://127.0.0.1/" + strings.Repeat("x", maxURL), false, "không hợp lệ"},
		{"http://127.0.0.2/", true, "mạng nội bộ"}, {"http://[::1]:9089/", true, "mạng nội bộ"},
		{"http://0.0.0.0/", true, "mạng nội bộ"}, {"http://[::ffff:10.0.0.1]/", true, "mạng nội bộ"},
		{"http://[64:ff9b::a9fe:a9fe]/", true, "mạng nội bộ"}, {"http://rebinds.example/", true, "mạng nội bộ"},
		{"http://half.example/", true, "mạng nội bộ"}, {"http://unknown.example/", false, "Không tìm thấy"},
	} {
		t.Run(c.address[:min(len(c.address), 40)], func(t *testing.T) {
			t.Parallel()
			r := here(func(r *Radio) { r.waits.open = time.Second; r.lookup = names(nil) })
			address := c.address
			if strings.HasPrefix(address, "/") {
				address = at + address
			}
			src, err := r.Open(t.Context(), address)
			var refusal *Refusal
			if !errors.As(err, &refusal) {
				if err == nil {
					_ = src.Close()
				}
				t.Fatalf("Open = %v, want a Refusal", err)
			}
			if refusal.Private != c.private || !strings.Contains(refusal.Message(), c.say) {
				t.Errorf("refused with %q (private: %v, %v), want %q in it", refusal.Message(), refusal.Private, err, c.say)
			}
			if r.open != 0 {
				t.Errorf("%d count as open", r.open)
			}
		})
	}
}

func text(kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, body)
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}
}

// names is a name server; turns is what "turns.example" is at each look.
func names(turns func() string) func(context.Context, string, string) ([]netip.Addr, error) {
	return func(_ context.Context, _, host string) ([]netip.Addr, error) {
		known := map[string][]string{
			"rebinds.example": {"192.168.1.1"}, "half.example": {"127.0.0.1", "10.0.0.1"},
		}
		list := known[host]
		if host == "turns.example" {
			list = []string{turns()}
		}
		if list == nil {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		var out []netip.Addr
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out, nil
	}
}

// A name that means another place at the second look leads nowhere, neither within a connection nor at the next one.
func TestRebinding(t *testing.T) {
	b := encode(t, 1, "-f", "mp3")
	var served atomic.Int32
	at := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		w.Header().Set("Content-Type", "audio/mpeg")
		w.Header().Set("Connection", "close")
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = buf.WriteString("HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n")
		_, _ = buf.Write(b)
		_ = buf.Flush()
	})
	var looks atomic.Int32
	r := here(func(r *Radio) {
		r.lookup = names(func() string {
			if looks.Add(1) == 1 {
				return "127.0.0.1" // permitted here
			}
			return "127.0.0.7" // not
		})
	})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(at, "http://"))
	src, err := r.Open(t.Context(), "http://turns.example:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if tone, _, err := all(t, src); !errors.Is(err, ErrLost) || tone < 45 {
		t.Errorf("%d frames of tone, then %v; want 50, then ErrLost", tone, err)
	}
	if served.Load() != 1 || looks.Load() != 2 {
		t.Errorf("%d connections after %d looks, want 1 after 2", served.Load(), looks.Load())
	}
	if err := r.control("tcp", "127.0.0.7:80", nil); err == nil {
		t.Error("a socket may connect to what was not permitted")
	}
}

// An endless stream that only claims to be sound is given up before it has cost much.
func TestEndlessNothing(t *testing.T) {
	testkit.Program(t, "ffmpeg")
	var sent atomic.Int64
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "audio/mpeg")
		for zeros := make([]byte, 64<<10); r.Context().Err() == nil; {
			n, err := w.Write(zeros)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	src, err := here().Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	select {
	case <-src.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on and on")
	}
	err = src.Read(make([]float32, frame))
	for n := 0; err == nil && n < 1000; n++ { // what it still holds can be read
		err = src.Read(make([]float32, frame))
	}
	if !errors.Is(err, ErrLost) {
		t.Errorf("Read = %v, want ErrLost", err)
	}
	if n := sent.Load(); n > maxUnsounded+32<<20 {
		t.Errorf("it took %d MB", n>>20)
	}
}

func TestPublic(t *testing.T) {
	for want, list := range map[bool][]string{
		true: {"1.1.1.1", "203.162.0.11", "8.8.8.8", "2001:4860:4860::8888", "2405:4800::1", "::ffff:8.8.8.8", "64:ff9b::808:808"},
		false: {
			"0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1",
			"172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.0.1", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
			"255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:192.168.1.1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
			"64:ff9b:1::808:808", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001::1", "2001:db8::1",
			"2002:7f00:1::", "100::1", "2606:4700::1%eth0",
		},
	} {
		for _, s := range list {
			if got := public(netip.MustParseAddr(s)); got != want {
				t.Errorf("public(%s) = %v", s, got)
			}
		}
	}
}

func TestNeedsFFmpeg(t *testing.T) {
	r := here(func(r *Radio) { r.ffmpeg = "no-such-program" })
	var refusal *Refusal
	if _, err := r.Open(t.Context(), "http://127.0.0.1/"); !errors.As(err, &refusal) || !strings.Contains(refusal.Message(), "ffmpeg") {
		t.Errorf("Open = %v", err)
	}
}

func TestConfig(t *testing.T) {
	if f := (Config{Allow: []string{"10.0.0.0/8", "nhà"}}).Validate(); len(f) != 1 || !strings.Contains(f[0].String(), "allow.1") {
		t.Errorf("Validate = %v", f)
	}
}
