package page

import (
	"net/http"
	"net/url"
	"strings"
)

// placeOf returns the URL of the page in the browser, which the query of r has, if a proxy has
// forwarded r: the URL then has a path, or another host or scheme than r, or r has header fields of
// a proxy. It returns nil if there is no proxy. ok is false if the URL cannot be that of the page.
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
	// curl would expand brackets and braces in the path.
	path := strings.NewReplacer("[", "%5B", "]", "%5D", "{", "%7B", "}", "%7D").Replace(u.EscapedPath())
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: path}, true
}

// reach returns the commands for a page at the URL at, behind a proxy. If at is nil, there is no
// proxy, and reach returns all commands.
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
