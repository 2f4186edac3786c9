package hub

import (
	"context"
	"net/http"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

// A Writer sends to one client. Its methods may be called by any goroutine at any time, also long
// after the callback that got it has returned; once the client is gone, or was ended, those with an
// error return [handlers.ErrClosed].
//
// A client that does not read fills its queue, and Write, WriteString and Send then wait for it,
// [Server.Timeout] at the most; for readers of server-sent events, pollers and clients of datagrams
// they return [handlers.ErrSlow] at once. [Hub.Broadcast] does not wait.
type Writer Client

// Client is the client that w writes to.
func (w *Writer) Client() *Client { return (*Client)(w) }

// Write sends exactly the bytes of p: to a raw client and in an HTTP response as they are, to a
// WebSocket client as one binary message.
func (w *Writer) Write(p []byte) (int, error) { return w.write(p, handlers.Binary) }

// WriteString is Write for text: a WebSocket client gets one text message.
func (w *Writer) WriteString(s string) (int, error) { return w.write([]byte(s), handlers.Text) }

func (w *Writer) write(p []byte, k handlers.Kind) (int, error) {
	n, err := w.stream.Write(p, k)
	w.Client().sent(n)
	return n, err
}

// Send sends one message as the client's protocol frames messages: with a line end on raw streams
// and in HTTP responses, as one text or binary message on WebSocket.
func (w *Writer) Send(m handlers.Message) error {
	err := w.stream.Send(m.Data, m.Kind)
	if err == nil {
		w.Client().sent(len(m.Data))
	}
	return err
}

// drainer is a stream that can tell when its client has read.
type drainer interface {
	Queued() (n int, ok bool)
	Drain(f loop.Feeder) bool
}

// Queued is how many bytes wait for a raw or WebSocket client to read, beyond what the kernel has
// taken: 0 means that whatever was written went to the kernel at once. It is 0 for other clients,
// whose writes wait.
func (w *Writer) Queued() int {
	d, ok := w.stream.(drainer)
	if !ok {
		return 0
	}
	n, _ := d.Queued()
	return n
}

// Drain waits until nothing is queued. It returns [handlers.ErrClosed] when the client has gone
// instead, or the error of ctx.
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

// drained is closed when the queue is empty.
type drained chan struct{}

// Drained is [loop.Feeder.Drained].
func (d drained) Drained() { close(d) }

// DoneAfterWrite keeps an HTTP response open until the next write has been made; elsewhere it does
// nothing.
func (w *Writer) DoneAfterWrite() { w.stream.DoneAfterWrite() }

// Done ends an HTTP response, after which nothing can be written. Other clients stay as they are.
func (w *Writer) Done() error { return w.stream.Done() }

// End says goodbye after all that was written: it ends an HTTP response, sends close 1000 to a
// WebSocket client and FIN to a raw one. What a raw client still sends is still delivered.
func (w *Writer) End() error { return w.stream.End() }

// Destroy closes the client at once. What the kernel does not take at once is lost.
func (w *Writer) Destroy() { w.stream.Destroy() }

// Header is the header of the HTTP response, to be changed before the first write. It is nil for
// other clients, and setting a nil header panics: ask [Client.Request] first.
func (w *Writer) Header() http.Header { return w.stream.Header() }

// WriteHeader starts an HTTP response with this status; without it the first write does, with 200.
// Elsewhere, or a second time, it does nothing.
func (w *Writer) WriteHeader(status int) { w.stream.WriteHeader(status) }
