package testkit

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dongthanh/codec"
	"dongthanh/internal/packet"
	"dongthanh/internal/seal"
	"dongthanh/internal/seq"
)

// need skips a test on a desk without a program, and fails it where everything must run.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		absent(t, program+" is not installed")
	}
	return path
}

func absent(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what + ": make test installs it")
	}
	t.Skip(what)
}

// TestStockLibsrtpOpens has stock libsrtp open 2000 packets of ours, across the wrap of the sequence number. It knows
// nothing of the signature and ignores the extension.
func TestStockLibsrtpOpens(t *testing.T) {
	gcc := need(t, "gcc")
	bin := filepath.Join(t.TempDir(), "open")
	if out, err := exec.Command(gcc, "-o", bin, filepath.Join("testdata", "open.c"), "-lsrtp2").CombinedOutput(); err != nil {
		absent(t, fmt.Sprintf("libsrtp2 is not installed (%v: %s)", err, out))
	}
	master, err := seal.Master(zoneSecret, transmission, vectorSSRC, vectorFence)
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.Derive(zoneSecret, transmission, vectorSSRC, vectorFence)
	if err != nil {
		t.Fatal(err)
	}
	mki := packet.MakeMKI(2, 3)
	var in, want strings.Builder
	for i := seq.Index(64_500); i < 66_500; i++ {
		payload := fmt.Appendf(nil, "payload %d", i)
		fmt.Fprintf(&in, "%x\n", sealed(key, mki, i, payload))
		fmt.Fprintf(&want, "%x\n", payload)
	}
	cmd := exec.Command(bin, hex.EncodeToString(master), fmt.Sprintf("%08x", uint32(mki)))
	cmd.Stdin = strings.NewReader(in.String())
	got, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want.String() {
		t.Errorf("libsrtp reads %.300s", got)
	}
}

func sealed(key *seal.Key, mki packet.MKI, i seq.Index, payload []byte) []byte {
	b := make([]byte, packet.HeaderLen, packet.MaxLen)
	packet.Header{Index: i, Timestamp: vectorCertTimestamp(i), SSRC: vectorSSRC}.Put(b)
	ciphertext := make([]byte, len(payload))
	key.Encrypt(ciphertext, payload, vectorSSRC, i)
	packet.Sign(transmissionKey, transmission, mki, b, ciphertext)
	b = key.Seal(b, b, payload, vectorSSRC, i)
	return binary.BigEndian.AppendUint32(b, uint32(mki))
}

// TestStockFFmpegPlays has stock ffmpeg play two seconds of the clear profile from a plain SDP.
func TestStockFFmpegPlays(t *testing.T) {
	ffmpeg := need(t, "ffmpeg")
	dir := t.TempDir()
	sink, err := net.ListenPacket("udp", "127.0.0.1:0") // a free even port, as RTP wants
	if err != nil {
		t.Fatal(err)
	}
	port := sink.LocalAddr().(*net.UDPAddr).Port &^ 1
	sink.Close()
	sdp := filepath.Join(dir, "clear.sdp")
	text := fmt.Sprintf("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=clear\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio %d RTP/AVP 111\na=rtpmap:111 opus/48000/2\n", port)
	if err := os.WriteFile(sdp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	wav := filepath.Join(dir, "out.wav")
	cmd := exec.Command(ffmpeg, "-hide_banner", "-loglevel", "error", "-protocol_whitelist", "file,udp,rtp", "-i", sdp, "-t", "2", "-ac", "1", "-y", wav)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sendTone(t, conn, done)
	f, err := os.Open(wav)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pcm, err := codec.ReadWAV(f)
	if err != nil {
		t.Fatal(err)
	}
	if len(pcm) < 19*codec.SampleRate/10 {
		t.Fatalf("ffmpeg played %d samples of two seconds", len(pcm))
	}
	if crossings := upwardCrossings(pcm[codec.SampleRate/2:][:codec.SampleRate]); crossings < 995 || crossings > 1005 {
		t.Errorf("a second of the 1 kHz tone crosses zero upwards %d times", crossings)
	}
}

// sendTone sends clear packets of a 1 kHz tone at their pace until ffmpeg has enough.
func sendTone(t *testing.T, conn net.Conn, done <-chan error) {
	t.Helper()
	enc, err := codec.NewEncoder(codec.EncoderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	pcm, opus := make([]float32, enc.PacketSamples()), make([]byte, enc.MaxPacketBytes())
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for i := seq.Index(65_500); ; i++ {
		for k := range pcm {
			n := float64(int(i)*len(pcm) + k)
			pcm[k] = float32(0.5 * math.Sin(2*math.Pi*1000*n/codec.SampleRate))
		}
		n, err := enc.Encode(pcm, opus)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, packet.HeaderLen, packet.MaxLen)
		packet.Header{Index: i, Timestamp: vectorCertTimestamp(i), SSRC: vectorSSRC, Clear: true}.Put(b)
		packet.Sign(transmissionKey, transmission, 0, b, opus[:n])
		_, _ = conn.Write(append(b, opus[:n]...)) // refused while ffmpeg does not listen yet
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("ffmpeg: %v", err)
			}
			return
		case <-limit:
			t.Fatal("ffmpeg has not played two seconds within 20 s")
		case <-tick.C:
		}
	}
}

func upwardCrossings(pcm []float32) (n int) {
	for i := 1; i < len(pcm); i++ {
		if pcm[i-1] < 0 && pcm[i] >= 0 {
			n++
		}
	}
	return n
}
