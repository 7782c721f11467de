package ingest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

const (
	maxOffer  = 64 << 10 // bytes; a browser's is 2 to 8 kB
	maxMedias = 4        // m-lines

	// What the browser's encoder is asked for: 64 kbit/s mono, which music survives too; in-band FEC as it likes; no
	// DTX, since silence that is not sent has to be made up. Packets of 10 ms instead of 20 double the packets and gain
	// 15 ms at best; on a busy machine, where Chromium's own jitter decides (80 to 95 ms from microphone to Read,
	// measured with Chromium 156), they gained nothing.
	wantedFmtp  = "minptime=10;useinbandfec=1;maxaveragebitrate=64000;usedtx=0;stereo=0"
	wantedPtime = "20"
)

// ErrBadOffer says that what came as an offer is no SDP (RFC 8866), or not one that offers a microphone. Errors that
// wrap it say why.
var ErrBadOffer = errors.New("bad offer")

func badOffer(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadOffer, fmt.Sprintf(format, args...))
}

// Attributes that an offer is reduced to. The candidates are left out on purpose: the streamer has an address that
// browsers can reach, learns theirs from their checks, and so never sends a packet to where only an offer points.
// Names of hosts that need mDNS go the same way. Without simulcast, header extensions and further sources there is
// less that a hostile offer can play with.
var keptAttributes = []string{
	"group", "ice-ufrag", "ice-pwd", "ice-options", "fingerprint", "setup", "mid", "rtcp-mux", "rtcp-rsize", "rtpmap",
	"fmtp", "sendrecv", "sendonly", "recvonly", "inactive", "msid", "msid-semantic", "ssrc",
}

// readOffer checks a microphone's offer and returns what is needed of it.
func readOffer(offer string) (string, error) { return readOfferTo(offer, "sendonly") }

// readListenOffer does the same for the offer of a page that listens.
func readListenOffer(offer string) (string, error) { return readOfferTo(offer, "recvonly") }

// readOfferTo reads an offer of audio in that direction, or in both.
func readOfferTo(offer, direction string) (string, error) {
	if len(offer) > maxOffer {
		return "", badOffer("%d bytes, want at most %d", len(offer), maxOffer)
	}
	if n := strings.Count("\n"+strings.ReplaceAll(offer, "\r", "\n"), "\nm="); n > maxMedias {
		return "", badOffer("%d media, want at most %d", n, maxMedias) // before the parser allocates for them
	}
	if strings.ContainsFunc(offer, func(r rune) bool { return r < ' ' && r != '\r' && r != '\n' && r != '\t' }) {
		return "", badOffer("a control character")
	}
	var d sdp.SessionDescription
	if err := d.UnmarshalString(offer); err != nil {
		return "", badOffer("%v", err)
	}
	d.Attributes = reduce(d.Attributes)
	audios := 0
	for _, m := range d.MediaDescriptions {
		m.Attributes = reduce(m.Attributes)
		switch m.MediaName.Media {
		case "audio":
			audios++
			if err := checkAudio(&d, m, direction); err != nil {
				return "", err
			}
			m.MediaName.Formats = opusTypes(m)
		case "video": // refused in the answer
		default:
			return "", badOffer("media %q, want audio", m.MediaName.Media)
		}
	}
	if audios != 1 {
		return "", badOffer("%d audio media, want one", audios)
	}
	out, err := d.Marshal()
	if err != nil {
		return "", badOffer("%v", err)
	}
	return string(out), nil
}

// reduce returns the attributes to keep, of all sources the first only.
func reduce(all []sdp.Attribute) []sdp.Attribute {
	source := ""
	return slices.DeleteFunc(all, func(a sdp.Attribute) bool {
		if a.Key == "ssrc" {
			id, _, _ := strings.Cut(a.Value, " ")
			if source == "" {
				source = id
			}
			return id != source
		}
		return !slices.Contains(keptAttributes, a.Key)
	})
}

// checkAudio checks that m is Opus in a direction, over a connection that WebRTC allows.
func checkAudio(d *sdp.SessionDescription, m *sdp.MediaDescription, direction string) error {
	has := func(key string) bool {
		_, inMedia := m.Attribute(key)
		_, inSession := d.Attribute(key)
		return inMedia || inSession
	}
	switch port := m.MediaName.Port.Value; {
	case port < 1 || port > 65535:
		return badOffer("port %d of the audio media", port)
	case d.ConnectionInformation == nil && m.ConnectionInformation == nil:
		return badOffer("no connection data (c=)")
	case !slices.Contains(m.MediaName.Protos, "SAVPF"):
		return badOffer("transport %q, want UDP/TLS/RTP/SAVPF", strings.Join(m.MediaName.Protos, "/"))
	case !goes(d, m, direction):
		return badOffer("the audio media goes in no such direction, want %s or sendrecv", direction)
	case len(opusTypes(m)) == 0:
		return badOffer("no Opus among the audio formats")
	}
	for _, key := range []string{"ice-ufrag", "ice-pwd", "fingerprint"} {
		if !has(key) {
			return badOffer("no %s", key)
		}
	}
	return nil
}

// goes reports whether a media goes in a direction, sendonly or recvonly, or in both, the default (RFC 8866 §6.7).
func goes(d *sdp.SessionDescription, m *sdp.MediaDescription, direction string) bool {
	for _, attributes := range [][]sdp.Attribute{m.Attributes, d.Attributes} {
		for _, a := range attributes {
			switch a.Key {
			case "sendrecv", direction:
				return true
			case "sendonly", "recvonly", "inactive":
				return false
			}
		}
	}
	return true
}

// opusTypes returns the payload types of m that are Opus (RFC 7587 §7).
func opusTypes(m *sdp.MediaDescription) []string {
	var types []string
	for _, a := range m.Attributes {
		if a.Key != "rtpmap" {
			continue
		}
		number, encoding, _ := strings.Cut(a.Value, " ")
		if strings.EqualFold(encoding, webrtc.MimeTypeOpus[len("audio/"):]+"/48000/2") && slices.Contains(m.MediaName.Formats, number) {
			types = append(types, number)
		}
	}
	return types
}

// finishAnswer asks the browser for the encoding that suits us, which pion gives no say in, and adds the addresses
// under which the port is reached from outside.
func finishAnswer(answer string, public []string, port uint16) (string, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(answer); err != nil {
		return "", fmt.Errorf("read own answer: %w", err)
	}
	for _, m := range d.MediaDescriptions {
		if m.MediaName.Media != "audio" {
			continue
		}
		for _, number := range opusTypes(m) {
			m.Attributes = slices.DeleteFunc(m.Attributes, func(a sdp.Attribute) bool {
				return a.Key == "fmtp" && strings.HasPrefix(a.Value, number+" ")
			})
			m.WithValueAttribute("fmtp", number+" "+wantedFmtp)
		}
		m.WithValueAttribute("ptime", wantedPtime)
		for i, ip := range public {
			// Priority (RFC 8445 §5.1.2.1) of a host candidate below the machine's own: inside, the direct way is tried first.
			priority := 126<<24 | (1000-i)<<8 | 255
			// TCP is below all UDP, and passive: browsers connect to it (RFC 6544 §4.2, with pion's offset of 27).
			priorityTCP := (126-27)<<24 | (4<<13|(1000-i))<<8 | 255
			m.Attributes = slices.Insert(m.Attributes, candidatesEnd(m), sdp.NewAttribute("candidate",
				fmt.Sprintf("public%d 1 udp %d %s %d typ host", i, priority, ip, port)), sdp.NewAttribute("candidate",
				fmt.Sprintf("publictcp%d 1 tcp %d %s %d typ host tcptype passive", i, priorityTCP, ip, port)))
		}
	}
	out, err := d.Marshal()
	if err != nil {
		return "", fmt.Errorf("write answer: %w", err)
	}
	return string(out), nil
}

// candidatesEnd is where another candidate belongs: before the mark that no more come.
func candidatesEnd(m *sdp.MediaDescription) int {
	if i := slices.IndexFunc(m.Attributes, func(a sdp.Attribute) bool { return a.Key == "end-of-candidates" }); i >= 0 {
		return i
	}
	return len(m.Attributes)
}
