package handlers

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

// atHome reports whether nobody else can point host at this machine, however it is read. It is
// another implementation of what [Hosts] must do.
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

// Without entries Hosts allows only names that nobody else can point at this machine. An entry that
// Check accepts is allowed in every form in which a client may send it, and a name that only ends
// like it is not.
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
			isBelow := below && strings.HasSuffix(name, "."+base) // matches *.evil
			if h.allow(name) && !isBelow && !atHome(name) {
				t.Errorf("Hosts{%q} answers to %q", s, name)
			}
		}
	})
}

// hostPort matches what a browser writes for a host with its port; scheme matches what may be a
// scheme.
var (
	hostPort = regexp.MustCompile(`^(?:[-._a-zA-Z0-9]+|\[::[0-9a-f]{1,4}\])(?::[0-9]{1,5})?$`)
	scheme   = regexp.MustCompile(`^[a-zA-Z][-+.a-zA-Z0-9]*$`)
)

// If the origins are the same, so are the hosts, and the ports or those that the schemes stand for.
// If the hosts and ports are written alike, the origins are the same, whatever the scheme.
func FuzzSameOrigin(f *testing.F) {
	for _, secure := range []bool{false, true} {
		f.Add("http://localhost:8100", "localhost:8100", secure)
		f.Add("https://chat.example", "chat.example:443", secure)
		f.Add("http://a@b", "b", secure)
		f.Add("null", "", secure)
		f.Add("file://", "a", secure)
		f.Add("http://[::1]", "[::1]:80", secure)
		f.Add("https://a:443:443", "a:443", secure)
		f.Add("capacitor://localhost", "LOCALHOST", secure)
		f.Add("app://a.", "a.:80", secure)
		f.Add("http://%41:", "a:", secure)
	}
	f.Fuzz(func(t *testing.T, origin, host string, secure bool) {
		same := func(origin string) bool {
			r := &http.Request{Host: host, Header: http.Header{"Origin": {origin}}}
			if secure {
				r.TLS = &tls.ConnectionState{}
			}
			return SameOrigin(r)
		}
		name, from, _ := strings.Cut(origin, "://")
		name = strings.ToLower(name)
		port := map[string]string{"http": ":80", "https": ":443"}[name]
		if same(origin) {
			if !strings.EqualFold(from, host) && !strings.EqualFold(from+port, host) && !strings.EqualFold(from, host+port) ||
				strings.ContainsAny(from, "/?#@%\\ ") || !scheme.MatchString(name) || secure && name == "http" {
				t.Errorf("origin %q is that of host %q, TLS %t", origin, host, secure)
			}
		}
		if hostPort.MatchString(host) && scheme.MatchString(name) {
			if got, want := same(name+"://"+strings.ToUpper(host)), !secure || name != "http"; got != want {
				t.Errorf("origin %q, host %q, TLS %t: SameOrigin() = %t", name, host, secure, got)
			}
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

// anyCase returns a regexp for s with its ASCII letters in either case.
func anyCase(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteString("(?:" + regexp.QuoteMeta(strings.ToLower(string(r))) + "|" + regexp.QuoteMeta(strings.ToUpper(string(r))) + ")")
	}
	return b.String()
}
