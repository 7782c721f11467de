package ingest

import (
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/testkit"
)

// What ffmpeg and GStreamer send by the commands of docs/sources.md arrives whole, in plain RTP and in SRTP, mono and
// stereo. The line is read in real time, as a session reads it.
func TestLineOfRealPeers(t *testing.T) {
	const (
		ffmpegTone = "-re -f lavfi -i sine=frequency=1000:duration=2:sample_rate=48000"
		gstTone    = "audiotestsrc is-live=true freq=1000 num-buffers=100 samplesperbuffer=960"
	)
	for _, c := range []struct {
		name, recipe, program, input string
		srtp                         bool
		end                          LineReason
	}{
		{"ffmpeg", "ffmpeg-rtp", "ffmpeg", ffmpegTone, false, LineGoodbye},
		{"ffmpeg in stereo", "ffmpeg-rtp", "ffmpeg", ffmpegTone + " -ac 2", false, LineGoodbye},
		{"ffmpeg by SRTP", "ffmpeg-srtp", "ffmpeg", ffmpegTone, true, LineGoodbye},
		{"GStreamer", "gstreamer-rtp", "gst-launch-1.0", gstTone, false, LineSilent},
		{"GStreamer by SRTP", "gstreamer-srtp", "gst-launch-1.0", gstTone, true, LineSilent},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lines, err := NewLines(LineConfig{}, quiet(), prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			defer lines.Close()
			lines.silence = 2 * time.Second
			line, err := lines.Open(LineOptions{SRTP: c.srtp})
			if err != nil {
				t.Fatal(err)
			}
			_, key, _ := strings.Cut(line.SDP(), "inline:")
			cmd := testkit.Recipe(t, c.recipe, c.program, "INPUT="+c.input, "KEY="+strings.TrimSpace(key),
				"HOST="+line.Listen().Addr().String(), "PORT="+itoa(line.Listen().Port()))
			heard := hear(t, line, cmd)
			if line.Reason() != c.end {
				t.Errorf("it ended because %q, want %q", line.Reason(), c.end)
			}
			checkHeard(t, line, heard)
		})
	}
}

// hear runs a sender to its end and returns what the line gives meanwhile.
func hear(t *testing.T, line *Line, sender *exec.Cmd) []float32 {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		out, err := sender.CombinedOutput()
		if len(out) > 0 {
			t.Logf("it says: %s", out)
		}
		ended <- err
	}()
	await(t, line.Started(), "the first sound")
	var pcm []float32
	frame := make([]float32, frameSamples)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for err := error(nil); err == nil; <-tick.C {
		if err = line.Read(frame); err == nil {
			pcm = append(pcm, frame...)
		} else if err != io.EOF && line.Reason() != LineSilent {
			t.Errorf("Read: %v", err)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("the sender: %v", err)
	}
	return pcm
}

// checkHeard wants two seconds of tone, all of it. A machine that is busy with other tests lets the sender pause, which is
// a gap and takes nothing away.
func checkHeard(t *testing.T, line *Line, pcm []float32) {
	t.Helper()
	const pauses = 50 // frames
	first, last, pure := -1, 0, 0
	for i := 0; i+frameSamples <= len(pcm); i += frameSamples {
		if piece := pcm[i : i+frameSamples]; purity(piece, toneHz) > 0.95 && loudness(piece) > 1e-4 {
			pure, last = pure+1, i
			if first < 0 {
				first = i
			}
		}
	}
	span := (last-first)/frameSamples + 1
	t.Logf("%d frames, of which %d from the first to the last of the tone, %d whole: %+v", len(pcm)/frameSamples, span, pure, line.Stats())
	if pure < 93 || span > 101+pauses || line.Stats().Cut > 0 {
		t.Errorf("%d frames of tone within %d, want about 100: %+v", pure, span, line.Stats())
	}
}
