package loop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// bench is one way to drive a connection over real sockets. Every driver passes every test that
// uses eachDriver.
type bench struct {
	name   string
	driver Driver
	tls    bool
	server func(t *testing.T, nc *net.TCPConn) handlers.Conn
	// processors is GOMAXPROCS, unchanged if 0. With 1 the epoll driver waits in another way.
	processors int
}

var benches = []bench{
	{"goroutines", Goroutines, false, plainServer, 0},
	{"goroutines, TLS", Goroutines, true, tlsServer, 0},
}

// rig is a loop with a driver, and a way to connect to it.
type rig struct {
	*Loop
	bench
}

func newRig(t *testing.T, l *Loop, b bench) *rig {
	r := &rig{Loop: l, bench: b}
	r.Driver, r.Loop.processors = b.driver, b.processors
	t.Cleanup(func() {
		r.Close()
		r.Wait()
	})
	return r
}

// eachDriver runs f with every driver, and then closes the loop.
func eachDriver(t *testing.T, l func() *Loop, f func(t *testing.T, r *rig)) {
	t.Parallel()
	for _, b := range benches {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			f(t, newRig(t, l(), b))
		})
	}
}

func noBounds() *Loop { return &Loop{} }

// peer is the client's end.
type peer interface {
	net.Conn
	CloseWrite() error
}

// connect returns a connection of the driver, which is not started, and the peer's end.
func (r *rig) connect(t *testing.T, a handlers.Attachment) (Conn, *recorder, peer) {
	t.Helper()
	server, client := tcpPair(t)
	var p peer = client
	src := make(chan handlers.Conn, 1)
	go func() { src <- r.server(t, server) }() // ends with the handshake
	if r.tls {
		tc := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		p = tc
	}
	if err := p.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	c := r.New(<-src, a)
	if _, ok := c.(*goConn); ok != (r.driver == Goroutines) {
		t.Fatalf("%T is not of the driver", c)
	}
	return c, newRecorder(), p
}

// lines is like connect, with a codec of lines.
func (r *rig) lines(t *testing.T) (Conn, *recorder, peer) {
	t.Helper()
	return r.connect(t, handlers.Attachment{Codec: &lines{}})
}

// tcpPair returns the ends of a connection over loopback, whose halves can be closed.
func tcpPair(t testing.TB) (server, client *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	sc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close(); sc.Close() })
	return sc.(*net.TCPConn), cc.(*net.TCPConn)
}

func plainServer(_ *testing.T, nc *net.TCPConn) handlers.Conn { return &fakeConn{nc: nc} }

func tlsServer(t *testing.T, nc *net.TCPConn) handlers.Conn {
	tc := tls.Server(handlers.NewSwitch(nc), &tls.Config{Certificates: []tls.Certificate{certificate()}})
	if err := tc.Handshake(); err != nil {
		t.Error(err)
	}
	return &fakeConn{nc: tc}
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func TestDriversEchoInOrder(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		mustWrite(t, client, "a\nb\nta")
		mustRead(t, client, "a\nb\n")
		mustWrite(t, client, "il\n")
		mustRead(t, client, "tail\n")
		client.Close()
		wantEvents(t, rec, "connect", "a", "b", "tail", "disconnect <nil>")
		r.Wait()
		if got := r.Len(); got != 0 {
			t.Errorf("Len() = %d, want 0", got)
		}
	})
}

// Many goroutines write while the peer reads and the connection ends. No message arrives in part.
func TestDriversConcurrentWriters(t *testing.T) {
	eachDriver(t, func() *Loop { return &Loop{MaxQueue: 1000} }, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		start(c, rec)
		const writers, each = 8, 500
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					if err := c.Send(fmt.Appendf(nil, "%d %d", w, i), handlers.Auto); err != nil {
						t.Errorf("Send() = %v", err)
					}
				}
			})
		}
		go func() {
			wg.Wait()
			c.End()
		}()
		got, err := io.ReadAll(client)
		if err != nil {
			t.Fatal(err)
		}
		next := [writers]int{}
		for line := range strings.Lines(string(got)) {
			var w, i int
			if _, err := fmt.Sscanf(line, "%d %d\n", &w, &i); err != nil || next[w] != i {
				t.Fatalf("line %q: %v, want number %d", line, err, next[w])
			}
			next[w]++
		}
		for w, n := range next {
			if n != each {
				t.Errorf("writer %d: %d lines, want %d", w, n, each)
			}
		}
		client.Close()
		<-rec.gone
	})
}

// A callback that takes long delays only its own client. What it writes is sent meanwhile, and the
// events stay in order.
func TestDriversBlockedCallback(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		release := make(chan struct{})
		const blockers = 4
		var blocked [blockers]peer
		var recs [blockers]*recorder
		for i := range blockers {
			c, rec, client := r.lines(t)
			rec.onMessage = func(m handlers.Message) error {
				c.Send(m.Data, m.Kind)
				if m.String() == "block" {
					<-release
				}
				return nil
			}
			start(c, rec)
			mustWrite(t, client, "block\n")
			mustRead(t, client, "block\n") // although the callback has not returned
			blocked[i], recs[i] = client, rec
		}
		c, rec, client := r.lines(t)
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		for range 20 {
			mustWrite(t, client, "x\n")
			mustRead(t, client, "x\n")
		}
		for _, b := range blocked {
			mustWrite(t, b, "1\n2\n")
		}
		close(release)
		for i, b := range blocked {
			mustRead(t, b, "1\n2\n")
			b.Close()
			wantEvents(t, recs[i], "connect", "block", "1", "2", "disconnect <nil>")
		}
		client.Close()
		<-rec.gone
	})
}

// Bytes that were read before the connection was driven come first. A message is delivered whole,
// however it is split.
func TestDriversLongMessages(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		long := strings.Repeat("x", 100<<10)
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &lines{}, Unread: []byte("a\n" + long)})
		var seen []int
		rec.onMessage = func(m handlers.Message) error {
			seen = append(seen, len(m.Data))
			return nil
		}
		start(c, rec)
		mustWrite(t, client, long+"\n")
		for _, size := range []int{1, 300, 5000, 20000, 700000} {
			msg := strings.Repeat("y", size)
			for len(msg) > 0 {
				n := min(len(msg), 1+size/7)
				mustWrite(t, client, msg[:n])
				msg = msg[n:]
			}
			mustWrite(t, client, "\n")
		}
		client.CloseWrite()
		<-rec.gone
		if got, want := fmt.Sprint(seen), fmt.Sprint([]int{1, 200 << 10, 1, 300, 5000, 20000, 700000}); got != want {
			t.Errorf("lengths %v, want %v", got, want)
		}
	})
}

// A codec that panics costs only its own connection.
func TestDriversCodecPanics(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &broken{}})
		start(c, rec)
		mustWrite(t, client, "x\n")
		if _, err := io.ReadAll(client); err != nil {
			t.Error(err)
		}
		<-rec.gone
		if got, want := rec.events()[1], "disconnect "+handlers.ErrPanic.Error()+": string"; got != want {
			t.Errorf("last event %q, want %q", got, want)
		}
	})
}

type broken struct{ lines }

func (*broken) Decode([]byte, *handlers.Messages) (int, error) { panic("oops") }

// within fails the test unless cond holds soon.
func within(t *testing.T, d time.Duration, what string, cond func() bool) {
	t.Helper()
	for late := time.Now().Add(d); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func goneWithin(t *testing.T, d time.Duration, rec *recorder) {
	t.Helper()
	select {
	case <-rec.gone:
	case <-time.After(d):
		t.Fatalf("not gone after %v: events %q", d, rec.events())
	}
}

// echo starts a connection that echoes.
func (r *rig) echo(t *testing.T) (Conn, *recorder, peer) {
	t.Helper()
	c, rec, client := r.lines(t)
	rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
	start(c, rec)
	return c, rec, client
}
