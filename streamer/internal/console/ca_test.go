package console_test

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"dongthanh/streamer/internal/webcert"
)

// ask sends a request with headers "Name: value" and follows nothing.
func (r *rig) ask(method, url string, headers ...string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, url, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	v := r.visitor()
	resp, err := v.client.Do(req)
	return v.read(resp, err)
}

const browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"

// TestPlain: whoever comes by plain http reads why it must be https, finds the link, and gets no cookie.
func TestPlain(t *testing.T) {
	r := newRig(t, false)
	secure := strings.Replace(r.plain.URL, "http:", "https:", 1)
	for _, c := range []struct {
		name, method, path string
		headers            []string
		status             int
		link               string
	}{
		{"a browser", "GET", "/live?a=1", []string{browser}, 403, secure + "/live?a=1"},
		{"a browser at the door", "GET", "/", []string{browser, "Cookie: dongthanh=x"}, 403, secure + "/"},
		{"a form", "POST", "/login", []string{browser}, 403, secure + "/"},
		{"a machine", "GET", "/live?a=1", []string{"Accept: */*"}, 308, secure + "/live?a=1"},
		{"a machine that asks for nothing", "HEAD", "/nodes", nil, 308, secure + "/nodes"},
		{"a machine that sends", "POST", "/live", nil, 403, secure + "/"},
		{"another site's name", "GET", "/@evil.example/%2F%2Fx?y=//z", nil, 308, secure + "/@evil.example/%2F%2Fx?y=//z"},
	} {
		a := r.ask(c.method, r.plain.URL+c.path, c.headers...)
		if a.status != c.status {
			t.Errorf("%s: %d, want %d", c.name, a.status, c.status)
		}
		if c.status == 308 && a.header.Get("Location") != c.link {
			t.Errorf("%s: sent to %q, want %q", c.name, a.header.Get("Location"), c.link)
		}
		if c.status == 403 && attr(a.byID("secure"), "href") != c.link {
			t.Errorf("%s: the link is %q, want %q", c.name, attr(a.byID("secure"), "href"), c.link)
		}
		if c.method != "HEAD" && !strings.Contains(a.body, "khi trang mở bằng https") {
			t.Errorf("%s: no sentence that says why: %s", c.name, a.body)
		}
		if cookie := a.header.Get("Set-Cookie"); cookie != "" {
			t.Errorf("%s: a cookie over plain http: %s", c.name, cookie)
		}
		for _, form := range a.all("form", nil) {
			t.Errorf("%s: a form over plain http, to %s", c.name, attr(form, "action"))
		}
	}
	for path, status := range map[string]int{"/ca": 200, "/ca/probe": 204, "/ca/dong-thanh.crt": 200, "/ca/dong-thanh.mobileconfig": 200, "/ca/else": 404} {
		if a := r.ask("GET", r.plain.URL+path, browser); a.status != status || a.header.Get("Set-Cookie") != "" {
			t.Errorf("GET %s = %d, cookie %q, want %d and none", path, a.status, a.header.Get("Set-Cookie"), status)
		}
	}
	if a := r.ask("GET", r.plain.URL+"/?lang=en", browser); !strings.Contains(a.body, "Browsers give a page") || attr(a.all("html", nil)[0], "lang") != "en" {
		t.Errorf("in English: %s", a.body)
	}
	if policy := r.ask("GET", r.plain.URL+"/ca", browser).header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "connect-src "+secure) {
		t.Errorf("the script may not ask whether https works: %q", policy)
	}
}

// TestCertificatePage: the page works without a script, opens the steps of the visitor's system alone, and shows what
// the technician's command prints.
func TestCertificatePage(t *testing.T) {
	r := newRig(t, true)
	long, short := webcert.Fingerprints(r.certs.Authority().Certificate.Raw)
	for agent, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36":                         "Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                        "Firefox",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Mobile Safari/537.36":                         "Điện thoại",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1": "iPhone",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1":        "iPhone", // an iPad
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15":                   "Mac:",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36":                                   "Linux",
		"curl/8": "",
	} {
		a := r.ask("GET", r.server.URL+"/ca", "User-Agent: "+agent)
		var open []string
		for _, d := range a.all("details", func(n *html.Node) bool { _, ok := attribute(n, "open"); return ok }) {
			open = append(open, text(d))
		}
		if (len(open) == 0) != (want == "") || len(open) > 1 || (want != "" && !strings.HasPrefix(open[0], want)) {
			t.Errorf("%s: open are %q, want that of %q", agent, open, want)
		}
		if len(a.all("script", nil)) > 0 || len(a.all("details", nil)) != 6 {
			t.Errorf("%s: %d scripts and %d systems, want none and 6", agent, len(a.all("script", nil)), len(a.all("details", nil)))
		}
		said := strings.Join(strings.Fields(text(a.byID("main"))), " ")
		if !strings.Contains(said, long) || !strings.Contains(said, short) {
			t.Errorf("the page does not show %s and %s", long, short)
		}
		if !strings.Contains(said, "đang mở bằng https") {
			t.Error("the page does not say that it came over https")
		}
	}
	if a := r.visitor().get("/login"); !strings.Contains(a.body, `href="/ca"`) {
		t.Error("the login page over a certificate of our own does not lead to /ca")
	}
	if a := newRig(t, false).visitor().get("/login"); strings.Contains(a.body, `href="/ca"`) {
		t.Error("the login page on this machine speaks of certificates")
	}
}

func TestCertificateDownloads(t *testing.T) {
	r := newRig(t, true)
	der := r.certs.Authority().Certificate.Raw
	a := r.ask("GET", r.server.URL+"/ca/dong-thanh.crt")
	if a.header.Get("Content-Type") != "application/x-x509-ca-cert" || a.body != string(der) {
		t.Errorf("the certificate comes as %q, %d bytes, want its %d", a.header.Get("Content-Type"), len(a.body), len(der))
	}
	a = r.ask("GET", r.server.URL+"/ca/dong-thanh.mobileconfig")
	if a.header.Get("Content-Type") != "application/x-apple-aspen-config" || !strings.Contains(a.header.Get("Content-Disposition"), "dong-thanh.mobileconfig") {
		t.Errorf("the profile comes as %q, %q", a.header.Get("Content-Type"), a.header.Get("Content-Disposition"))
	}
	d := xml.NewDecoder(strings.NewReader(a.body))
	var data []byte
	var last string
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("the profile is no XML: %v", err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			last = x.Name.Local
		case xml.CharData:
			if last == "data" && len(bytes.TrimSpace(x)) > 0 {
				if data, err = base64.StdEncoding.DecodeString(string(x)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if !bytes.Equal(data, der) {
		t.Errorf("the profile holds %d bytes, want the certificate's %d", len(data), len(der))
	}
	if again := r.ask("GET", r.server.URL+"/ca/dong-thanh.mobileconfig"); again.body != a.body {
		t.Error("a second profile would not replace the first")
	}
}
