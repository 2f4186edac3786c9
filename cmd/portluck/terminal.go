package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"

	"github.com/rs/zerolog"
)

// isTerminal says whether somebody looks at f.
func isTerminal(f *os.File) bool {
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// newLogger writes to standard error.
func newLogger(format, level string) (zerolog.Logger, error) {
	lvl, err := zerolog.ParseLevel(level)
	if err != nil || level == "" {
		return zerolog.Logger{}, fmt.Errorf("--log-level %q: it is debug, info, warn or error", level)
	}
	var w io.Writer = os.Stderr
	switch {
	case format == "console", format == "auto" && isTerminal(os.Stderr):
		w = zerolog.ConsoleWriter{Out: os.Stderr, NoColor: !isTerminal(os.Stderr) || os.Getenv("NO_COLOR") != ""}
	case format != "json" && format != "auto":
		return zerolog.Logger{}, fmt.Errorf("--log-format %q: it is auto, console or json", format)
	}
	return zerolog.New(w).Level(lvl).With().Timestamp().Logger(), nil
}

// announce prints the addresses, and to a person the lines to copy for each kind of client.
func announce(w io.Writer, listeners []net.Listener, ca string, person bool) {
	for _, l := range listeners {
		if l.Addr().Network() == "unix" {
			fmt.Fprintf(w, "listening on unix:%s\n", l.Addr())
			continue
		}
		fmt.Fprintf(w, "listening on %s\n", l.Addr())
	}
	if !person {
		return
	}
	for _, line := range clientLines(listeners, ca) {
		fmt.Fprintf(w, "  %-22s %s\n", line.what, line.command)
	}
}

// clientLine is a command that joins the room.
type clientLine struct{ what, command string }

// clientLines are the commands for each kind of client, with the real address.
func clientLines(listeners []net.Listener, ca string) []clientLine {
	host := ""
	for _, l := range listeners {
		if l.Addr().Network() == "unix" {
			if host == "" && len(listeners) == 1 {
				return []clientLine{
					{"raw", "nc -U " + l.Addr().String()},
					{"HTTP", "curl --unix-socket " + l.Addr().String() + " -d hello http://localhost/"},
				}
			}
			continue
		}
		if host == "" {
			host = reachable(l.Addr())
		}
	}
	name, port, _ := net.SplitHostPort(host)
	lines := []clientLine{
		{"browser", "http://" + host + "/"},
		{"HTTP", "curl -d hello http://" + host + "/"},
		{"HTTP/2", "curl --http2-prior-knowledge -d hello http://" + host + "/"},
		{"HTTP, both ways", "curl -sN -T - http://" + host + "/"},
		{"raw TCP", "nc " + name + " " + port},
		{"WebSocket", "portluck chat ws://" + host + "/"},
	}
	if ca == "" {
		return lines
	}
	return append(lines,
		clientLine{"HTTPS", "curl --cacert " + ca + " -d hello https://" + host + "/"},
		clientLine{"raw TLS", "openssl s_client -quiet -CAfile " + ca + " -connect " + host},
		clientLine{"WebSocket over TLS", "portluck chat wss://" + host + "/"})
}

// reachable is an address that a client on this machine can dial.
func reachable(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	if ap.Addr().IsUnspecified() || ap.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		return fmt.Sprintf("localhost:%d", ap.Port())
	}
	return ap.String()
}
