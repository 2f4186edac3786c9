package mesh

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/guarded/guardedtest"
)

// A connection or a listener of the program that panics or ends its goroutine costs one connection.
// The next one is served, and Close returns.
func TestConnPanics(t *testing.T) {
	for i, method := range slices.Repeat(slices.Concat(guardedtest.Methods, guardedtest.Listeners), 2) {
		exits := i >= len(guardedtest.Methods)+len(guardedtest.Listeners)
		for _, hello := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s exits %t hello %t", method, exits, hello), func(t *testing.T) {
				t.Parallel()
				inner, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				log := make(errorLog, 100)
				n := watchNode(t, &Node{Name: "x", ID: "0A", Hello: hello, Discovery: Static{}, CloseTimeout: time.Second, Log: log})
				n.Node.OnConnection = func(c *Conn) {
					_, _ = c.LocalAddr(), c.RemoteAddr()
					_, _ = io.Copy(c, c)
					c.Close()
				}
				if err := n.ListenOn(&guardedtest.Listener{Listener: inner, Method: method, Exits: exits}); err != nil {
					t.Fatal(err)
				}
				get(t, "listening", n.listening)
				echoed(t, inner.Addr().String(), hello)
				if got := echoed(t, inner.Addr().String(), hello); got != "hello" {
					t.Errorf("the second one is echoed %q", got)
				}
				if method != "Accept" {
					return
				}
				for to, errs := range map[string]<-chan error{"OnError": n.errors, "Log": log} {
					if err := get(t, to, errs); !errors.Is(err, handlers.ErrPanic) {
						t.Errorf("%s got %v, want ErrPanic", to, err)
					}
				}
			})
		}
	}
}

// errorLog is a [handlers.ErrorLogger].
type errorLog chan error

func (l errorLog) LogError(_ *handlers.Info, err error) {
	select {
	case l <- err:
	default:
	}
}

// echoed returns what a node echoes before the connection ends.
func echoed(t *testing.T, addr string, says bool) string {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if says {
		_, _ = io.WriteString(nc, hello("x", "0B"))
		if _, id, err := readHello(nc); id != "0A" || err != nil {
			return ""
		}
		_, _ = io.WriteString(nc, join)
		if word, err := readWord(nc); word != join || err != nil {
			return ""
		}
	}
	_, _ = io.WriteString(nc, "hello")
	got := make([]byte, len("hello"))
	n, _ := io.ReadFull(nc, got)
	return string(got[:n])
}
