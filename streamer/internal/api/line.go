package api

import (
	"net/http"
	"net/netip"

	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/store"
)

// The widest networks that may send in plain RTP: a province's own (RFC 1918), a site's allocation in IPv6.
const (
	widest4 = 8
	widest6 = 32
)

// lineOptions reads who may send to a line-in. Plain RTP can be forged by whoever is in the network that is named, so that
// naming no real network is refused; with srtp only who was given the key can send.
func lineOptions(s sourceRequest) (ingest.LineOptions, error) {
	o := ingest.LineOptions{SRTP: s.SRTP}
	if s.From == "" {
		return o, nil
	}
	var err error
	if o.From, err = netip.ParsePrefix(s.From); err != nil {
		var ip netip.Addr
		if ip, err = netip.ParseAddr(s.From); err == nil {
			o.From = netip.PrefixFrom(ip, ip.BitLen())
		}
	}
	if ip := o.From.Addr(); err != nil || ip.Is4In6() || ip.Zone() != "" || ip.IsMulticast() || ip.IsUnspecified() && o.From.Bits() > 0 {
		return o, problemf(http.StatusUnprocessableEntity, "from", "Địa chỉ máy gửi (from) phải là một địa chỉ IP hoặc một dải như 192.168.1.0/24.")
	}
	if widest := map[bool]int{true: widest4, false: widest6}[o.From.Addr().Is4()]; !o.SRTP && o.From.Bits() < widest {
		return o, problemf(http.StatusUnprocessableEntity, "plain_rtp",
			"RTP không mã hóa từ dải địa chỉ rộng như vậy thì ai cũng có thể chen vào phát. Hãy dùng \"srtp\": true, hoặc ghi đúng mạng của máy gửi (dải từ /%d trở lên).", widest)
	}
	return o, nil
}

// tellLine adds where a line-in listens, and for those who may speak there how to send to it: its SDP may hold a key.
func tellLine(p accounts.Principal, s session.Session, to *sourceRequest) {
	if s.Line == nil {
		return
	}
	to.Listen = s.Line.Listen().String()
	if class, ok := session.ParseClass(s.Class); ok && maySpeak(p, class, s.Zones) {
		to.SDP = s.Line.SDP()
	}
}

// sourceOf is the source of a session as its record tells it.
func sourceOf(x store.Session) sourceRequest {
	if x.SourceKind == session.SourceURL {
		return sourceRequest{Kind: x.SourceKind, URL: x.Source}
	}
	return sourceRequest{Kind: x.SourceKind, Audio: x.Source}
}
