package portluck

import (
	"context"
	"errors"
	"math"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/httpd"
	"github.com/portluck/portluck/handlers/loop"
	"github.com/portluck/portluck/portluck/hub"
)

// eventStream is the media type of server-sent events (HTML Living Standard, section 9.2).
const eventStream = "text/event-stream"

// maxEvents is how many bytes of events may be queued for a client. Beyond that the room keeps the
// messages.
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
		info, err := p.admitted(r.Context(), info, w.Header())
		if err != nil {
			refuseRequest(w, err)
			return
		}
		h, _ := p.hubOf(info) // admitted has refused a client whose HubOf panics
		if poll {
			p.poll(w, r, h.Room(name), info)
			return
		}
		p.events(w, r, h.Room(name), info)
	})
}

// events makes the request a client that is a member of room. The client gets the published
// messages as server-sent events.
func (p *port) events(w http.ResponseWriter, r *http.Request, room *Room, info *handlers.Info) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s := &sse{header: w.Header(), ready: make(chan struct{}, 1), cancel: cancel, rc: http.NewResponseController(w)}
	s.timeout, s.interval, s.h2 = p.srv.timeout(), p.srv.pingInterval(), r.ProtoMajor == 2
	b, _ := p.bindingOf(info)
	session := b.NewSession(info, s)
	if !p.mayJoin(w, session, room) {
		return
	}
	s.put([]byte(": connected\n\n"))
	if err := s.join(room, session.Client(), r.Header.Get("Last-Event-ID")); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		p.Fail(info, err)
		return
	}
	if r.URL.Query().Has("presence") {
		defer hub.WatchPresence(room, s.presence(session))()
	}
	header := w.Header()
	header.Set("Content-Type", eventStream)
	// a compressing proxy would hold events back
	header.Set("Cache-Control", "no-cache, no-transform")
	header.Set("X-Accel-Buffering", "no") // nginx would hold them back
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

// mayJoin reports whether the hub's OnJoin lets the client of s join room. If not, it answers the
// request.
func (p *port) mayJoin(w http.ResponseWriter, s *hub.Session, room *Room) bool {
	err := s.AskJoin(room)
	if err != nil {
		refuseRequest(w, err)
		p.Fail(s.Client().Info(), err)
	}
	return err == nil
}

// sse is the stream of a client that gets server-sent events.
type sse struct {
	header http.Header
	ready  chan struct{} // signals that out is not empty or the stream ends
	cancel func()

	rc      *http.ResponseController
	timeout time.Duration // how long one write to the client may take
	h2      bool

	interval time.Duration // between keep-alive comments of an idle stream; none if negative

	mu        sync.Mutex
	out       []byte
	feeds     []loop.Drainer
	ended     bool // nothing may be added
	destroyed bool
	over      bool // the response has ended: rc must not be used
}

var _ handlers.Response = (*sse)(nil)

// join makes c a member of room. If last, the Last-Event-ID, is not empty, c resumes after it.
func (s *sse) join(room *Room, c *Client, last string) error {
	if last == "" {
		return room.Join(c)
	}
	at, err := ParsePosition(last)
	missed := "after " + at.String() + " are no longer kept"
	if err != nil { // from another server, or from before a restart
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

// run writes events until the client leaves, or the program or the server ends the stream. A
// client that has closed its half may still read: run sends a comment at once to find out whether
// it is there.
func (s *sse) run(ctx context.Context, w http.ResponseWriter, halved, closed <-chan struct{}) error {
	_ = s.rc.SetReadDeadline(time.Time{}) // nothing more will be read
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

// write writes out, which take returned, and flushes it.
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
	// an expired HTTP/2 deadline resets the stream even if nothing is being written
	if s.h2 && !s.destroyed {
		_ = s.rc.SetWriteDeadline(time.Time{})
	}
	return err
}

// take returns the queued bytes and sets the deadline for writing them.
func (s *sse) take() (out []byte, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, s.out = s.out, nil
	if len(out) > 0 && s.timeout > 0 {
		_ = s.rc.SetWriteDeadline(time.Now().Add(s.timeout))
	}
	return out, s.ended
}

// drained calls Drained of the sources that wait for room.
func (s *sse) drained() {
	s.mu.Lock()
	feeds := s.feeds
	s.feeds = nil
	s.mu.Unlock()
	for _, f := range feeds {
		f.Drained()
	}
}

// close ends the response. It reports whether the program has called Destroy.
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

// Write sends p as one event, as an event stream has nothing but messages.
func (s *sse) Write(p []byte, k handlers.Kind) (int, error) {
	if err := s.TrySend(p, k); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Send sends p as one event. It does not wait: like TrySend it fails if too much is queued.
func (s *sse) Send(p []byte, k handlers.Kind) error { return s.TrySend(p, k) }

// TrySend is [handlers.Stream.TrySend].
func (s *sse) TrySend(p []byte, k handlers.Kind) error {
	return s.offer(eventFraming{}.AppendMessage(nil, p, k))
}

// offer queues the event p, unless too much is queued.
func (s *sse) offer(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return handlers.ErrClosed
	case len(s.out) > maxEvents:
		return handlers.ErrSlow
	}
	s.out = append(s.out, p...)
	s.wake()
	return nil
}

// End ends the response after all that was written.
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

// Destroy aborts the response.
func (s *sse) Destroy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		_ = s.rc.SetWriteDeadline(time.Unix(1, 0)) // ends a write that waits for the client
	}
	s.ended, s.destroyed, s.out = true, true, nil
	s.cancel()
}

// DoneAfterWrite does nothing: the response goes on until End.
func (s *sse) DoneAfterWrite() {}

// Done is End.
func (s *sse) Done() error { return s.End() }

// Header returns the header of the response, which can be changed in OnConnect.
func (s *sse) Header() http.Header { return s.header }

// WriteHeader does nothing: the status is always 200.
func (s *sse) WriteHeader(int) {}
