// Package page serves the page of the demo server: the chat room, the live connections, and the
// commands with which other clients join.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

//go:embed static
var static embed.FS

// A Panel is what the page shows of a service beside the room.
type Panel struct {
	Title    string    `json:"title"`
	Hint     string    `json:"hint"` // what the service is, in a sentence or two
	Facts    []Fact    `json:"facts"`
	Commands []Command `json:"commands"`
}

// A Fact is a line of a panel, such as a counter or an address. Its value may change at any time.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A Command is a shell command, or a URL, for one kind of client to copy.
type Command struct {
	What    string `json:"what"`
	Command string `json:"command"`
	// Web returns the command for a page behind a proxy: at is the URL of the page, which ends with
	// a slash. If Web is nil, the command does not work through an HTTP proxy, and such a page does
	// not show it.
	Web func(at *url.URL) string `json:"-"`
}

// A Source has what the page shows. Its funcs may be called concurrently.
type Source struct {
	// Prefix is a path, such as /chat, below which a proxy requests the page, or empty. The page is
	// served at the root too.
	Prefix      string
	Members     func() int                  // at /members: the number of members of the room
	Connections func(r *http.Request) any   // at /connections, as JSON
	Panels      func() []Panel              // at /panels
	Commands    func(host string) []Command // at /commands, for a browser that sends host
}

// panels returns the panels for a page at the URL at.
func (s Source) panels(at *url.URL) any {
	panels := s.Panels()
	for i := range panels {
		panels[i].Commands = reach(panels[i].Commands, at)
	}
	return panels
}

// Handler returns a handler that serves the page at /, and its parts and the data of src beside it.
// It serves the same below the prefix of src.
func Handler(src Source) http.Handler {
	files := load()
	// local answers with what of returns for the URL of the page.
	local := func(w http.ResponseWriter, r *http.Request, of func(at *url.URL) any) {
		at, ok := placeOf(r)
		if !ok || at == nil && !plainHost(r.Host) {
			http.Error(w, "The address of the page cannot stand in a command.", http.StatusBadRequest)
			return
		}
		serveJSON(w, of(at))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header(), r.Host)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD, POST, PUT, OPTIONS")
			http.Error(w, "Allowed methods are GET, HEAD, POST and PUT.", http.StatusMethodNotAllowed)
			return
		}
		name := r.URL.Path
		if src.Prefix != "" && name == src.Prefix {
			toDirectory(w, r)
			return
		}
		if below, ok := strings.CutPrefix(name, src.Prefix+"/"); ok {
			name = "/" + below
		}
		switch name {
		case "/members":
			serveJSON(w, src.Members())
			return
		case "/connections":
			serveJSON(w, src.Connections(r))
			return
		case "/panels":
			local(w, r, src.panels)
			return
		case "/commands":
			local(w, r, func(at *url.URL) any { return reach(src.Commands(r.Host), at) })
			return
		}
		f, ok := files[name]
		if !ok {
			http.Error(w, "There is no such page. The chat room is at /.", http.StatusNotFound)
			return
		}
		f.serve(w, r)
	})
}

// toDirectory redirects the browser to the same path with a slash at its end, so that the page
// finds its parts. The location is relative, because a proxy may serve the path below another one.
func toDirectory(w http.ResponseWriter, r *http.Request) {
	to := url.URL{Path: path.Base(r.URL.Path) + "/", RawQuery: r.URL.RawQuery}
	w.Header().Set("Location", to.String())
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// secure sets the header fields that isolate the page: it may use only its own files and connect
// only to its own port.
func secure(h http.Header, host string) {
	connect := "connect-src 'self'"
	if plainHost(host) {
		connect += " ws://" + host + " wss://" + host // not every browser counts these as 'self'
	}
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
		connect+"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// plainHost reports whether host is safe in a policy, and in a command, which must not take it for
// an option. net/http accepts hosts with ; and ' and *.
func plainHost(host string) bool {
	return host != "" && host[0] != '-' && !strings.ContainsFunc(host, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(".-_:[]", r))
	})
}

// serveJSON answers with v as JSON, which must not be cached.
func serveJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "What was asked for cannot be shown.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body)
}

// file is a part of the page.
type file struct {
	kind, tag string
	body      []byte
}

// load returns the parts of the page by URL path.
func load() map[string]file {
	entries, err := static.ReadDir("static")
	if err != nil {
		panic(err) // impossible: the files are embedded
	}
	files := map[string]file{}
	for _, e := range entries {
		body, err := static.ReadFile("static/" + e.Name())
		if err != nil {
			panic(err) // impossible too
		}
		sum := sha256.Sum256(body)
		at := "/" + e.Name()
		if at == "/index.html" {
			at = "/"
		}
		files[at] = file{kind: kinds[path.Ext(e.Name())], tag: `"` + hex.EncodeToString(sum[:8]) + `"`, body: body}
	}
	return files
}

// kinds has the media types of the parts. The table of the system may be empty or wrong.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

func (f file) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", f.tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}
