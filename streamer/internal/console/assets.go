package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"time"
)

// What browsers get is built from web/ by esbuild, a Go program, and committed, so that building the streamer needs
// neither Node nor a generator. A test holds dist to what web/ builds.
//
//go:generate go tool -modfile=../../../tools/tools.mod esbuild web/live.ts web/nodes.ts web/plain.ts web/style.css web/mark.icon.svg --bundle --minify --format=esm --target=es2020,safari14.1,chrome87,firefox78 --charset=utf8 --loader:.icon.svg=copy --legal-comments=none --log-level=warning --outdir=dist

//go:embed dist
var dist embed.FS

// assets serves the built files under a path that names their content, so that browsers may keep them for good.
type assets struct {
	files map[string][]byte
	root  string // "/assets/<hash>/"
}

func newAssets() *assets {
	a := &assets{files: map[string][]byte{}}
	sum := sha256.New()
	entries, err := fs.ReadDir(dist, "dist")
	if err != nil {
		panic("read embedded dist: " + err.Error()) // cannot be: the compiler put it there
	}
	for _, e := range entries {
		b, err := dist.ReadFile(path.Join("dist", e.Name()))
		if err != nil {
			panic("read embedded asset: " + err.Error())
		}
		a.files[e.Name()] = b
		_, _ = sum.Write(append([]byte(e.Name()), b...)) // a hash never fails
	}
	a.root = "/assets/" + hex.EncodeToString(sum.Sum(nil)[:6]) + "/"
	return a
}

// url is where a file is served.
func (a *assets) url(name string) string { return a.root + name }

// ServeHTTP answers GET /assets/<hash>/<name>. A page of an older version finds today's file, but must not keep it.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	dir, name := path.Split(r.URL.Path)
	b, ok := a.files[name]
	if !ok || path.Dir(path.Clean(dir)) != "/assets" {
		http.NotFound(w, r)
		return
	}
	if dir == a.root {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		w.Header().Set("Cache-Control", "no-cache")
	}
	switch path.Ext(name) { // the machine's own table of types may be missing or wrong
	case ".js":
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	case ".css":
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
	case ".svg":
		w.Header().Set("Content-Type", "image/svg+xml")
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
}
