package page

import (
	"net/http"
	"net/url"
	"strings"
)

// placeOf returns the URL at which the browser has the page, from the query of r, if a proxy has
// forwarded r: that has a path, another name or scheme, or forwarding headers. It returns nil if
// the browser has come directly. ok is false if the URL cannot be that of the page.
func placeOf(r *http.Request) (at *url.URL, ok bool) {
	said := r.URL.Query().Get("at")
	if said == "" {
		return nil, true
	}
	u, err := url.Parse(said)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || !plainHost(u.Host) || u.User != nil || !strings.HasSuffix(u.Path, "/") {
		return nil, false
	}
	if u.Path == "/" && u.Host == r.Host && (u.Scheme == "https") == (r.TLS != nil) && !passedOn(r) {
		return nil, true
	}
	// What is left is a path as a browser writes it; brackets and braces mean something to curl.
	path := strings.NewReplacer("[", "%5B", "]", "%5D", "{", "%7B", "}", "%7D").Replace(u.EscapedPath())
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: path}, true
}

// reach returns those of commands that work for a page at this URL, which a proxy passes on.
func reach(commands []Command, at *url.URL) []Command {
	if at == nil {
		return commands
	}
	some := []Command{}
	for _, c := range commands {
		if c.Web != nil {
			some = append(some, Command{What: c.What, Command: c.Web(at)})
		}
	}
	return some
}
