package hub

import (
	"context"
	"net/http"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

// A Writer sends to one client. Any goroutine may call its methods at any time, also long after the
// callback that got the Writer has returned. Once the client has gone, or was ended, the methods
// that return an error return [handlers.ErrClosed].
//
// A client that does not read fills its queue. Write, WriteString and Send then wait, at most for
// the server's Timeout. For server-sent events and clients of datagrams they return
// [handlers.ErrSlow] at once instead. [Hub.Broadcast] does not wait.
type Writer Client

// Client returns the client that w sends to.
func (w *Writer) Client() *Client { return (*Client)(w) }

// Write sends the bytes of p as they are; to a WebSocket client as one binary message.
func (w *Writer) Write(p []byte) (int, error) { return w.write(p, handlers.Binary) }

// WriteString sends s as it is; to a WebSocket client as one text message.
func (w *Writer) WriteString(s string) (int, error) { return w.write([]byte(s), handlers.Text) }

func (w *Writer) write(p []byte, k handlers.Kind) (int, error) {
	n, err := w.stream.Write(p, k)
	w.Client().sent(n)
	return n, err
}

// Send sends m framed as the client's protocol frames messages: with a line end on a raw stream and
// in an HTTP response, as one text or binary message on WebSocket.
func (w *Writer) Send(m handlers.Message) error {
	err := w.stream.Send(m.Data, m.Kind)
	if err == nil {
		w.Client().sent(len(m.Data))
	}
	return err
}

// A drainer is a stream that knows how much its client has yet to read.
type drainer interface {
	Queued() (n int, ok bool)
	Drain(f loop.Drainer) bool
}

// Queued returns the number of bytes that wait for a raw or WebSocket client to read, besides those
// in the kernel. It is 0 for other clients.
func (w *Writer) Queued() int {
	d, ok := w.stream.(drainer)
	if !ok {
		return 0
	}
	n, _ := d.Queued()
	return n
}

// TrySend is Send without waiting. It reports whether the client's queue had room for m and the
// client is there.
func (w *Writer) TrySend(m handlers.Message) bool {
	return w.stream.TrySend(m.Data, m.Kind) == nil
}

// Drain waits until nothing is queued. It returns [handlers.ErrClosed] if the client goes before
// that, and the error of ctx if that ends first.
func (w *Writer) Drain(ctx context.Context) error {
	d, ok := w.stream.(drainer)
	if !ok {
		return nil
	}
	done := make(drained)
	if d.Drain(done) {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if _, ok := d.Queued(); !ok {
		return handlers.ErrClosed
	}
	return nil
}

// drained is a channel that is closed when the queue is empty.
type drained chan struct{}

// Drained is [loop.Drainer.Drained].
func (d drained) Drained() { close(d) }

// DoneAfterWrite keeps an HTTP response open until after the next write. It has no effect on other
// clients.
func (w *Writer) DoneAfterWrite() {
	if r, ok := w.stream.(handlers.Response); ok {
		r.DoneAfterWrite()
	}
}

// Done ends an HTTP response: nothing can be written after it. It has no effect on other clients.
func (w *Writer) Done() error {
	if r, ok := w.stream.(handlers.Response); ok {
		return r.Done()
	}
	return nil
}

// End ends the client in good order, after all that was written: it ends an HTTP response, sends
// close 1000 to a WebSocket client and FIN to a raw one. Messages that a raw client still sends are
// delivered.
func (w *Writer) End() error { return w.stream.End() }

// Destroy closes the client at once. It sends what the kernel takes of the queue at once; the rest
// is lost.
func (w *Writer) Destroy() { w.stream.Destroy() }

// Header returns the header of the HTTP response, which may be changed until the first write. It is
// nil for other clients, and setting a field of a nil header panics: check [Client.Request] first.
func (w *Writer) Header() http.Header {
	if r, ok := w.stream.(handlers.Response); ok {
		return r.Header()
	}
	return nil
}

// WriteHeader starts an HTTP response with this status. Without it the first write starts one with
// 200. It has no effect on other clients, and a second call has none at all.
func (w *Writer) WriteHeader(status int) {
	if r, ok := w.stream.(handlers.Response); ok {
		r.WriteHeader(status)
	}
}
