package portluck_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck"
)

// daytime is the handler of a small protocol: a client sends DAYTIME and gets the time.
type daytime struct{ now func() time.Time }

// Serve must return soon. So it waits for the peer in a goroutine, which Shutdown waits for.
func (d daytime) Serve(c handlers.Conn, p handlers.Port) {
	p.Go(func() {
		defer c.Close()
		nc, err := c.NetConn()
		if err != nil {
			p.Fail(c.Info(), err)
			return
		}
		_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
		var word [len("DAYTIME\n")]byte // the matcher has not consumed it
		if _, err := io.ReadFull(nc, word[:]); err != nil {
			p.Fail(c.Info(), err)
			return
		}
		fmt.Fprintln(nc, d.now().Format(time.RFC3339))
	})
}

// A handler of your own drives its connections itself; a [handlers.Codec] leaves that to the port.
func Example_handler() {
	srv := &portluck.Server{}
	noon := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	srv.Handle("daytime", matchers.Prefix("DAYTIME\n"), daytime{func() time.Time { return noon }})
	all, err := portluck.Listen("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- srv.Serve(all[0]) }()

	c, err := net.Dial("tcp", all[0].Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(c, "DAYTIME\n")
	answer, err := io.ReadAll(c)
	fmt.Printf("%q %v\n", answer, err)
	fmt.Println(srv.Shutdown(context.Background()), <-ended)
	// Output:
	// "2026-11-29T12:00:00Z\n" <nil>
	// <nil> portluck: server closed
}
