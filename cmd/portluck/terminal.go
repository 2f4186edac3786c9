package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/rs/zerolog"
)

// logTime is the layout of the time in JSON logs: RFC 3339 with milliseconds.
const logTime = "2006-01-02T15:04:05.000Z07:00"

// newLogger returns a logger that writes to standard error and never waits for it. Lines that
// standard error does not take in time are dropped and counted. flush writes what is left at the
// end.
func newLogger(format, level string) (logger zerolog.Logger, flush func(), err error) {
	lvl, err := zerolog.ParseLevel(level)
	if err != nil || level == "" {
		return logger, nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	if format != "json" && format != "auto" && format != "console" {
		return logger, nil, fmt.Errorf("--log-format %q: want auto, console or json", format)
	}
	zerolog.TimeFieldFormat = logTime
	person := cli.IsTerminal(os.Stderr)
	to := func(w io.Writer) zerolog.Logger {
		if format == "console" || format == "auto" && person {
			w = zerolog.ConsoleWriter{Out: w, NoColor: !person || os.Getenv("NO_COLOR") != ""}
		}
		return zerolog.New(w).Level(lvl).With().Timestamp().Logger()
	}
	s := newScreenWith(os.Stderr, 0, func(w io.Writer, n uint64) {
		l := to(w)
		l.WithLevel(zerolog.WarnLevel).Uint64("lines", n).Msg("log lines dropped")
	})
	return to(s), s.close, nil
}

// stdLog logs what is written to package log, such as a panic that no port logs.
type stdLog struct{ logger zerolog.Logger }

func (s stdLog) Write(p []byte) (int, error) {
	s.logger.Error().Str("text", strings.TrimSpace(string(p))).Msg("log")
	return len(p), nil
}

// announce prints the addresses and, for a person, a command for each kind of client.
func announce(w io.Writer, listeners []net.Listener, e entrance, services running, person bool) {
	for _, l := range listeners {
		fmt.Fprintf(w, "listening on %s\n", addressOf(l.Addr()))
	}
	if !person {
		return
	}
	lines := clientLines(addresses(listeners)[0], e)
	for _, p := range services.panels() {
		lines = append(lines, p.Commands...)
	}
	for _, line := range lines {
		fmt.Fprintf(w, "  %-20s %s\n", line.What, line.Command)
	}
}

// addresses returns what clients on this machine can dial, host:port or unix:PATH, for each
// listener.
func addresses(listeners []net.Listener) (all []string) {
	for _, l := range listeners {
		all = append(all, reachable(l.Addr()))
	}
	return all
}

// addressOf returns a in the form that --listen takes.
func addressOf(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return a.String()
}

// reachable returns an address at which a client on this machine can dial a.
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
