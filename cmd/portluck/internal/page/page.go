// Package page is the demo's page: a chat room, the live connections, and how to join from anything else.
package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"mime"
	"net/http"
	"path"
)

//go:embed static
var static embed.FS

// Handler serves the page at /, its parts beside it, and what connections returns as JSON at /connections.
func Handler(connections func() any) http.Handler {
	files := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header(), r.Host)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD, POST, PUT, OPTIONS")
			http.Error(w, "Allowed methods are GET, HEAD, POST, PUT and OPTIONS.", http.StatusMethodNotAllowed)
			return
		}
		if r.URL.Path == "/connections" {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			_ = json.NewEncoder(w).Encode(connections())
			return
		}
		f, ok := files[r.URL.Path]
		if !ok {
			http.Error(w, "There is no such page. The chat room is at /.", http.StatusNotFound)
			return
		}
		f.serve(w, r)
	})
}

// secure sets what keeps the page to itself: nothing but its own files, and sockets to its own port.
func secure(h http.Header, host string) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
		"connect-src 'self' ws://"+host+" wss://"+host+"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// file is a part of the page.
type file struct {
	kind, tag string
	body      []byte
}

// load reads the parts by their URL path.
func load() map[string]file {
	files := map[string]file{}
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		f := file{kind: kindOf(name), tag: `"` + hex.EncodeToString(sum[:8]) + `"`, body: body}
		files["/"+path.Base(name)] = f
		if path.Base(name) == "index.html" {
			files["/"] = f
		}
		return nil
	})
	if err != nil {
		panic(err) // what was embedded cannot fail to be read
	}
	return files
}

// kindOf is the media type of a part; the system's table may be empty or odd.
func kindOf(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return mime.TypeByExtension(path.Ext(name))
}

func (f file) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", f.tag)
	if r.Header.Get("If-None-Match") == f.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(f.body)
}
