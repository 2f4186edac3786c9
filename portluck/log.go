package portluck

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/tlsd"
	"github.com/portluck/portluck/handlers/websocket"
	"github.com/portluck/portluck/portluck/hub"
	"github.com/rs/zerolog"
)

// log writes events to the program's logger, never what clients say. It writes at most one line a
// second about panics.
type log struct {
	to       Logger        // nil: nothing is logged
	window   atomic.Uint64 // the second from start that lines are counted in, and how many there were
	failures atomic.Uint64 // connections and requests that did not become clients
	start    time.Time
	// earliest time of the next line about a panic, in nanoseconds from start
	panicAt  atomic.Int64
	panics   atomic.Uint64 // in all
	unlogged atomic.Uint64 // panics since the last line about one
	exits    exits
}

// failuresPerSecond bounds the lines that hostile clients can cause.
const failuresPerSecond = 20

func newLog(to Logger) *log {
	return &log{to: to, start: time.Now()}
}

var _ hub.Log = (*log)(nil)

// Connected is [hub.Log.Connected].
func (l *log) Connected(s *hub.Session) {
	if l.enabled(slog.LevelDebug) { // avoids formatting the address for nothing
		l.write(slog.LevelDebug, "connect", clientAttrs(s)...)
	}
}

// Disconnected is [hub.Log.Disconnected].
func (l *log) Disconnected(s *hub.Session, t *hub.Traffic, err error) {
	if l.enabled(slog.LevelDebug) {
		l.write(slog.LevelDebug, "disconnect", slices.Concat(clientAttrs(s), trafficAttrs(t), errorAttr(err))...)
	}
}

// Failed is [hub.Log.Failed]. It also logs connections that never became clients.
func (l *log) Failed(info *Info, err error) {
	if err != nil {
		l.failures.Add(1)
	}
	l.failed(info, err)
}

// clientAttrs returns attributes that identify the client.
func clientAttrs(s *hub.Session) []slog.Attr {
	c := s.Client()
	return append([]slog.Attr{slog.Uint64("id", c.ID())}, attrs(c.Scheme(), s.Route(), c.Remote())...)
}

// trafficAttrs returns attributes for what a client sent and received, or none if that was not
// counted.
func trafficAttrs(t *hub.Traffic) []slog.Attr {
	if t == nil {
		return nil
	}
	return []slog.Attr{slog.Duration("duration", t.Duration), slog.Uint64("in", t.In), slog.Uint64("out", t.Out)}
}

// failed logs a connection that did not become a client, at most failuresPerSecond. A client that
// merely went away, such as in the middle of a handshake, is logged at debug level only.
func (l *log) failed(info *Info, err error) {
	level := slog.LevelInfo
	if hasLeft(err) {
		level = slog.LevelDebug
	}
	if level < slog.LevelInfo && l.enabled(level) || level >= slog.LevelInfo && l.allow(level) {
		l.write(level, "client failed", append(infoAttrs(info), errorAttr(err)...)...)
	}
}

// hasLeft reports whether err means only that the peer ended the connection. A TLS alert (RFC
// 8446, section 6) counts too: the peer may not trust our certificate, for example.
func hasLeft(err error) bool {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" {
		return true
	}
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// remoteName returns the remote address of a client as text. A client of a Unix socket has no
// address and gets the name that Linux prints, unix:@.
func remoteName(remote netip.AddrPort) string {
	if !remote.IsValid() {
		return "unix:@"
	}
	return remote.String()
}

// ours returns err without any words of the client. An error that may quote input or a panic value
// is replaced by its type.
func ours(err error) error {
	closed, ok := errors.AsType[*websocket.CloseError](err)
	refusal, refused := errors.AsType[*handlers.Refusal](err)
	switch {
	case refused:
		f, _ := handlers.FarewellOf(refusal)
		return fmt.Errorf("refused with status %d", f.Status)
	case ok:
		return fmt.Errorf("websocket: closed with code %d", closed.Code)
	case errors.Is(err, tlsd.ErrALPN):
		return tlsd.ErrALPN // the error of crypto/tls that it wraps quotes the list of the client
	case errors.Is(err, handlers.ErrPanic):
		return handlers.ErrPanic
	}
	if suspect := suspectOf(err); suspect != nil {
		return fmt.Errorf("%T", suspect)
	}
	return err
}

// suspectOf returns the first error in the chain of err whose type may quote a client, or nil.
func suspectOf(err error) error {
	switch err.(type) {
	case nil, *net.OpError, *os.SyscallError, syscall.Errno, tls.RecordHeaderError:
		return nil
	}
	t := reflect.TypeOf(err)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	path := t.PkgPath()
	if !strings.HasPrefix(path, ourModule) && !slices.Contains([]string{"errors", "fmt", "internal/poll", "context"}, path) {
		return err
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return suspectOf(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if suspect := suspectOf(inner); suspect != nil {
				return suspect
			}
		}
	}
	return nil
}

// ourModule is the path prefix of our own packages.
const ourModule = "github.com/portluck/portluck/"

// LogError logs an error of a handler. info is nil if the error concerns no client, such as an
// error of the system.
func (l *log) LogError(info *Info, err error) {
	_, panicked := errors.AsType[*handlers.PanicError](err)
	switch {
	case panicked:
		l.panicked(info, err)
	case info != nil:
		l.failed(info, err)
	case l.allow(slog.LevelWarn):
		l.write(slog.LevelWarn, "handler failed", errorAttr(err)...)
	}
}

// unmatched logs a connection that no route took.
func (l *log) unmatched(info *Info) {
	if l.allow(slog.LevelInfo) {
		l.write(slog.LevelInfo, "no route", infoAttrs(info)...)
	}
}

// panicked logs a panic in code of the program: its stack and the type of its value, not the
// value, which may hold what a client sent. Clients may cause many panics, so it writes one line a
// second, with the number of panics that got no line. It does not log other errors, panics that
// were logged before, and http.ErrAbortHandler, with which a handler aborts an answer. info is nil
// if no connection is concerned.
func (l *log) panicked(info *Info, err error) {
	p, ok := errors.AsType[*handlers.PanicError](err)
	if !ok || p.Value == http.ErrAbortHandler || !p.First() || p.Value == nil && l.exits.again(p.Stack) {
		return
	}
	l.panics.Add(1)
	now, from := int64(time.Since(l.start)), l.panicAt.Load()
	if now < from || !l.enabled(slog.LevelError) || !l.panicAt.CompareAndSwap(from, now+int64(time.Second)) {
		l.unlogged.Add(1)
		return
	}
	line := []slog.Attr{
		slog.String(zerolog.ErrorFieldName, fmt.Sprintf("%v: %s", handlers.ErrPanic, p.Kind())),
		slog.String("stack", string(p.Stack)),
	}
	if n := l.unlogged.Swap(0); n > 0 {
		line = append(line, slog.Uint64("unlogged", n))
	}
	if info != nil {
		line = append(line, infoAttrs(info)...)
	}
	l.write(slog.LevelError, "panic in the program", line...)
}

// exits remembers the last goroutines that ended themselves with runtime.Goexit, since each guard
// on the way up sees the same exit.
type exits struct {
	mu   sync.Mutex
	last [64]string // their names, in a ring
	at   int
}

// again reports whether the exit of the goroutine whose stack this is was seen before.
func (e *exits) again(stack []byte) bool {
	name, _, _ := strings.Cut(string(stack[:min(len(stack), 64)]), " [") // goroutine 18 [running]:
	e.mu.Lock()
	defer e.mu.Unlock()
	if slices.Contains(e.last[:], name) {
		return true
	}
	e.last[e.at%len(e.last)] = name
	e.at++
	return false
}

func (l *log) accept(err error, wait time.Duration) {
	if l.allow(slog.LevelWarn) {
		l.write(slog.LevelWarn, "accept failed", append(errorAttr(err), slog.Duration("wait", wait))...)
	}
}

// allow reports whether one more line of this level may be written in this second.
func (l *log) allow(level slog.Level) bool {
	if !l.enabled(level) {
		return false
	}
	for {
		second := uint64(time.Since(l.start)/time.Second) << 32
		old := l.window.Load()
		next := max(old, second) + 1 // a caller that is late counts in the present second
		if uint32(next) > failuresPerSecond {
			return false
		}
		if l.window.CompareAndSwap(old, next) {
			return true
		}
	}
}
