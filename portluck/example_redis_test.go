package portluck_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/raw"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck"
)

// resp is the codec of Redis' protocol, RESP 2. A message is one whole command in the bytes of the
// client, which command parses. Replies are sent unchanged, because only the program knows which
// type of RESP they have.
type resp struct{ raw.Bytes }

// These bound what a client may ask for at once.
const (
	respArgs = 64
	respSize = 64 << 10
)

// Decode delivers each complete command.
func (resp) Decode(in []byte, m *handlers.Messages) (n int, err error) {
	for n < len(in) {
		_, size, err := command(in[n:])
		if err != nil {
			return n, err
		}
		if size == 0 {
			break
		}
		m.Deliver(handlers.Message{Data: in[n : n+size], Kind: handlers.Binary})
		n += size
	}
	if m.EOF && n < len(in) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

// AppendClose appends an error in the form of Redis.
func (resp) AppendClose(dst []byte, reason error) []byte {
	switch reason {
	case handlers.ErrProtocol, handlers.ErrTooLong, handlers.ErrOverload:
		return fmt.Appendf(dst, "-ERR %s\r\n", reason)
	}
	return dst
}

// command reads an array of bulk strings. size is 0 if more is to come.
func command(in []byte) (args []string, size int, err error) {
	count, n, err := respNumber(in, '*', respArgs)
	if n == 0 || err != nil {
		return nil, 0, err
	}
	for range count {
		length, head, err := respNumber(in[n:], '$', respSize)
		if head == 0 || err != nil {
			return nil, 0, err
		}
		begin := n + head
		if n = begin + length + 2; n > respSize {
			return nil, 0, handlers.ErrTooLong
		}
		if n > len(in) {
			return nil, 0, nil
		}
		if string(in[n-2:n]) != "\r\n" {
			return nil, 0, handlers.ErrProtocol
		}
		args = append(args, string(in[begin:n-2]))
	}
	return args, n, nil
}

// respNumber reads a line like "*3". n is 0 if more is to come.
func respNumber(in []byte, kind byte, limit int) (v, n int, err error) {
	if len(in) > 0 && in[0] != kind {
		return 0, 0, handlers.ErrProtocol
	}
	end := bytes.Index(in[:min(len(in), 12)], []byte("\r\n"))
	if end < 0 {
		if len(in) >= 12 {
			err = handlers.ErrProtocol
		}
		return 0, 0, err
	}
	u, err := strconv.ParseUint(string(in[1:end]), 10, 32)
	if err != nil {
		return 0, 0, handlers.ErrProtocol
	}
	if u > uint64(limit) {
		return 0, 0, handlers.ErrTooLong
	}
	return int(u), end + 2, nil
}

// A cache is a small Redis with strings and channels. The channels are rooms.
type cache struct {
	hub    portluck.Hub
	values sync.Map // string to string
}

func (s *cache) message(m portluck.Message, w *portluck.Writer, c *portluck.Client) {
	args, _, err := command(m.Data)
	if c.Info().Route != "redis" || err != nil || len(args) == 0 {
		return
	}
	switch name := strings.ToUpper(args[0]); {
	case name == "PING" && len(args) == 1:
		w.WriteString("+PONG\r\n")
	case name == "ECHO" && len(args) == 2:
		w.WriteString(bulk(args[1]))
	case name == "SET" && len(args) == 3:
		s.values.Store(args[1], args[2])
		w.WriteString("+OK\r\n")
	case name == "GET" && len(args) == 2:
		if v, ok := s.values.Load(args[1]); ok {
			w.WriteString(bulk(v.(string)))
		} else {
			w.WriteString("$-1\r\n")
		}
	case name == "SUBSCRIBE" && len(args) == 2:
		w.WriteString("*3\r\n" + bulk("subscribe") + bulk(args[1]) + ":1\r\n")
		s.hub.Room(args[1]).Join(c)
	case name == "PUBLISH" && len(args) == 3:
		room := s.hub.Room(args[1])
		fmt.Fprintf(w, ":%d\r\n", room.Len())
		room.Publish(portluck.TextMessage("*3\r\n" + bulk("message") + bulk(args[1]) + bulk(args[2])))
	default:
		w.WriteString("-ERR unknown command, or wrong number of arguments\r\n")
	}
}

// bulk returns s as a bulk string of RESP.
func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

// A server that speaks Redis' protocol, beside HTTP, WebSocket and raw lines on the same port.
func Example_redis() {
	s := &cache{}
	s.hub.OnMessage = s.message
	server := &portluck.Server{Hub: &s.hub}
	server.Handle("redis", matchers.Prefix("*"), &raw.Handler{NewCodec: func(*handlers.Info) handlers.Codec { return resp{} }})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go server.Serve(l) // ends with Shutdown
	defer server.Shutdown(context.Background())

	dial := func() (do func(lines int, args ...string), end func() error) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			panic(err)
		}
		in := bufio.NewReader(c)
		return func(lines int, args ...string) {
			if len(args) > 0 {
				fmt.Fprintf(c, "*%d\r\n", len(args))
			}
			for _, arg := range args {
				fmt.Fprintf(c, "$%d\r\n%s\r\n", len(arg), arg)
			}
			var all []string
			for range lines {
				line, _ := in.ReadString('\n')
				all = append(all, strings.TrimSpace(line))
			}
			fmt.Println(args, strings.Join(all, " "))
		}, c.Close
	}
	do, end := dial()
	defer end()
	other, endOther := dial()
	defer endOther()
	do(1, "PING")
	do(1, "SET", "key", "a value")
	do(2, "GET", "key")
	do(1, "GET", "nothing")
	do(1, "FLY")
	other(6, "SUBSCRIBE", "news")
	do(1, "PUBLISH", "news", "hello")
	other(7)
	// Output:
	// [PING] +PONG
	// [SET key a value] +OK
	// [GET key] $7 a value
	// [GET nothing] $-1
	// [FLY] -ERR unknown command, or wrong number of arguments
	// [SUBSCRIBE news] *3 $9 subscribe $4 news :1
	// [PUBLISH news hello] :1
	// [] *3 $7 message $4 news $5 hello
}
