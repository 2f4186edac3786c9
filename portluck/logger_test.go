package portluck

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/portluck/portluck/handlers/udp"
	"github.com/portluck/portluck/matchers"
	"github.com/rs/zerolog"
)

// logBuffer holds the lines that were logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A line has the fields that both kinds of logger write.
type line struct{ Message, Msg, Level, Proto, Route, Remote, Error string }

func (l line) text() string { return l.Message + l.Msg }

func linesOf(t *testing.T, text string) (all []line) {
	t.Helper()
	for one := range strings.Lines(text) {
		var l line
		if err := json.Unmarshal([]byte(one), &l); err != nil {
			t.Fatalf("%s: %v", one, err)
		}
		l.Level = strings.ToLower(l.Level)
		all = append(all, l)
	}
	return all
}

// Each line names the route, with a slog.Logger as well as with zerolog.
func TestLinesNameTheRoute(t *testing.T) {
	for _, kind := range []string{"zerolog", "slog"} {
		t.Run(kind, func(t *testing.T) {
			out := &logBuffer{}
			s := &Server{Hub: &Hub{}, TLSConfig: withTLS()}
			if kind == "slog" {
				s.Log = slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
			} else {
				logger := zerolog.New(out)
				s.Logger = &logger
			}
			s.HandleFunc("mine", matchers.Prefix("!"), func(net.Conn) { panic("of the program") })
			addr := servePackets(t, s, &udp.Server{})
			send(t, dialUDP(t, addr), "hello")
			for _, said := range []string{
				"hello\n", "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
				"!", "\x16\x03\x01nonsense",
			} {
				c := dial(t, addr)
				send(t, c, said)
				_ = c.CloseWrite()
				_, _ = io.ReadAll(c)
			}
			want := []string{
				"debug connect tcp raw", "debug disconnect tcp raw", "debug connect http http", "debug disconnect http http",
				"debug connect udp udp",
				"error panic in the program mine mine", "client failed tls tls",
			}
			eventually(t, "all is logged", func() bool {
				got := ""
				for _, l := range linesOf(t, out.String()) {
					got += strings.Join([]string{l.Level, l.text(), l.Proto, l.Route}, " ") + "\n"
				}
				for _, one := range want {
					if !strings.Contains(got, one+"\n") {
						return false
					}
				}
				return true
			})
		})
	}
}

// Errors of datagrams are logged, but not too often, whether or not there is an OnError. So is a
// panic of OnError.
func TestDatagramErrorsAreLogged(t *testing.T) {
	t.Parallel()
	for name, onError := range map[string]func(netip.AddrPort, error){
		"nobody is told": nil,
		"the program is": func(netip.AddrPort, error) {},
		"it panics":      func(netip.AddrPort, error) { panic(errSecret) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := &logBuffer{}
			logger := zerolog.New(out)
			s := &Server{Hub: &Hub{}, Logger: &logger}
			packets := &udp.Server{MessageLimit: 5, OnError: onError}
			c := dialUDP(t, servePackets(t, s, packets))
			send(t, c, "SECRET too long")
			eventually(t, "it is logged", func() bool {
				for _, l := range linesOf(t, out.String()) {
					if l.text() == "client failed" && l.Proto == "udp" && l.Route == "udp" && l.Remote == c.LocalAddr().String() && l.Level == "info" {
						return strings.HasPrefix(l.Error, "message too long")
					}
				}
				return false
			})
			if name == "it panics" {
				panicsLogged(t, s, out, 1)
			}
			const many = 1000
			for range many {
				send(t, c, "SECRET too long")
			}
			eventually(t, "some were read", func() bool { return packets.Stats().TooLong > many/10 })
			got := out.String()
			if n := strings.Count(got, "client failed"); n > many/2 || strings.Contains(got, "SECRET") {
				t.Errorf("%d lines: %s", n, got)
			}
		})
	}
}

// brokenLogger panics in each of its methods, if it is asked to.
type brokenLogger struct{ enabled bool }

func (b brokenLogger) Enabled(context.Context, slog.Level) bool {
	if !b.enabled {
		panic("of the logger")
	}
	return true
}

func (b brokenLogger) LogAttrs(context.Context, slog.Level, string, ...slog.Attr) {
	panic("of the logger")
}

// A panic of the logger costs nothing but lines.
func TestLoggerPanics(t *testing.T) {
	for _, logger := range []Logger{brokenLogger{true}, brokenLogger{false}, (*slog.Logger)(nil)} {
		s := &Server{Log: logger, Hub: &Hub{OnMessage: func(m Message, w *Writer, _ *Client) { _ = w.Send(m) }}}
		c := dial(t, serve(t, s))
		send(t, c, "hello\n")
		expect(t, c, "hello\n")
		c.Close()
		eventually(t, "it is gone", func() bool { return s.Stats().Open == 0 && s.Hub.Len() == 0 })
	}
}

// Each kind of attribute that lines have is written as zerolog's own method for that kind writes
// it.
func TestZeroLogger(t *testing.T) {
	var got, want bytes.Buffer
	logger, own := zerolog.New(&got), zerolog.New(&want)
	zeroLogger{&logger}.LogAttrs(t.Context(), slog.LevelWarn, "x", slog.String("s", "a"), slog.Uint64("u", 1), slog.Duration("d", 1),
		slog.Any("error", io.EOF), slog.Bool("b", true))
	own.Warn().Str("s", "a").Uint64("u", 1).Dur("d", 1).Err(io.EOF).Bool("b", true).Msg("x")
	if got.String() != want.String() {
		t.Errorf("got %s, want %s", &got, &want)
	}
	for level, enabled := range map[slog.Level]bool{slog.LevelDebug: false, slog.LevelInfo: false, slog.LevelWarn: true, slog.LevelError: true} {
		warn := logger.Level(zerolog.WarnLevel)
		if got := (zeroLogger{&warn}).Enabled(t.Context(), level); got != enabled {
			t.Errorf("Enabled(%v) = %t, want %t", level, got, enabled)
		}
	}
}
