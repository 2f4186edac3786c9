package portluck_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/raw"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck"
)

// netstrings is a codec of a text protocol: "5:hello," is the message hello. It keeps no state, so
// one value serves all connections.
type netstrings struct{}

// The longest message, and the longest length in front of it.
const (
	netstringLimit  = 64 << 10
	netstringDigits = len("65536")
)

// Decode leaves an incomplete message in in: the next call gets it again, with more bytes.
func (netstrings) Decode(in []byte, m *handlers.Messages) (n int, err error) {
	for n < len(in) {
		digits := bytes.IndexByte(in[n:], ':')
		if digits < 0 && len(in)-n <= netstringDigits {
			break
		}
		if digits < 1 || digits > netstringDigits {
			return n, handlers.ErrProtocol
		}
		size, err := strconv.ParseUint(string(in[n:n+digits]), 10, 32)
		if err != nil {
			return n, handlers.ErrProtocol
		}
		if size > netstringLimit {
			return n, handlers.ErrTooLong
		}
		begin := n + digits + 1
		end := begin + int(size)
		if end >= len(in) {
			break
		}
		if in[end] != ',' {
			return n, handlers.ErrProtocol
		}
		m.Deliver(handlers.Message{Data: in[begin:end]})
		n = end + 1
	}
	if m.EOF && n < len(in) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

// AppendWrite appends the bytes of [portluck.Writer.Write].
func (netstrings) AppendWrite(dst, p []byte, _ handlers.Kind) []byte { return append(dst, p...) }

// AppendMessage appends the message of [portluck.Writer.Send] as a netstring.
func (netstrings) AppendMessage(dst, msg []byte, _ handlers.Kind) []byte {
	return append(append(append(strconv.AppendInt(dst, int64(len(msg)), 10), ':'), msg...), ',')
}

// AppendClose tells the peer, in its own protocol, what was wrong.
func (c netstrings) AppendClose(dst []byte, reason error) []byte {
	switch reason {
	case handlers.ErrProtocol, handlers.ErrTooLong:
		return c.AppendMessage(dst, []byte("error: "+reason.Error()), handlers.Text)
	}
	return dst
}

// A protocol of the program's own beside the built-in ones: a matcher recognises its first bytes,
// and a codec reads and writes its messages.
func Example_codec() {
	hub := &portluck.Hub{
		OnMessage: func(m portluck.Message, w *portluck.Writer, _ *portluck.Client) {
			w.Send(portluck.TextMessage("you said " + m.String()))
		},
		OnDisconnect: func(c *portluck.Client, err error) { fmt.Println(c.Info().Route, "ends:", err) },
	}
	server := &portluck.Server{Hub: hub}
	server.Handle("netstrings", matchers.MatcherFunc(func(h matchers.Hello) matchers.Verdict {
		for i, b := range h.Bytes {
			switch {
			case b == ':' && i > 0:
				return matchers.Yes
			case b < '0' || b > '9' || i >= netstringDigits:
				return matchers.No
			}
		}
		return matchers.Need(len(h.Bytes) + 1)
	}), &raw.Handler{NewCodec: func(*handlers.Info) handlers.Codec { return netstrings{} }})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go server.Serve(l) // ends with Shutdown

	for _, says := range []string{"5:hello,6:wor\nld,", "1,000 lines\n", "3:abcd,", "99999:"} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			panic(err)
		}
		io.WriteString(c, says)
		c.(*net.TCPConn).CloseWrite()
		all, _ := io.ReadAll(c)
		fmt.Printf("%q\n", all)
		c.Close()
	}
	server.Shutdown(context.Background())
	// Unordered output:
	// "14:you said hello,15:you said wor\nld,"
	// netstrings ends: <nil>
	// "you said 1,000 lines\n"
	// raw ends: <nil>
	// "21:error: protocol error,"
	// netstrings ends: protocol error
	// "23:error: message too long,"
	// netstrings ends: message too long
}
