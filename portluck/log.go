package portluck

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
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
	"github.com/rs/zerolog"
)

// log writes what happens to the program's logger, and never what clients say. A nil log writes nothing.
type log struct {
	zerolog.Logger
	window   atomic.Int64  // unix seconds that lines counts in
	lines    atomic.Int32  // about failures
	failures atomic.Uint64 // of clients that the loop had and that did not connect
	meters   *sync.Map     // of *Client to *meter; nil unless disconnects are logged
	panicAt  atomic.Int64  // unix seconds of the last line about a panic
	panics   atomic.Uint64 // since then
}

// failuresPerSecond bounds what hostile clients can make us write.
const failuresPerSecond = 20

func newLog(l *zerolog.Logger) *log {
	if l == nil {
		return &log{Logger: zerolog.Nop()}
	}
	out := &log{Logger: *l}
	if max(l.GetLevel(), zerolog.GlobalLevel()) <= zerolog.DebugLevel { // a sampler is not asked: it counts
		out.meters = &sync.Map{}
	}
	return out
}

func (l *log) connect(c *Client) {
	if e := l.Debug(); e.Enabled() { // else the address would be allocated
		e.Uint64("id", c.id).Str("proto", c.Scheme()).Str("remote", remoteName(c.Remote())).Msg("connect")
	}
}

func (l *log) disconnect(c *Client, err error) {
	m := l.measured(c) // also when a sampler, or a level that was changed, leaves the line out
	if e := l.Debug(); e.Enabled() {
		e = e.Uint64("id", c.id).Str("proto", c.Scheme()).Str("remote", remoteName(c.Remote()))
		m.add(e).Err(ours(err)).Msg("disconnect")
	}
}

// failed logs a connection that did not become a client, failuresPerSecond at the most.
func (l *log) failed(info *Info, err error) {
	if l.allow() {
		l.Info().Str("proto", info.Scheme()).Str("remote", remoteName(info.Remote)).Err(ours(err)).Msg("client failed")
	}
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

// unmatched logs a connection that no route took.
func (l *log) unmatched(info *Info) {
	if l.allow() {
		l.Info().Str("remote", remoteName(info.Remote)).Msg("no route")
	}
}

// panicked logs a panic in code of the program: its stack and the type of its value, which may hold
// what a client sent. A client may cause many, so a line a second is written, with the number of
// those that had none. info is nil where no connection is concerned; other errors are not logged.
func (l *log) panicked(info *Info, err error) {
	p, ok := errors.AsType[*handlers.PanicError](err)
	if !ok {
		return
	}
	if now := time.Now().Unix(); l.panicAt.Swap(now) == now {
		l.panics.Add(1)
		return
	}
	e := l.Error().Err(p).Bytes("stack", p.Stack)
	if n := l.panics.Swap(0); n > 0 {
		e.Uint64("unlogged", n)
	}
	if info != nil {
		e.Str("proto", info.Scheme())
	}
	e.Msg("panic in the program")
}

func (l *log) accept(err error, wait time.Duration) {
	l.Warn().Err(err).Dur("wait", wait).Msg("accept failed")
}

func (l *log) allow() bool {
	if l.GetLevel() > zerolog.InfoLevel {
		return false
	}
	now := time.Now().Unix()
	if l.window.Swap(now) != now {
		l.lines.Store(0)
	}
	return l.lines.Add(1) <= failuresPerSecond
}
