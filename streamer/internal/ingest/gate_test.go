package ingest

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"

	"dongthanh/codec"
)

// FuzzGate gives a line-in whatever datagrams there are, before and after it has its sender. Whatever comes, the sender
// stays who he was, and what passes is Opus, or padding, of his.
func FuzzGate(f *testing.F) {
	packet := func(h rtp.Header, payload ...byte) []byte {
		b, err := (&rtp.Packet{Header: h, Payload: payload}).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	h := rtp.Header{Version: 2, PayloadType: 111, SSRC: 7, SequenceNumber: 1, Timestamp: 960}
	good := packet(h, 0xf8, 0xff, 0xfe)
	f.Add(good, good, false)
	f.Add(bye(7), good, false)
	f.Add(good, bye(7), true)
	f.Add(append([]byte{0xb0}, good[1:]...), append([]byte{0x9f}, good[1:]...), false)
	h.Extension, h.ExtensionProfile = true, 0xbede
	if err := h.SetExtension(1, []byte{1}); err != nil {
		f.Fatal(err)
	}
	f.Add(packet(h, 0xff, 0x3f, 0), packet(h), true)
	sender := netip.MustParseAddrPort("127.0.0.1:5004")
	f.Fuzz(func(t *testing.T, a, b []byte, encrypted bool) {
		g := gate{from: LineOptions{}.networks()}
		if encrypted {
			var err error
			if _, g.keys, err = newKeys(); err != nil {
				t.Fatal(err)
			}
		}
		give := func(from netip.AddrPort, b []byte) verdict {
			known, source, ssrc, typ := g.latched, g.source, g.ssrc, g.typ
			v := g.take(from, b)
			switch {
			case v >= verdicts || v.String() == "":
				t.Fatalf("verdict %d", v)
			case known && (!g.latched || g.ssrc != ssrc || g.typ != typ || g.source != source):
				t.Fatalf("the sender changed by %x", b)
			case v == sound && (g.packet.SSRC != g.ssrc || from != g.source || g.typ < firstDynamic || g.typ > lastDynamic):
				t.Fatalf("%x passed", b)
			}
			if _, err := codec.PacketSamples(g.packet.Payload); v == sound && err != nil && (!known || len(g.packet.Payload) > 0) {
				t.Fatalf("%x passed as Opus: %v", b, err)
			}
			return v
		}
		before := string(a)
		give(sender, a)
		give(netip.MustParseAddrPort("127.0.0.2:5004"), b)
		give(sender, b)
		give(netip.MustParseAddrPort("127.0.0.1:5005"), b)
		if string(a) != before {
			t.Error("what was given was changed")
		}
		if encrypted && g.latched {
			t.Error("somebody without the key became the sender")
		}
		if v := give(netip.MustParseAddrPort("10.0.0.1:1"), good); v != stranger && v != second {
			t.Errorf("a stranger's packet is %v", v)
		}
	})
}

// The SDP of a line-in is what other programs read.
func TestLineSDP(t *testing.T) {
	for _, at := range []string{"127.0.0.1:5004", "[2001:db8::7]:65535"} {
		for _, secret := range [][]byte{nil, make([]byte, keyBytes+saltBytes)} {
			var d sdp.SessionDescription
			text := describe(netip.MustParseAddrPort(at), secret)
			if err := d.UnmarshalString(text); err != nil || len(d.MediaDescriptions) != 1 {
				t.Fatalf("%v in\n%s", err, text)
			}
			m := d.MediaDescriptions[0]
			host := d.ConnectionInformation.Address.Address
			if got := netip.AddrPortFrom(netip.MustParseAddr(host), uint16(m.MediaName.Port.Value)).String(); got != at { // #nosec G115 -- a port
				t.Errorf("it leads to %s, want %s", got, at)
			}
			if rtpmap, _ := m.Attribute("rtpmap"); rtpmap != "111 opus/48000/2" { // RFC 7587 §7, for mono as well
				t.Errorf("rtpmap %q", rtpmap)
			}
			crypto, encrypted := m.Attribute("crypto")
			if encrypted != (secret != nil) || encrypted != (strings.Join(m.MediaName.Protos, "/") == "RTP/SAVP") {
				t.Errorf("encrypted: %v in\n%s", encrypted, text)
			}
			if want := "1 AES_CM_128_HMAC_SHA1_80 inline:" + base64.StdEncoding.EncodeToString(secret); encrypted && crypto != want {
				t.Errorf("crypto %q, want %q", crypto, want)
			}
		}
	}
}
