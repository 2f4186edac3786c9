package portluck

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/portluck/portluck/handlers"
	"github.com/rs/zerolog"
)

// A Logger takes the lines that a [Server] and its [Hub] log; a *[slog.Logger] is one. Several
// goroutines call it at once, among them the ones that accept connections and drive clients: it
// must not block. A slow output belongs behind a queue. A panic in it costs the line only.
type Logger interface {
	// Enabled reports whether lines of this level are wanted.
	Enabled(ctx context.Context, level slog.Level) bool
	// LogAttrs takes one line: a constant message with the facts as attributes.
	LogAttrs(ctx context.Context, level slog.Level, msg string, attrs ...slog.Attr)
}

// zeroLogger is the Logger that writes to a [zerolog.Logger].
type zeroLogger struct{ l *zerolog.Logger }

// zeroLevel returns the zerolog level that corresponds to level.
func zeroLevel(level slog.Level) zerolog.Level {
	switch {
	case level < slog.LevelInfo:
		return zerolog.DebugLevel
	case level < slog.LevelWarn:
		return zerolog.InfoLevel
	case level < slog.LevelError:
		return zerolog.WarnLevel
	}
	return zerolog.ErrorLevel
}

// Enabled is [Logger.Enabled]. It does not ask the sampler, which would count the call.
func (z zeroLogger) Enabled(_ context.Context, level slog.Level) bool {
	return max(z.l.GetLevel(), zerolog.GlobalLevel()) <= zeroLevel(level)
}

// LogAttrs is [Logger.LogAttrs].
func (z zeroLogger) LogAttrs(_ context.Context, level slog.Level, msg string, attrs ...slog.Attr) {
	e := z.l.WithLevel(zeroLevel(level))
	for _, a := range attrs {
		switch a.Value.Kind() {
		case slog.KindString:
			e.Str(a.Key, a.Value.String())
		case slog.KindUint64:
			e.Uint64(a.Key, a.Value.Uint64())
		case slog.KindDuration:
			e.Dur(a.Key, a.Value.Duration())
		default:
			if err, ok := a.Value.Any().(error); ok {
				e.AnErr(a.Key, err)
				continue
			}
			e.Interface(a.Key, a.Value.Any())
		}
	}
	e.Msg(msg)
}

// writer returns the Logger that s writes to, or nil if nothing is logged.
func (s *Server) writer() Logger {
	switch {
	case s.Log != nil:
		return s.Log
	case s.Logger != nil:
		return zeroLogger{s.Logger}
	}
	return nil
}

// lines returns the log of s. The first call makes it.
func (s *Server) lines() *log {
	s.logging.Do(func() { s.log = newLog(s.writer()) })
	return s.log
}

// LogError logs err, an error of a node or server that has a port of its own and s as its Log. It
// follows the rules of the server's own lines: at most 20 about failures a second, and no words of
// a client. info describes the client concerned; it is nil if there is none. Any goroutine may
// call LogError at any time once the fields of s are set.
func (s *Server) LogError(info *Info, err error) { s.lines().LogError(info, err) }

// enabled reports whether lines of this level are wanted.
func (l *log) enabled(level slog.Level) (ok bool) {
	if l.to != nil {
		_ = handlers.Guard(func() { ok = l.to.Enabled(context.Background(), level) })
	}
	return ok
}

// write writes one line. A panic of the Logger is dropped.
func (l *log) write(level slog.Level, msg string, attrs ...slog.Attr) {
	_ = handlers.Guard(func() { l.to.LogAttrs(context.Background(), level, msg, attrs...) })
}

// errorAttr returns err as an attribute, without any words of the client.
func errorAttr(err error) []slog.Attr {
	if err == nil {
		return nil
	}
	return []slog.Attr{slog.Any(zerolog.ErrorFieldName, ours(err))}
}

// attrs returns attributes that identify a connection. route is empty until it is known.
func attrs(proto, route string, remote netip.AddrPort) []slog.Attr {
	all := []slog.Attr{slog.String("proto", proto), slog.String("remote", remoteName(remote))}
	if route != "" {
		all = append(all, slog.String("route", route))
	}
	return all
}

func infoAttrs(info *Info) []slog.Attr { return attrs(info.Scheme(), info.Route, info.Remote) }
