package httpd

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// port is a handlers.Port that records its clients and lets the test answer them.
type port struct {
	connect    func(s handlers.Response) error
	message    func(msg string, s handlers.Response) error
	disconnect func(s handlers.Response)

	mu     sync.Mutex
	seen   []string
	info   *handlers.Info    // the last client's
	stream handlers.Response // the last client's
	quiet  bool              // record nothing
	more   chan struct{}     // gets a value for a new event
}

func (p *port) note(s string) {
	if p.quiet {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, s)
	select {
	case p.more <- struct{}{}:
	default:
	}
}

func (p *port) events() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}

// wait waits until there are n events.
func (p *port) wait(t *testing.T, n int) []string {
	t.Helper()
	late := time.After(time.Minute)
	for {
		got := p.events()
		if len(got) >= n {
			return got
		}
		select {
		case <-p.more:
		case <-late:
			t.Fatalf("events %q, want %d", got, n)
		}
	}
}

func (p *port) Attach(handlers.Conn, handlers.Attachment) { panic("not used") }
func (p *port) Route(handlers.Conn)                       { panic("not used") }
func (p *port) Go(f func())                               { go f() }
func (p *port) Fail(_ *handlers.Info, err error)          { p.note("fail " + err.Error()) }

func (p *port) Connect(info *handlers.Info, stream handlers.Stream) (handlers.Client, error) {
	s := stream.(handlers.Response)
	p.mu.Lock()
	p.info, p.stream = info, s
	p.mu.Unlock()
	p.note("connect " + info.Protocol)
	if p.connect != nil {
		if err := p.connect(s); err != nil {
			return nil, err
		}
	}
	return &client{p, s}, nil
}

type client struct {
	p *port
	s handlers.Response
}

func (c *client) Message(m handlers.Message) error {
	c.p.note("message " + m.String())
	if c.p.message != nil {
		return c.p.message(m.String(), c.s)
	}
	return nil
}

func (c *client) Disconnect(err error) {
	if c.p.disconnect != nil {
		c.p.disconnect(c.s)
	}
	if err != nil {
		c.p.note("disconnect: " + err.Error())
		return
	}
	c.p.note("disconnect")
}

func echo(msg string, s handlers.Response) error { return s.Send([]byte(msg), handlers.Auto) }

// conn is a handlers.Conn that counts the calls of Close.
type conn struct {
	net.Conn
	info   handlers.Info
	closes atomic.Int32
	closed chan struct{}
}

func newConn(nc net.Conn) *conn {
	c := &conn{Conn: nc, closed: make(chan struct{})}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		c.info.Remote = a.AddrPort()
	}
	if t, ok := nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		c.info.TLS = &state
	}
	return c
}

func (c *conn) Info() *handlers.Info       { return &c.info }
func (c *conn) NetConn() (net.Conn, error) { return c.Conn, nil }
func (c *conn) Close() error {
	if c.closes.Add(1) == 1 {
		defer close(c.closed)
	}
	return c.Conn.Close()
}

// serve serves h for p on a port of loopback. It returns its address, and its connections as they
// come.
func serve(t testing.TB, h *Handler, p *port) (addr string, conns chan *conn) {
	t.Helper()
	return serveLayer(t, h, p, func(nc net.Conn) (net.Conn, error) { return nc, nil })
}

// serveTLS is serve inside TLS.
func serveTLS(t testing.TB, h *Handler, p *port) (addr string, conns chan *conn) {
	t.Helper()
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"h2", "http/1.1"}}
	return serveLayer(t, h, p, func(nc net.Conn) (net.Conn, error) {
		c := tls.Server(nc, cfg)
		return c, c.Handshake()
	})
}

func serveLayer(t testing.TB, h *Handler, p *port, layer func(net.Conn) (net.Conn, error)) (addr string, conns chan *conn) {
	t.Helper()
	p.more = make(chan struct{}, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns = make(chan *conn, 100)
	done := make(chan struct{})
	go func() { // ends when the listener is closed
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			inner, err := layer(nc)
			if err != nil {
				nc.Close()
				continue
			}
			c := newConn(inner)
			conns <- c
			h.Serve(c, p)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		h.Close()
	})
	return l.Addr().String(), conns
}

// certificate makes a certificate for 127.0.0.1.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// wire is a raw connection to the server.
type wire struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return &wire{c, t, bufio.NewReader(c)}
}

// pipe returns a connection in memory, for tests in a bubble.
func pipe(t *testing.T, h *Handler, p *port) (*wire, *conn) {
	t.Helper()
	p.more = make(chan struct{}, 1)
	ours, theirs := net.Pipe()
	c := newConn(ours)
	c.info.Remote = netip.MustParseAddrPort("192.0.2.1:1234")
	h.Serve(c, p)
	return &wire{theirs, t, bufio.NewReader(theirs)}, c
}

func (w *wire) send(s string) {
	w.t.Helper()
	if _, err := io.WriteString(w.Conn, s); err != nil {
		w.t.Fatal(err)
	}
}

// head reads the head of an answer.
func (w *wire) head() *http.Response {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

// answer reads a whole answer.
func (w *wire) answer() (*http.Response, string) {
	w.t.Helper()
	resp := w.head()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("body %q: %v", b, err)
	}
	return resp, string(b)
}

// expect reads an answer and checks its status and body.
func (w *wire) expect(status int, body string) *http.Response {
	w.t.Helper()
	resp, got := w.answer()
	if resp.StatusCode != status || got != body {
		w.t.Errorf("answer %d %q, want %d %q", resp.StatusCode, got, status, body)
	}
	return resp
}

func post(body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

const chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

func (w *wire) halfClose() {
	w.t.Helper()
	if err := w.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		w.t.Fatal(err)
	}
}
