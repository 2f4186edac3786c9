package loop

import (
	"errors"
	"io"
	"testing"

	"github.com/portluck/portluck/handlers"
)

var (
	errFirst  = errors.New("the first reason")
	errSecond = errors.New("the second reason")
)

// endings lists the ways in which the server may end a connection, with the error that Disconnect
// then gets.
var endings = []struct {
	name string
	end  func(r *rig, c Conn, err error)
	want func(err error) error
}{
	{"Quit", func(_ *rig, c Conn, err error) { c.Quit(err) }, func(err error) error { return err }},
	{"Destroy", func(_ *rig, c Conn, _ error) { c.Destroy() }, func(error) error { return nil }},
	{"Close", func(r *rig, _ Conn, _ error) { r.Close() }, func(error) error { return handlers.ErrShutdown }},
}

// If there are two reasons to end a connection, Disconnect gets the first.
func TestDriversFirstReason(t *testing.T) {
	for _, second := range endings {
		for _, first := range endings {
			t.Run("after "+first.name+" "+second.name, func(t *testing.T) {
				eachDriver(t, noBounds, func(t *testing.T, r *rig) {
					c, rec, client := r.lines(t)
					rec.onMessage = func(handlers.Message) error {
						first.end(r, c, errFirst)
						second.end(r, c, errSecond)
						return nil
					}
					start(c, rec)
					mustWrite(t, client, "a\n")
					_, _ = io.ReadAll(client)
					client.Close()
					wantReason(t, rec, first.want(errFirst))
				})
			})
		}
		for name, event := range map[string]func() error{
			"an error":       func() error { return errFirst },
			"a panic":        func() error { panic(errFirst) },
			"a client's end": func() error { return io.ErrUnexpectedEOF },
		} {
			t.Run("after "+name+" "+second.name, func(t *testing.T) {
				eachDriver(t, noBounds, func(t *testing.T, r *rig) {
					c, rec, client := r.lines(t)
					rec.onMessage = func(handlers.Message) error { return event() }
					start(c, rec)
					mustWrite(t, client, "a\n")
					_, _ = io.ReadAll(client) // the server has ended its half, and waits for the client's end
					second.end(r, c, errSecond)
					client.Close()
					want := errFirst
					switch name {
					case "a panic":
						want = handlers.ErrPanic
					case "a client's end":
						want = io.ErrUnexpectedEOF
					}
					wantReason(t, rec, want)
				})
			})
		}
	}
}

// A reset by the peer after another reason does not replace that reason.
func TestDriversResetAfterReason(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		if r.tls {
			return // the reset then comes from the connection below
		}
		c, rec, client := r.lines(t)
		rec.onMessage = func(handlers.Message) error {
			_ = c.Send(make([]byte, 1<<16), handlers.Auto)
			return errFirst
		}
		start(c, rec)
		mustWrite(t, client, "a\nunread")
		mustRead(t, client, "\x00")
		_ = client.(interface{ SetLinger(int) error }).SetLinger(0)
		client.Close()
		wantReason(t, rec, errFirst)
	})
}

func wantReason(t *testing.T, rec *recorder, want error) {
	t.Helper()
	<-rec.gone
	if got := rec.err; !errors.Is(got, want) || want == nil && got != nil {
		t.Errorf("Disconnect(%v), want %v", got, want)
	}
}
