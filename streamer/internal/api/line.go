package api

import (
	"net/http"
	"net/netip"

	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/store"
)

// lineOptions reads who may send to a line-in. Sound from beyond this machine that anybody on the way could forge has to
// be meant: it takes the address of one machine, or plain, which says so; with srtp only who was given the key can send.
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
	if !o.Local() && !o.SRTP && !s.Plain && !o.From.IsSingleIP() {
		return o, problemf(http.StatusUnprocessableEntity, "plain_rtp",
			"RTP không mã hóa từ cả một dải địa chỉ thì máy nào trong dải cũng có thể phát. Hãy dùng \"srtp\": true, ghi đúng địa chỉ một máy gửi, hoặc ghi \"plain\": true nếu chấp nhận.")
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
