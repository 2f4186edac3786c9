package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/portluck/portluck/cmd/portluck/internal/page"
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
func announce(w io.Writer, listeners []net.Listener, ca string, services running, person bool) {
	for _, l := range listeners {
		fmt.Fprintf(w, "listening on %s\n", addressOf(l.Addr()))
	}
	if !person {
		return
	}
	lines := clientLines(addresses(listeners), ca)
	for _, p := range services.panels() {
		lines = append(lines, p.Commands...)
	}
	for _, line := range lines {
		fmt.Fprintf(w, "  %-20s %s\n", line.What, line.Command)
	}
}

// addresses are what clients on this machine can dial: host:port, or unix:PATH.
func addresses(listeners []net.Listener) (all []string) {
	for _, l := range listeners {
		all = append(all, reachable(l.Addr()))
	}
	return all
}

// clientLines are the commands for each kind of client, with the first address.
func clientLines(addrs []string, ca string) []page.Command {
	host := addrs[0]
	if path, ok := strings.CutPrefix(host, "unix:"); ok {
		return []page.Command{
			{What: "raw", Command: "nc -U " + path},
			{What: "HTTP", Command: "curl --unix-socket " + path + " -d hello http://localhost/"},
		}
	}
	name, port, _ := net.SplitHostPort(host)
	lines := []page.Command{
		{What: "browser", Command: "http://" + host + "/"},
		{What: "HTTP", Command: "curl -d hello http://" + host + "/"},
		{What: "HTTP/2", Command: "curl --http2-prior-knowledge -d hello http://" + host + "/"},
		{What: "HTTP, both ways", Command: "curl -sN -T - http://" + host + "/"},
		{What: "server-sent events", Command: "curl -sN -H 'Accept: text/event-stream' http://" + host + "/"},
		{What: "raw TCP", Command: "nc " + name + " " + port},
		{What: "WebSocket", Command: "portluck chat ws://" + host + "/"},
	}
	if ca == "" {
		return lines
	}
	return append(lines,
		page.Command{What: "HTTPS", Command: "curl --cacert " + ca + " -d hello https://" + host + "/"},
		page.Command{What: "raw TLS", Command: "openssl s_client -quiet -CAfile " + ca + " -connect " + host},
		page.Command{What: "WebSocket over TLS", Command: "portluck chat wss://" + host + "/"})
}

// addressOf is an address as --listen takes it.
func addressOf(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return a.String()
}

// reachable is an address that a client on this machine can dial.
func reachable(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	switch {
	case err != nil:
		return addressOf(a)
	case ap.Addr().IsUnspecified() || ap.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 1}):
		return fmt.Sprintf("localhost:%d", ap.Port())
	}
	return ap.String()
}
