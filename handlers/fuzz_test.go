package handlers

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// atHome reports whether no stranger can point host at this machine, in whatever way it is read: another way to say what
// [Hosts] is to hold to.
func atHome(host string) bool {
	ways := []string{host}
	if colon := strings.LastIndexByte(host, ':'); colon >= 0 {
		ways = append(ways, host[:colon])
	}
	for _, way := range ways {
		inner := strings.TrimSuffix(strings.TrimPrefix(way, "["), "]")
		for _, addr := range []string{way, strings.TrimSuffix(way, "."), inner, strings.TrimSuffix(inner, ".")} {
			if _, err := netip.ParseAddr(addr); err == nil {
				return true
			}
		}
		if name := strings.ToLower(strings.TrimSuffix(way, ".")); name == "localhost" || strings.HasSuffix(name, ".localhost") {
			return true
		}
	}
	return host == ""
}

// Without entries only what no stranger can point here is answered to. An entry that Check takes is answered to in every
// form in which a client may send it, and a name that only ends like it is not.
func FuzzHosts(f *testing.F) {
	for _, s := range []string{
		"", "*", "app.example", "*.app.example", "APP.example.", "localhost:80", "a.localhost", "[::1]:80", "[::1", "::1", "1.2.3.4.:",
		"127.1", "[fe80::1%25lo]", "a:80:80", "xn--bcher-kva.example", "a_b-c", "localhost.evil.example", "evil.example#.localhost",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if Hosts(nil).allow(s) && !atHome(s) {
			t.Errorf("%q is answered to", s)
		}
		h := Hosts{s}
		if _, isAddr := hostName(s); isAddr || s == "*" || h.Check() != nil {
			return
		}
		base, below := strings.CutPrefix(strings.TrimSuffix(s, "."), "*.")
		names := []string{base, base + ".", base + ":80", strings.ToUpper(base) + ".:65535"}
		if below && len(base) < 200 {
			names = append(names, "www."+base, "a.b."+base+":1")
		}
		for _, name := range names {
			if len(base) < 250 && !h.allow(name) {
				t.Errorf("Hosts{%q} does not answer to %q", s, name)
			}
		}
		for _, name := range []string{"evil" + base, base + "evil", base + ".evil", "x-" + base + ":80"} {
			isBelow := below && strings.HasSuffix(name, "."+base) // of *.evil
			if h.allow(name) && !isBelow && !atHome(name) {
				t.Errorf("Hosts{%q} answers to %q", s, name)
			}
		}
	})
}

// sane has the characters of which a host and a port are made.
var sane = regexp.MustCompile(`^[-._a-zA-Z0-9:\[\]]*$`)

// What is of the same origin has the same host, and the same port or the one that its scheme stands for.
func FuzzSameOrigin(f *testing.F) {
	f.Add("http://localhost:8100", "localhost:8100")
	f.Add("https://chat.example", "chat.example:443")
	f.Add("http://a@b", "b")
	f.Add("null", "")
	f.Add("file://", "a")
	f.Add("http://[::1]", "[::1]:80")
	f.Add("https://a:443:443", "a:443")
	f.Fuzz(func(t *testing.T, origin, host string) {
		if !SameOrigin(&http.Request{Host: host, Header: http.Header{"Origin": {origin}}}) {
			return
		}
		_, rest, _ := strings.Cut(origin, "://")
		if !sane.MatchString(rest) || !sane.MatchString(host) {
			return // no browser sends such an Origin, and net/http takes no such Host
		}
		u, err := url.Parse(strings.ToLower(origin))
		if err != nil {
			return
		}
		port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
		if got, want := strings.TrimSuffix(strings.ToLower(u.Host), port), strings.TrimSuffix(strings.ToLower(host), port); port == "" || got != want {
			t.Errorf("origin %q is that of host %q", origin, host)
		}
	})
}

// A token is one of RFC 9110: ASCII letters in any case, with spaces and tabs around it.
func FuzzHasToken(f *testing.F) {
	for _, s := range []string{"upgrade", "keep-alive, Upgrade", "a,\tUPGRADE ,b", "\u00a0upgrade", "upgrade\v", "upgrades", "clo\u017fe", "\u212aeep-alive", ",,"} {
		for _, token := range []string{"upgrade", "close", "keep-alive"} {
			f.Add(s, token)
		}
	}
	f.Fuzz(func(t *testing.T, line, token string) {
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }) || token == "" {
			return
		}
		want := regexp.MustCompile(`(?:^|,)[ \t]*` + anyCase(token) + `[ \t]*(?:,|$)`).MatchString(line)
		if got := HasToken([]string{line}, token); got != want {
			t.Errorf("HasToken(%q, %q) = %t, want %t", line, token, got, want)
		}
	})
}

// anyCase is a regexp of s with its letters, of ASCII, in either case.
func anyCase(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteString("(?:" + regexp.QuoteMeta(strings.ToLower(string(r))) + "|" + regexp.QuoteMeta(strings.ToUpper(string(r))) + ")")
	}
	return b.String()
}
