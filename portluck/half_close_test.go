package portluck

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/httpd"
	"github.com/portluck/portluck/testdata/need"
)

// halfConn is a client's connection whose half the client can close.
type halfConn interface {
	net.Conn
	CloseWrite() error
}

// waitingRoom is a server of event streams and long polls. It learns when the client of a request
// has closed its half.
type waitingRoom struct {
	addr  string
	hub   *Hub
	asked chan (<-chan struct{})
}

func newWaitingRoom(t *testing.T, network string, goroutines bool) *waitingRoom {
	t.Helper()
	w := &waitingRoom{asked: make(chan (<-chan struct{}), 10)}
	w.hub = &Hub{}
	w.hub.RoomOptions = func(string) RoomOptions { return RoomOptions{History: 3} }
	w.hub.Room("lobby").Publish(TextMessage("before"))
	s := &Server{Hub: w.hub, TLSConfig: withTLS(), Goroutines: goroutines, PingInterval: -1}
	s.RoomOf = func(r *http.Request) (string, bool) {
		w.asked <- httpd.Ended(r)
		return "lobby", true
	}
	where := "127.0.0.1:0"
	if network == "unix" {
		where = filepath.Join(t.TempDir(), "socket")
	}
	l := must(net.Listen(network, where))
	w.addr = l.Addr().String()
	serveOn(t, s, l)
	return w
}

// ended waits until the server has noticed that the client of the last request has closed its half.
func (w *waitingRoom) ended(t *testing.T) {
	t.Helper()
	late := time.After(patience)
	select {
	case ended := <-w.asked:
		select {
		case <-ended:
			return
		case <-late:
		}
	case <-late:
	}
	t.Fatal("the server has not seen the end of the client's half")
}

// halfWays are the ways into the port on which a client can close its half.
var halfWays = []struct {
	name, network string
	dial          func(t *testing.T, addr string) halfConn
}{
	{"plain", "tcp", func(t *testing.T, addr string) halfConn { return dial(t, addr) }},
	{"Unix", "unix", func(t *testing.T, addr string) halfConn {
		c := must(net.Dial("unix", addr)).(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		return c
	}},
	{"TLS", "tcp", func(t *testing.T, addr string) halfConn { return dialTLS(t, addr) }},
	{"TLS, http/1.1", "tcp", func(t *testing.T, addr string) halfConn { return dialTLS(t, addr, "http/1.1") }},
}

// eachHalfWay runs a test over each way in, driver, and place of a request on its connection.
func eachHalfWay(t *testing.T, test func(t *testing.T, w *waitingRoom, c halfConn, first string)) {
	t.Parallel()
	for _, way := range halfWays {
		for _, goroutines := range []bool{false, true} {
			for name, first := range map[string]string{"first": "", "second": "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"} {
				t.Run(fmt.Sprintf("%s, goroutines %t, %s request", way.name, goroutines, name), func(t *testing.T) {
					w := newWaitingRoom(t, way.network, goroutines)
					test(t, w, way.dial(t, w.addr), first)
				})
			}
		}
	}
}

// afterFirst skips the answer to first, and returns the next one.
func afterFirst(t *testing.T, c net.Conn, first string) *http.Response {
	t.Helper()
	in := bufio.NewReader(c)
	if first != "" {
		resp := must(http.ReadResponse(in, nil))
		must(io.Copy(io.Discard, resp.Body))
	}
	return must(http.ReadResponse(in, nil))
}

// A long poll whose client has closed its half is answered when a message comes.
func TestHalfClosedPoll(t *testing.T) {
	eachHalfWay(t, func(t *testing.T, w *waitingRoom, c halfConn, first string) {
		room := w.hub.Room("lobby")
		send(t, c, first+"GET /?since="+room.Position().String()+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		w.ended(t)
		room.Publish(TextMessage("after"))
		if body := string(must(io.ReadAll(afterFirst(t, c, first).Body))); body != "after\n" {
			t.Errorf("answer %q", body)
		}
	})
}

// An event stream whose client has closed its half goes on until the client is gone.
func TestHalfClosedEvents(t *testing.T) {
	eachHalfWay(t, func(t *testing.T, w *waitingRoom, c halfConn, first string) {
		send(t, c, first+"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		w.ended(t)
		in := bufio.NewReader(afterFirst(t, c, first).Body)
		if text, _ := event(t, in); text != "data: before" {
			t.Errorf("history %q", text)
		}
		for i := range 3 {
			w.hub.Room("lobby").Publish(TextMessage(fmt.Sprint(i)))
			if text, _ := event(t, in); text != fmt.Sprint("data: ", i) {
				t.Errorf("event %q, want %d", text, i)
			}
		}
		c.Close()
		w.hub.Room("lobby").Publish(TextMessage("to nobody"))
		eventually(t, "the client is gone", func() bool { return w.hub.Len() == 0 })
	})
}

// A client of an event stream that closes its connection is gone at once, although at first that
// looks as if it had closed its half only.
func TestClosedEvents(t *testing.T) {
	eachHalfWay(t, func(t *testing.T, w *waitingRoom, c halfConn, first string) {
		send(t, c, first+"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
		in := bufio.NewReader(afterFirst(t, c, first).Body)
		if line, err := in.ReadString('\n'); err != nil {
			t.Fatalf("read %q, %v", line, err)
		}
		c.Close()
		eventually(t, "the client is gone", func() bool { return w.hub.Len() == 0 })
	})
}

// nc -N closes its half at the end of its input, and still gets the answer.
func TestHalfClosedByPrograms(t *testing.T) {
	t.Parallel()
	w := newWaitingRoom(t, "tcp", false)
	room := w.hub.Room("lobby")
	host, port, _ := net.SplitHostPort(w.addr)
	nc := need.Program(t, "nc")
	for _, request := range []string{
		"GET /?since=" + room.Position().String() + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n",
	} {
		cmd := exec.CommandContext(t.Context(), nc, "-N", host, port)
		cmd.Stdin = strings.NewReader(request)
		out := must(cmd.StdoutPipe())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.ended(t)
		room.Publish(TextMessage("to nc"))
		if all := readUntil(out, "to nc\n"); !strings.Contains(all, "to nc\n") {
			t.Errorf("%q: nc -N got %q", request, all)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// readUntil reads until it has read end.
func readUntil(r io.Reader, end string) string {
	var all []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(all, []byte(end)) {
		if _, err := io.ReadFull(r, one); err != nil {
			break
		}
		all = append(all, one...)
	}
	return string(all)
}
