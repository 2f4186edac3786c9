package portluck

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"math"
	"net/http"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/httpd"
	"github.com/portluck/portluck/handlers/loop"
)

// eventStream is the media type of server-sent events (HTML Living Standard, section 9.2).
const eventStream = "text/event-stream"

// maxEvents is how many bytes of events wait for a client, before the room keeps them.
const maxEvents = 64 << 10

// streams is [httpd.Handler.Streams].
func (p *port) streams(r *http.Request, info *handlers.Info) http.Handler {
	poll := r.URL.Query().Has("since")
	if !poll && !accepts(r, eventStream, "text/html") {
		return nil
	}
	name, ok := p.srv.RoomOf(r)
	if !ok {
		return nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if poll {
			p.poll(w, r, p.hub.Room(name))
			return
		}
		p.events(w, r, p.hub.Room(name), info)
	})
}

// events makes a client of the request that is a member of room: what is published there it gets as
// events.
func (p *port) events(w http.ResponseWriter, r *http.Request, room *Room, info *handlers.Info) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s := &sse{header: w.Header(), ready: make(chan struct{}, 1), cancel: cancel, rc: http.NewResponseController(w)}
	s.timeout, s.interval, s.h2 = p.srv.timeout(), p.srv.pingInterval(), r.ProtoMajor == 2
	session := p.clients.NewSession(info, s)
	s.put([]byte(": connected\n\n"))
	if err := s.join(room, session.Client(), r.Header.Get("Last-Event-ID")); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		p.Fail(info, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", eventStream)
	header.Set("Cache-Control", "no-cache, no-transform") // what is compressed is kept back
	header.Set("X-Accel-Buffering", "no")                 // nginx would keep them back
	var err error
	_ = handlers.GuardExit(func() { err = session.Connect(nil) }, func(err error) {
		s.close()
		session.Disconnect(err)
	})
	if err == nil {
		err = s.run(ctx, w, httpd.Ended(r), p.closed)
	} else {
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
	destroyed := s.close()
	session.Disconnect(err)
	if destroyed {
		panic(http.ErrAbortHandler)
	}
}

// sse is the stream of a client of server-sent events.
type sse struct {
	header http.Header
	ready  chan struct{} // something is in out, or the stream ends
	cancel func()

	rc      *http.ResponseController
	timeout time.Duration // that the client has to read what is written
	h2      bool

	interval time.Duration // between signs of life of a stream that has nothing to tell; none if negative

	mu        sync.Mutex
	out       []byte
	feeds     []loop.Drainer
	ended     bool // nothing is added
	destroyed bool
	over      bool // the answer has ended: rc must not be used
}

var _ handlers.Response = (*sse)(nil)

// join makes c a member of room, from the event that it saw last if it says so.
func (s *sse) join(room *Room, c *Client, last string) error {
	if last == "" {
		return room.Join(c)
	}
	at, err := ParsePosition(last)
	missed := "after " + at.String() + " are no longer kept"
	if err != nil { // of another server, or of one before this
		at, missed = Position{}, "may be missing: the last one that was seen is not known here"
	}
	complete, err := room.JoinSince(c, at)
	if !complete {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.out = append([]byte("event: gap\ndata: messages "+missed+"\n\n"), s.out...)
	}
	return err
}

// run writes events until the client goes, or the program or the server ends the stream. A client
// that has ended its half may still read: a sign of life shows at once whether it is there.
func (s *sse) run(ctx context.Context, w http.ResponseWriter, halved, closed <-chan struct{}) error {
	_ = s.rc.SetReadDeadline(time.Time{}) // nothing more is to be read
	interval := s.interval
	if interval <= 0 {
		interval = math.MaxInt64
	}
	beat := time.NewTicker(interval)
	defer beat.Stop()
	for {
		out, ended := s.take()
		if len(out) > 0 {
			if err := s.write(w, out); err != nil {
				return err
			}
			s.drained()
			beat.Reset(interval)
			continue
		}
		if ended {
			return nil
		}
		select {
		case <-s.ready:
		case <-beat.C:
			s.put([]byte(":\n\n"))
		case <-halved:
			halved = nil
			s.put([]byte(":\n\n"))
		case <-ctx.Done():
			return nil
		case <-closed:
			return handlers.ErrShutdown
		}
	}
}

// write writes what take has taken.
func (s *sse) write(w http.ResponseWriter, out []byte) error {
	_, err := w.Write(out)
	if err == nil {
		err = s.rc.Flush()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return handlers.ErrSlow
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.h2 && !s.destroyed { // a deadline of HTTP/2 resets the stream also while nothing is written
		_ = s.rc.SetWriteDeadline(time.Time{})
	}
	return err
}

// take takes what is to be written, for which the client gets its time.
func (s *sse) take() (out []byte, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, s.out = s.out, nil
	if len(out) > 0 && s.timeout > 0 {
		_ = s.rc.SetWriteDeadline(time.Now().Add(s.timeout))
	}
	return out, s.ended
}

// drained tells those who feed the stream that there is room.
func (s *sse) drained() {
	s.mu.Lock()
	feeds := s.feeds
	s.feeds = nil
	s.mu.Unlock()
	for _, f := range feeds {
		f.Drained()
	}
}

// close is the end of the answer. It reports whether the program has destroyed it.
func (s *sse) close() (destroyed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.over, s.out, s.feeds = true, true, nil, nil
	return s.destroyed
}

func (s *sse) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// put queues p.
func (s *sse) put(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = append(s.out, p...)
	s.wake()
}

// Framing is [loop.Conn.Framing].
func (s *sse) Framing() handlers.Framing { return eventFraming{} }

// Feed is [loop.Conn.Feed].
func (s *sse) Feed(p []byte, f loop.FrameSource) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return 0, handlers.ErrClosed
	case len(s.out) > 0 && len(s.out)+len(p) > maxEvents:
		s.feeds = append(s.feeds, f)
		return 0, nil
	}
	s.out = append(s.out, p...)
	s.wake()
	return len(p), nil
}

// Write sends one event: a stream of events has only messages.
func (s *sse) Write(p []byte, k handlers.Kind) (int, error) {
	if err := s.TrySend(p, k); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Send sends one event. It does not wait: like TrySend it refuses when too much is queued.
func (s *sse) Send(p []byte, k handlers.Kind) error { return s.TrySend(p, k) }

// TrySend is [handlers.Stream.TrySend].
func (s *sse) TrySend(p []byte, k handlers.Kind) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return handlers.ErrClosed
	case len(s.out) > maxEvents:
		return handlers.ErrSlow
	}
	s.out = eventFraming{}.AppendMessage(s.out, p, k)
	s.wake()
	return nil
}

// End ends the answer after all that was written.
func (s *sse) End() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return handlers.ErrClosed
	}
	s.ended = true
	s.wake()
	return nil
}

// Destroy breaks the answer off.
func (s *sse) Destroy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		_ = s.rc.SetWriteDeadline(time.Unix(1, 0)) // it may wait for the client
	}
	s.ended, s.destroyed, s.out = true, true, nil
	s.cancel()
}

// DoneAfterWrite does nothing: the answer goes on until it is ended.
func (s *sse) DoneAfterWrite() {}

// Done is End.
func (s *sse) Done() error { return s.End() }

// Header is the answer's; it can be changed in OnConnect.
func (s *sse) Header() http.Header { return s.header }

// WriteHeader does nothing: the status is 200.
func (s *sse) WriteHeader(int) {}

// eventFraming frames messages as server-sent events. A message that is not UTF-8 is an event of
// type binary, in base64.
type eventFraming struct{}

// AppendMessage is [handlers.Framing.AppendMessage].
func (eventFraming) AppendMessage(dst, msg []byte, k handlers.Kind) []byte {
	if k == handlers.Binary && !printable(msg) || !utf8.Valid(msg) {
		dst = append(dst, "event: binary\ndata: "...)
		return append(base64.StdEncoding.AppendEncode(dst, msg), "\n\n"...)
	}
	for {
		i := bytes.IndexAny(msg, "\r\n")
		dst = append(dst, "data: "...)
		if i < 0 {
			return append(append(dst, msg...), "\n\n"...)
		}
		dst = append(append(dst, msg[:i]...), '\n')
		if msg[i] == '\r' && i+1 < len(msg) && msg[i+1] == '\n' {
			i++
		}
		msg = msg[i+1:]
	}
}

// AppendMessageAt also tells the position, which a client that comes again gives as Last-Event-ID:
// see [handlers.PositionFraming].
func (f eventFraming) AppendMessageAt(dst, msg []byte, k Kind, at Position) []byte {
	dst = append(append(append(dst, "id: "...), at.String()...), '\n')
	return f.AppendMessage(dst, msg, k)
}

// printable reports whether msg is text without control characters but line ends and tabs.
func printable(msg []byte) bool {
	return utf8.Valid(msg) && !bytes.ContainsFunc(msg, func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f
	})
}
