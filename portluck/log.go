package portluck

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

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
}

// failuresPerSecond bounds what hostile clients can make us write.
const failuresPerSecond = 20

func newLog(l *zerolog.Logger) *log {
	if l == nil {
		return &log{Logger: zerolog.Nop()}
	}
	out := &log{Logger: *l}
	if l.Debug().Enabled() {
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
	if e := l.Debug(); e.Enabled() {
		e = e.Uint64("id", c.id).Str("proto", c.Scheme()).Str("remote", remoteName(c.Remote()))
		l.measured(c, e).Err(ours(err)).Msg("disconnect")
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

// ours is err without the words of the client.
func ours(err error) error {
	closed, ok := errors.AsType[*websocket.CloseError](err)
	switch {
	case ok:
		return fmt.Errorf("websocket: closed with code %d", closed.Code)
	case errors.Is(err, tlsd.ErrALPN):
		return tlsd.ErrALPN // behind it crypto/tls has the list
	}
	return err
}

// unmatched logs the first bytes, in hex, of a connection that no route took.
func (l *log) unmatched(info *Info, first []byte) {
	if l.allow() {
		l.Info().Str("remote", remoteName(info.Remote)).Str("first", hex.EncodeToString(first[:min(32, len(first))])).
			Msg("no route")
	}
}

func (l *log) panicked(info *Info, v any) {
	l.Error().Str("proto", info.Scheme()).Interface("panic", v).Bytes("stack", debug.Stack()).Msg("panic in a callback")
}

// handler is for a panic in a handler's goroutine.
func (l *log) handler(v any) {
	l.Error().Interface("panic", v).Bytes("stack", debug.Stack()).Msg("panic in a handler")
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
