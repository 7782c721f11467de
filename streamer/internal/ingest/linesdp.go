package ingest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"

	"github.com/pion/srtp/v3"
)

const (
	// The one suite that ffmpeg, GStreamer and hardware all speak (RFC 4568 §6.2): of RFC 7714's, ffmpeg has none.
	srtpSuite   = "AES_CM_128_HMAC_SHA1_80"
	srtpProfile = srtp.ProtectionProfileAes128CmHmacSha1_80
	keyBytes    = 16
	saltBytes   = 14

	// replayWindow is in packets: more than a network disorders.
	replayWindow = 64
	// lineType is the payload type that the SDP names; a sender may use another dynamic one.
	lineType = 111
)

// newKeys draws a master key and salt, in that order as SDP has them, and what decrypts with them.
func newKeys() (secret []byte, keys *srtp.Context, err error) {
	secret = make([]byte, keyBytes+saltBytes)
	_, _ = rand.Read(secret) // never fails
	keys, err = srtp.CreateContext(secret[:keyBytes], secret[keyBytes:], srtpProfile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	if err != nil {
		return nil, nil, fmt.Errorf("make SRTP keys: %w", err)
	}
	return secret, keys, nil
}

// describe is a line-in as SDP (RFC 8866): what is received, and where. With a secret it is SRTP (RFC 4568).
func describe(at netip.AddrPort, secret []byte) string {
	family, profile := "IP4", "AVP"
	if at.Addr().Is6() {
		family = "IP6"
	}
	if secret != nil {
		profile = "SAVP"
	}
	lines := []string{
		"v=0",
		fmt.Sprintf("o=- %d 1 IN %s %s", at.Port(), family, at.Addr()),
		"s=Dong Thanh line-in",
		fmt.Sprintf("c=IN %s %s", family, at.Addr()),
		"t=0 0",
		fmt.Sprintf("m=audio %d RTP/%s %d", at.Port(), profile, lineType),
		fmt.Sprintf("a=rtpmap:%d opus/48000/2", lineType),
		fmt.Sprintf("a=fmtp:%d useinbandfec=1;stereo=0", lineType),
		"a=ptime:20",
		"a=recvonly",
		"a=rtcp-mux",
	}
	if secret != nil {
		lines = append(lines, fmt.Sprintf("a=crypto:1 %s inline:%s", srtpSuite, base64.StdEncoding.EncodeToString(secret)))
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}
