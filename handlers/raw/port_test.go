package raw_test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/raw"
	"github.com/portluck/portluck/portluck"
)

// With AllowHalfOpen a client that has closed its half still gets what the program writes later,
// until the program ends the connection.
func TestHandlerAllowHalfOpen(t *testing.T) {
	for _, goroutines := range []bool{false, true} {
		t.Run(fmt.Sprintf("goroutines %t", goroutines), func(t *testing.T) {
			writers := make(chan *portluck.Writer, 1)
			gone := make(chan error, 1)
			srv := &portluck.Server{
				Goroutines: goroutines, OnUnmatched: &raw.Handler{AllowHalfOpen: true},
				Hub: &portluck.Hub{
					OnMessage:    func(_ portluck.Message, w *portluck.Writer, _ *portluck.Client) { writers <- w },
					OnDisconnect: func(_ *portluck.Client, err error) { gone <- err },
				},
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go func() { done <- srv.Serve(l) }()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			nc := c.(*net.TCPConn)
			if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			io.WriteString(nc, "the last line")
			nc.CloseWrite()
			w := <-writers
			time.AfterFunc(50*time.Millisecond, func() {
				w.WriteString("and ")
				w.WriteString("later\n")
				w.End()
			})
			if got, err := io.ReadAll(nc); string(got) != "and later\n" || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			if err := <-gone; err != nil {
				t.Errorf("OnDisconnect(%v)", err)
			}
			srv.Close()
			<-done
		})
	}
}
