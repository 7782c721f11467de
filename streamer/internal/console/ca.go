package console

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"dongthanh/streamer/internal/webcert"
)

// caSystem is how to install the authority's certificate on one kind of system.
type caSystem struct {
	Key   string   // "ca." + Key is its name
	Steps []string // keys of texts
	Open  bool     // the visitor's own
	File  string   // what to download
}

// caBody is what the page that helps to install the authority's certificate shows.
type caBody struct {
	Needed       bool   // there is an authority to install
	Secure       bool   // the page came over https
	Public       string // a name for which nothing need be installed; may be empty
	Home         string // the console over https
	Probe        string // an address that only a browser which trusts us can fetch
	Name         string // of the certificate, as lists show it
	SHA256, SHA1 []string
	Systems      []caSystem
}

const (
	certificateFile = "dong-thanh.crt"
	profileFile     = "dong-thanh.mobileconfig"
	probeFile       = "probe"
)

// caSystems are in the order in which officials have them. Windows shows the certificate's SHA-1 before it installs.
func caSystems(agent string) []caSystem {
	list := []caSystem{
		{Key: "windows", Steps: []string{"ca.windows_1", "ca.windows_2", "ca.windows_3", "ca.windows_4", "ca.again"}, File: certificateFile},
		{Key: "android", Steps: []string{"ca.android_1", "ca.android_2", "ca.android_3", "ca.again"}, File: certificateFile},
		{Key: "iphone", Steps: []string{"ca.iphone_1", "ca.iphone_2", "ca.iphone_3", "ca.again"}, File: profileFile},
		{Key: "firefox", Steps: []string{"ca.firefox_1", "ca.firefox_2", "ca.firefox_3", "ca.again"}, File: certificateFile},
		{Key: "mac", Steps: []string{"ca.mac_1", "ca.mac_2", "ca.mac_3", "ca.again"}, File: certificateFile},
		{Key: "linux", Steps: []string{"ca.linux_1", "ca.linux_2", "ca.linux_3", "ca.again"}, File: certificateFile},
	}
	own := systemOf(agent)
	for i := range list {
		list[i].Open = list[i].Key == own
	}
	return list
}

// systemOf guesses a visitor's system from the User-Agent header; empty: no idea. Firefox keeps certificates of its own
// on every desktop; on an iPhone it is Safari within.
func systemOf(agent string) string {
	has := func(s string) bool { return strings.Contains(agent, s) }
	switch {
	case has("iPhone"), has("iPad"), has("Macintosh") && has("Mobile/"):
		return "iphone"
	case has("Android"):
		return "android"
	case has("Firefox/"):
		return "firefox"
	case has("Windows"):
		return "windows"
	case has("Macintosh"):
		return "mac"
	case has("Linux"), has("X11"), has("CrOS"):
		return "linux"
	}
	return ""
}

// ca shows the page that helps to install the authority's certificate. Nobody need be signed in: who cannot trust the
// page cannot sign in.
func (c *Console) ca(w http.ResponseWriter, r *http.Request) { c.showCA(w, r, false) }

func (c *Console) showCA(w http.ResponseWriter, r *http.Request, plain bool) {
	home := secureURL(r, "/")
	b := caBody{Secure: r.TLS != nil, Public: c.Trust.Public(), Home: home, Probe: secureURL(r, "/ca/"+probeFile)}
	if strings.EqualFold(hostOnly(r.Host), b.Public) {
		b.Public = "" // that is where we are
	}
	if a := c.Trust.Authority(); a != nil {
		b.Needed, b.Name = true, a.Certificate.Subject.CommonName
		sha256, sha1 := webcert.Fingerprints(a.Certificate.Raw)
		b.SHA256, b.SHA1 = strings.Fields(sha256), strings.Fields(sha1)
		b.Systems = caSystems(r.UserAgent())
	}
	p := page{Title: "ca.title", Body: b, Plain: plain}
	if !plain {
		if who, ok := c.who(r); ok {
			p.Who = &who
		}
	} else {
		allowProbe(w, r)
	}
	c.render(w, r, http.StatusOK, "ca", p)
}

// caFile serves what can be downloaded.
func (c *Console) caFile(w http.ResponseWriter, r *http.Request) {
	a := c.Trust.Authority()
	file := r.PathValue("file")
	switch {
	case file == probeFile:
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	case a == nil:
		http.NotFound(w, r)
	case file == certificateFile:
		download(w, "application/x-x509-ca-cert", file, a.Certificate.Raw)
	case file == profileFile:
		download(w, "application/x-apple-aspen-config", file, profile(a))
	default:
		http.NotFound(w, r)
	}
}

func download(w http.ResponseWriter, kind, name string, data []byte) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(data) // an error means that the browser is gone
}

// profile is a configuration profile that brings the certificate to an iPhone or iPad (Apple, Configuration Profile
// Reference, com.apple.security.root). Its identifiers follow from the certificate: a second one replaces the first.
func profile(a *webcert.Authority) []byte {
	id := func(what string) string {
		return strings.ToUpper(uuid.NewSHA1(uuid.NameSpaceOID, append([]byte(what), a.Certificate.Raw...)).String())
	}
	var name bytes.Buffer
	_ = xml.EscapeText(&name, []byte(a.Certificate.Subject.CommonName)) // a buffer takes all
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>PayloadContent</key><array><dict>
<key>PayloadCertificateFileName</key><string>%[5]s</string>
<key>PayloadContent</key><data>%[4]s</data>
<key>PayloadDisplayName</key><string>%[1]s</string>
<key>PayloadIdentifier</key><string>vn.dongthanh.ca.%[3]s</string>
<key>PayloadType</key><string>com.apple.security.root</string>
<key>PayloadUUID</key><string>%[3]s</string>
<key>PayloadVersion</key><integer>1</integer>
</dict></array>
<key>PayloadDisplayName</key><string>%[1]s</string>
<key>PayloadIdentifier</key><string>vn.dongthanh.ca</string>
<key>PayloadRemovalDisallowed</key><false/>
<key>PayloadType</key><string>Configuration</string>
<key>PayloadUUID</key><string>%[2]s</string>
<key>PayloadVersion</key><integer>1</integer>
</dict></plist>
`, name.String(), id("profile"), id("certificate"), base64.StdEncoding.EncodeToString(a.Certificate.Raw), certificateFile)
}

// secureURL is a page of ours over https, under the name by which the visitor came.
func secureURL(r *http.Request, path string) string { return "https://" + r.Host + path }

// hostOnly is host without a port.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// allowProbe lets a page of plain http ask whether https works, which a stricter policy forbids.
func allowProbe(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", h.Get("Content-Security-Policy")+"; connect-src "+secureURL(r, ""))
}
