package httpd

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/portluck/portluck/handlers"
)

func TestShutdownFinishesRequests(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	p := &port{message: func(msg string, s handlers.Response) error {
		close(begun)
		<-end
		return echo(msg, s)
	}}
	h := &Handler{}
	addr, conns := serve(t, h, p)
	w := dial(t, addr)
	w.send(post("finish me"))
	<-begun
	down := make(chan error)
	go func() { down <- h.Shutdown(context.Background()) }() // ends when the request does
	close(end)
	w.expect(200, "finish me\n")
	if err := <-down; err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	<-(<-conns).closed
	if got := p.events(); len(got) != 3 || got[2] != "disconnect" {
		t.Errorf("events %q", got)
	}
}

func TestShutdownGivesUp(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	p := &port{message: func(string, handlers.Response) error {
		close(begun)
		<-end
		return nil
	}}
	h := &Handler{}
	addr, conns := serve(t, h, p)
	w := dial(t, addr)
	w.send(post("x"))
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown() = %v", err)
	}
	h.Close()
	close(end)
	<-(<-conns).closed
}

// Connections that come after the shutdown are closed, whether or not there were any before.
func TestServeAfterEnd(t *testing.T) {
	for name, end := range map[string]func(h *Handler) error{
		"Close": (*Handler).Close, "Shutdown": func(h *Handler) error { return h.Shutdown(context.Background()) },
	} {
		for _, before := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				h := &Handler{}
				addr, conns := serve(t, h, &port{message: echo})
				if before {
					w := dial(t, addr)
					w.send(post("x"))
					w.expect(200, "x\n")
					<-conns
				}
				if err := end(h); err != nil {
					t.Errorf("%s() = %v", name, err)
				}
				w := dial(t, addr)
				if _, err := w.r.ReadByte(); !errors.Is(err, io.EOF) {
					t.Errorf("ReadByte() = %v", err)
				}
				c := <-conns
				<-c.closed
				if n := c.closes.Load(); n != 1 {
					t.Errorf("closed %d times", n)
				}
			})
		}
	}
}
