package portluck

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A holder is a client whose message is incomplete.
type holder struct {
	nc   net.Conn
	fill func(n int) error // sends n bytes of it
	end  func() error      // sends the rest
	said func() string     // all that the server says
}

// holders are the ways to leave a message unfinished. Each message has a little more than size
// bytes.
var holders = []struct {
	name, refusal string // what the server says when there is no memory for it
	open          func(t *testing.T, addr string, size int) *holder
}{
	{"raw", "error: too many unfinished messages", func(t *testing.T, addr string, _ int) *holder {
		return hold(dial(t, addr), "", "\n")
	}},
	{"raw TLS", "error: too many unfinished messages", func(t *testing.T, addr string, _ int) *holder {
		return hold(dialTLS(t, addr), "", "\n")
	}},
	{"WebSocket", "\x03\xf5too many", func(t *testing.T, addr string, size int) *holder {
		return hold(dial(t, addr), handshakeOf(t)+frameHead(0x81, size+1), "x")
	}},
	{"WSS", "\x03\xf5too many", func(t *testing.T, addr string, size int) *holder {
		return hold(dialTLS(t, addr), handshakeOf(t)+frameHead(0x81, size+1), "x")
	}},
	{"fragments", "\x03\xf5too many", func(t *testing.T, addr string, _ int) *holder {
		h := hold(dial(t, addr), handshakeOf(t)+frameHead(1, 0), frameHead(0x80, 0))
		begin := h.fill
		h.fill = func(n int) error {
			if err := begin(0); err != nil {
				return err
			}
			for ; n > 0; n -= 1000 {
				if _, err := io.WriteString(h.nc, frameHead(0, 1000)+strings.Repeat("x", 1000)); err != nil {
					return err
				}
			}
			return nil
		}
		return h
	}},
	{"HTTP/1", "Retry-After: 1", func(t *testing.T, addr string, size int) *holder {
		return hold(dial(t, addr), fmt.Sprintf("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", size+1), "x")
	}},
	{"HTTPS", "503 Service Unavailable", func(t *testing.T, addr string, size int) *holder {
		head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", size)
		return hold(dialTLS(t, addr, "http/1.1"), head, "\r\n1\r\n\n\r\n")
	}},
	{"h2c", "503 too many unfinished messages", func(t *testing.T, addr string, _ int) *holder {
		return holdH2(t, addr, false)
	}},
	{"h2", "503 too many unfinished messages", func(t *testing.T, addr string, _ int) *holder {
		return holdH2(t, addr, true)
	}},
}

func hold(nc net.Conn, head, end string) *holder {
	h := &holder{nc: nc}
	h.fill = func(n int) error {
		_, err := io.WriteString(nc, head+strings.Repeat("x", n))
		head = ""
		return err
	}
	h.end = func() error {
		_, err := io.WriteString(nc, end)
		return err
	}
	h.said = func() string {
		all, _ := io.ReadAll(nc)
		return string(all)
	}
	return h
}

// holdH2 is a stream of a connection of its own.
func holdH2(t *testing.T, addr string, secure bool) *holder {
	h := &holder{}
	tr := h2Transport(secure, &h.nc)
	r, w := io.Pipe()
	answer := make(chan string, 1)
	go func() { answer <- h2Post(tr, addr, secure, r) }() // ends with the stream
	t.Cleanup(func() { w.CloseWithError(io.ErrUnexpectedEOF); tr.CloseIdleConnections() })
	h.fill = func(n int) error {
		_, err := io.WriteString(w, strings.Repeat("x", n))
		return err
	}
	h.end = func() error { return w.Close() }
	h.said = func() string {
		select {
		case s := <-answer:
			return s
		case <-time.After(time.Minute):
			return "nothing within a minute"
		}
	}
	return h
}

// h2Transport has one connection, which is *nc once there is one.
func h2Transport(secure bool, nc *net.Conn) *http.Transport {
	tr := &http.Transport{
		Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if nc != nil {
				*nc = c
			}
			return c, err
		},
	}
	tr.Protocols.SetHTTP2(secure)
	tr.Protocols.SetUnencryptedHTTP2(!secure)
	return tr
}

// h2Post returns the status and the text of the answer.
func h2Post(tr *http.Transport, addr string, secure bool, body io.Reader) string {
	scheme := "http://"
	if secure {
		scheme = "https://"
	}
	resp, err := (&http.Client{Transport: tr}).Post(scheme+addr, "", body)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return fmt.Sprint(resp.StatusCode, " ", string(text))
}

func handshakeOf(t *testing.T) string {
	t.Helper()
	return "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

// frameHead is that of a frame whose mask is zero.
func frameHead(first byte, n int) string {
	b := []byte{first, 0x80}
	switch {
	case n < 126:
		b[1] |= byte(n)
	case n < 1<<16:
		b[1] |= 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] |= 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return string(append(b, 0, 0, 0, 0))
}

// eachHolder runs test with every way to leave a message unfinished, on both drivers.
func eachHolder(t *testing.T, test func(t *testing.T, s *Server, i int)) {
	for _, goroutines := range []bool{false, true} {
		for i := range holders {
			t.Run(fmt.Sprintf("%s, goroutines %t", holders[i].name, goroutines), func(t *testing.T) {
				t.Parallel()
				test(t, &Server{Goroutines: goroutines, TLSConfig: withTLS()}, i)
			})
		}
	}
}

// A client that needs more than MaxPartial has left is refused. Clients that hold memory keep it.
func TestMaxPartial(t *testing.T) {
	const size, most = 300_000, 1 << 20 // room for two buffers of 256 KiB, but not for two of 512
	eachHolder(t, func(t *testing.T, s *Server, i int) {
		whole := make(chan int, 10)
		s.MaxPartial = most
		s.Hub = &Hub{OnMessage: func(m Message, _ *Writer, _ *Client) { whole <- len(m.Data) }}
		addr := serve(t, s)
		first := holders[i].open(t, addr, size)
		if err := first.fill(size); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the first client's part is held", func() bool { return s.Stats().Partial > size })
		second := holders[i].open(t, addr, size)
		go second.fill(size) // ends when it is sent, or refused
		if got := second.said(); !strings.Contains(got, holders[i].refusal) {
			t.Errorf("the second client is told %.300q, want %q", got, holders[i].refusal)
		}
		if st := s.Stats(); st.Partial > most || st.Overloads != 1 {
			t.Errorf("%d bytes are held of %d, %d clients were refused, want 1", st.Partial, most, st.Overloads)
		}
		if err := first.end(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a message", func() bool { return len(whole) > 0 })
		if got := <-whole; got < size {
			t.Errorf("a message of %d bytes, want at least %d", got, size)
		}
		eventually(t, "nothing is held", func() bool { return s.Stats().Partial == 0 })
	})
}

// A client gives back what it holds, however it ends.
func TestPartialIsGivenBack(t *testing.T) {
	reset := func(h *holder) {
		nc := h.nc
		if tc, ok := nc.(*tls.Conn); ok {
			nc = tc.NetConn()
		}
		_ = nc.(*net.TCPConn).SetLinger(0)
		nc.Close()
	}
	ends := map[string]func(t *testing.T, s *Server, h *holder){
		"end":      func(_ *testing.T, _ *Server, h *holder) { _ = h.end() },
		"close":    func(_ *testing.T, _ *Server, h *holder) { h.nc.Close() },
		"reset":    func(_ *testing.T, _ *Server, h *holder) { reset(h) },
		"too long": func(_ *testing.T, _ *Server, h *holder) { go h.fill(2 << 20) },
		"timeout":  func(*testing.T, *Server, *holder) {},
		"Close":    func(_ *testing.T, s *Server, _ *holder) { s.Close() },
		"Shutdown": func(t *testing.T, s *Server, _ *holder) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_ = s.Shutdown(ctx) // requests that never end must not hold it up
		},
	}
	eachHolder(t, func(t *testing.T, _ *Server, i int) {
		for name, end := range ends {
			s := &Server{Goroutines: strings.Contains(t.Name(), "true"), TLSConfig: withTLS(), Hub: &Hub{}}
			if name == "timeout" {
				s.MessageTimeout = 50 * time.Millisecond
			}
			addr := serve(t, s)
			h := holders[i].open(t, addr, 10_000)
			if err := h.fill(10_000); err != nil && name != "timeout" { // refused before all is sent
				t.Fatal(err)
			}
			eventually(t, name+": the part is held", func() bool { return s.Stats().Partial > 0 || name == "timeout" })
			end(t, s, h)
			eventually(t, name+": nothing is held", func() bool { return s.Stats().Partial == 0 })
			h.nc.Close()
		}
	})
}
