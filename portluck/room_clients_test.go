package portluck

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws/wsutil"
	"github.com/portluck/portluck/handlers"
)

// A room has clients of every kind, others come and go, and several publish at once. No member
// misses a message or gets one twice, and the messages of each publisher come in order.
func TestRoomOfAllKinds(t *testing.T) {
	t.Parallel()
	const publishers, each = 4, 300
	h := &Hub{RoomOptions: func(string) RoomOptions { return RoomOptions{Policy: Backpressure} }}
	r := h.Room("all")
	h.OnConnect = func(_ *Writer, c *Client) { r.Join(c) }
	addr := serve(t, &Server{Hub: h, TLSConfig: withTLS()})
	var readers []io.Reader
	for range 3 {
		c := must(tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}))
		t.Cleanup(func() { c.Close() })
		fmt.Fprintln(c, "hello")
		raw := dial(t, addr)
		fmt.Fprintln(raw, "hello")
		readers = append(readers, c, raw, wsLines(dialWS(t, "ws://"+addr)), wsLines(dialWS(t, "wss://"+addr)))
	}
	eventually(t, "everybody is there", func() bool { return r.Len() == len(readers) })
	stop := make(chan struct{})
	var wg, pass sync.WaitGroup
	for range 2 {
		pass.Go(func() { // ends when everything was published
			for {
				select {
				case <-stop:
					return
				default:
					c := must(net.Dial("tcp", addr))
					fmt.Fprintln(c, "passing")
					c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
					io.Copy(io.Discard, c)
					c.Close()
				}
			}
		})
	}
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				r.Publish(TextMessage(fmt.Sprint(p, " ", i, strings.Repeat(".", i))))
			}
		})
	}
	for i, reader := range readers {
		wg.Go(func() {
			next := [publishers]int{}
			in := bufio.NewReader(reader)
			for range publishers * each {
				line, err := in.ReadString('\n')
				var p, n int
				if _, scanErr := fmt.Sscanf(line, "%d %d", &p, &n); err != nil || scanErr != nil || next[p] != n {
					t.Errorf("reader %d: %q, %v, want number %d", i, line, err, next[p])
					return
				}
				next[p]++
			}
		})
	}
	wg.Wait()
	close(stop)
	pass.Wait()
}

// wsLines returns the messages of a WebSocket as lines.
func wsLines(c *wsClient) io.Reader {
	r, w := io.Pipe()
	go func() { // ends when the connection does
		for {
			p, _, err := wsutil.ReadServerData(c)
			if err != nil {
				w.CloseWithError(err)
				return
			}
			w.Write(append(p, '\n'))
		}
	}()
	return r
}

// A member that does not read does not hold up the others, and the memory for it is bounded.
func TestRoomStuckMember(t *testing.T) {
	t.Parallel()
	h := &Hub{}
	slow := make(chan error, 2)
	r := h.Room("x")
	h.OnConnect = func(_ *Writer, c *Client) { r.Join(c) }
	h.OnDisconnect = func(_ *Client, err error) {
		if err != nil {
			slow <- err
		}
	}
	addr := serve(t, &Server{Hub: h})
	stuck, reader := dial(t, addr), dial(t, addr)
	fmt.Fprintln(stuck, "hello")
	fmt.Fprintln(reader, "hello")
	eventually(t, "both are there", func() bool { return r.Len() == 2 })
	const size = 64 << 10
	ahead := make(chan struct{}, 4) // keeps the reader from falling behind
	go func() {                     // ends when the other one is gone
		for r.Len() == 2 {
			r.Publish(Message{Data: bytes.Repeat([]byte("x"), size)})
			ahead <- struct{}{}
		}
		r.Publish(TextMessage("end"))
	}()
	in := bufio.NewReaderSize(reader, 2*size)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "end\n" {
			break
		}
		if len(line) != size+1 {
			t.Fatalf("a line of %d bytes", len(line))
		}
		<-ahead
	}
	if err := <-slow; !errors.Is(err, handlers.ErrSlow) {
		t.Errorf("OnDisconnect got %v, want ErrSlow", err)
	}
}
