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

// log writes what happens to the program's logger, and never what clients say. A panic in the
// program is one line at the most each second.
type log struct {
	to       Logger        // nil: nothing is logged
	window   atomic.Int64  // unix seconds that lines counts in
	lines    atomic.Int32  // about failures
	failures atomic.Uint64 // connections and requests that did not become clients
	start    time.Time
	panicAt  atomic.Int64  // when a line about a panic may be written again, in nanoseconds from start
	panics   atomic.Uint64 // in all
	unlogged atomic.Uint64 // those since the last line about one
	exits    exits
}

// failuresPerSecond bounds what hostile clients can make us write.
const failuresPerSecond = 20

func newLog(to Logger) *log {
	return &log{to: to, start: time.Now()}
}

var _ hub.Log = (*log)(nil)

// Connected is [hub.Log.Connected].
func (l *log) Connected(s *hub.Session) {
	if l.enabled(slog.LevelDebug) { // else the address would be allocated
		l.write(slog.LevelDebug, "connect", clientAttrs(s)...)
	}
}

// Disconnected is [hub.Log.Disconnected].
func (l *log) Disconnected(s *hub.Session, t *hub.Traffic, err error) {
	if l.enabled(slog.LevelDebug) {
		l.write(slog.LevelDebug, "disconnect", slices.Concat(clientAttrs(s), trafficAttrs(t), errorAttr(err))...)
	}
}

// Failed is [hub.Log.Failed], and is for connections of which no client was made, too.
func (l *log) Failed(info *Info, err error) {
	if err != nil {
		l.failures.Add(1)
	}
	l.failed(info, err)
}

// clientAttrs says which client it is.
func clientAttrs(s *hub.Session) []slog.Attr {
	c := s.Client()
	return append([]slog.Attr{slog.Uint64("id", c.ID())}, attrs(c.Scheme(), s.Route(), c.Remote())...)
}

// trafficAttrs says what a client has sent and got; nothing if that was not counted.
func trafficAttrs(t *hub.Traffic) []slog.Attr {
	if t == nil {
		return nil
	}
	return []slog.Attr{slog.Duration("duration", t.Duration), slog.Uint64("in", t.In), slog.Uint64("out", t.Out)}
}

// failed logs a connection that did not become a client, failuresPerSecond at the most. That a
// client has gone away, in the middle of a handshake say, is its own business: it is told to who
// debugs.
func (l *log) failed(info *Info, err error) {
	level := slog.LevelInfo
	if hasLeft(err) {
		level = slog.LevelDebug
	}
	if level < slog.LevelInfo && l.enabled(level) || level >= slog.LevelInfo && l.allow(level) {
		l.write(level, "client failed", append(infoAttrs(info), errorAttr(err)...)...)
	}
}

// hasLeft reports whether err means no more than that the peer has ended the connection, also with
// an alert of TLS (RFC 8446, section 6): it does not know our certificate, say.
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

// remoteName is the remote address of a client. One that comes by a Unix socket has none: it is
// called what Linux calls it.
func remoteName(remote netip.AddrPort) string {
	if !remote.IsValid() {
		return "unix:@"
	}
	return remote.String()
}

// ours is err without the words of the client. An error that may quote what it could not read, or
// what somebody panicked with, is called by its type.
func ours(err error) error {
	closed, ok := errors.AsType[*websocket.CloseError](err)
	switch {
	case ok:
		return fmt.Errorf("websocket: closed with code %d", closed.Code)
	case errors.Is(err, tlsd.ErrALPN):
		return tlsd.ErrALPN // behind it crypto/tls has the list
	case errors.Is(err, handlers.ErrPanic):
		return handlers.ErrPanic
	}
	if suspect := suspectOf(err); suspect != nil {
		return fmt.Errorf("%T", suspect)
	}
	return err
}

// suspectOf is the error in the chain of err whose type may quote a client; nil if there is none.
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

// ourModule is where our packages are.
const ourModule = "github.com/portluck/portluck/"

// LogError logs an error of a handler. Without info it is no client's, but the system's, say.
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

// panicked logs a panic in code of the program: its stack and the type of its value, which may hold
// what a client sent. A client may cause many, so a line a second is written, with the number of
// those that had none. A panic that was logged before, http.ErrAbortHandler, which is how a handler
// breaks an answer off, and other errors are not logged. info is nil where no connection is
// concerned.
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

// exits are the goroutines that have ended themselves last. Each guard on the way up sees the end
// as one of its own.
type exits struct {
	mu   sync.Mutex
	last [64]string // their names, in a ring
	at   int
}

// again reports whether the end of the goroutine that stack is of was told before.
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

// allow reports whether one more line of this level is wanted in this second.
func (l *log) allow(level slog.Level) bool {
	if !l.enabled(level) {
		return false
	}
	now := time.Now().Unix()
	if l.window.Swap(now) != now {
		l.lines.Store(0)
	}
	return l.lines.Add(1) <= failuresPerSecond
}
