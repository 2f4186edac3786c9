package loop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/tcp"
)

// bench is one way to drive a connection over real sockets. Every driver passes every test of this file.
type bench struct {
	name   string
	driver Driver
	tls    bool
	server func(t *testing.T, nc *net.TCPConn) handlers.Conn
}

var benches = []bench{
	{"goroutines", Goroutines, false, plainServer},
	{"goroutines, TLS", Goroutines, true, tlsServer},
}

// rig is a loop with a driver, and a way to make connections in it.
type rig struct {
	*Loop
	bench
}

// eachDriver runs f with every driver, and closes the loop after.
func eachDriver(t *testing.T, l func() *Loop, f func(t *testing.T, r *rig)) {
	for _, b := range benches {
		t.Run(b.name, func(t *testing.T) {
			r := &rig{Loop: l(), bench: b}
			r.Driver = b.driver
			t.Cleanup(func() {
				r.Close()
				r.Wait()
			})
			f(t, r)
		})
	}
}

func noBounds() *Loop { return &Loop{} }

// peer is the client's end.
type peer interface {
	net.Conn
	CloseWrite() error
}

// connect gives a driven connection, which is not started, and the peer's end.
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
	if err := p.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := r.New(<-src, a)
	if _, ok := c.(*goConn); ok != (r.driver == Goroutines) {
		t.Fatalf("%T is not of the driver", c)
	}
	return c, newRecorder(), p
}

// lines is connect with the codec of lines.
func (r *rig) lines(t *testing.T) (Conn, *recorder, peer) {
	t.Helper()
	return r.connect(t, handlers.Attachment{Codec: &tcp.Lines{}})
}

// tcpPair is a connection over loopback, whose halves can be closed.
func tcpPair(t *testing.T) (server, client *net.TCPConn) {
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

func TestDriversHalfClose(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		mustWrite(t, client, "tail")
		client.CloseWrite()
		if got, err := io.ReadAll(client); string(got) != "tail\n" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		client.Close()
		wantEvents(t, rec, "connect", "tail", "disconnect <nil>")
	})
}

// After End the peer has FIN behind all that was written, and what it still sends is delivered.
func TestDriversEnd(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		rec.onMessage = func(m handlers.Message) error {
			if m.String() == "end" {
				c.Send([]byte("bye"), handlers.Auto)
				return c.End()
			}
			if err := c.Send(nil, handlers.Auto); !errors.Is(err, handlers.ErrClosed) {
				t.Errorf("Send after End = %v, want ErrClosed", err)
			}
			return nil
		}
		start(c, rec)
		mustWrite(t, client, "end\n")
		if got, err := io.ReadAll(client); string(got) != "bye\n" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		mustWrite(t, client, "later\n")
		client.CloseWrite()
		wantEvents(t, rec, "connect", "end", "later", "disconnect <nil>")
	})
}

// The last reply is not lost although the peer goes on sending: TRAPS part 4, row 16.
func TestTraps4Row16Linger(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		for range 20 {
			c, rec, client := r.lines(t)
			rec.onMessage = func(handlers.Message) error {
				c.Send([]byte("last"), handlers.Auto)
				return handlers.ErrPolicy
			}
			start(c, rec)
			mustWrite(t, client, "a\n"+strings.Repeat("unread\n", 2000))
			if got, err := io.ReadAll(client); !strings.HasPrefix(string(got), "last\n") || err != nil {
				t.Fatalf("read %q, %v", got, err)
			}
			client.Close()
			<-rec.gone
		}
	})
}

// What was written just before Destroy arrives.
func TestDriversWriteThenDestroy(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		rec.onMessage = func(handlers.Message) error {
			c.Send([]byte("last"), handlers.Auto)
			c.Destroy()
			return nil
		}
		start(c, rec)
		mustWrite(t, client, "a\n")
		mustRead(t, client, "last\n")
		client.Close()
		wantEvents(t, rec, "connect", "a", "disconnect <nil>")
	})
}

// Concurrent writers, a peer that reads, and an end in the middle of it: no message is torn.
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

func TestDriversIdleTimeout(t *testing.T) {
	const timeout = 200 * time.Millisecond
	eachDriver(t, func() *Loop { return &Loop{Timeout: timeout} }, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		began := time.Now()
		for time.Since(began) < 2*timeout { // activity puts it off
			mustWrite(t, client, "x\n")
			mustRead(t, client, "x\n")
		}
		if got, err := io.ReadAll(client); len(got) > 0 || err != nil {
			t.Errorf("read %q, %v, want the end", got, err)
		}
		<-rec.gone
		all := rec.events()
		if got, want := all[len(all)-1], "disconnect idle timeout"; got != want {
			t.Errorf("last event %q, want %q", got, want)
		}
	})
}

// A client that does not read fills its queue: Send waits for it, TrySend does not, and in the end it is too slow.
func TestDriversSlowReader(t *testing.T) {
	slow := func() *Loop { return &Loop{MaxQueue: 64 << 10, Timeout: time.Second} }
	eachDriver(t, slow, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		start(c, rec)
		line := bytes.Repeat([]byte("0"), 8<<10)
		tries := 0
		for ; c.TrySend(line, handlers.Auto) == nil && tries < 10000; tries++ {
		}
		if err := c.TrySend(line, handlers.Auto); !errors.Is(err, handlers.ErrSlow) {
			t.Fatalf("TrySend = %v after %d lines, want ErrSlow", err, tries)
		}
		sent := make(chan error, 1)
		go func() { sent <- c.Send([]byte("waits"), handlers.Auto) }()
		got := make([]byte, tries*(len(line)+1))
		if _, err := io.ReadFull(client, got); err != nil {
			t.Fatal(err)
		}
		mustRead(t, client, "waits\n")
		if err := <-sent; err != nil {
			t.Errorf("Send = %v after the peer has read", err)
		}
		for !errors.Is(c.TrySend(line, handlers.Auto), handlers.ErrClosed) {
			time.Sleep(time.Millisecond) // nobody reads: its time is up soon
		}
		<-rec.gone
		if got, want := rec.events()[1], "disconnect "+handlers.ErrSlow.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := c.Send(nil, handlers.Auto); !errors.Is(err, handlers.ErrClosed) {
			t.Errorf("Send after the end = %v, want ErrClosed", err)
		}
	})
}

func TestDriversDestroyWakesWriters(t *testing.T) {
	eachDriver(t, func() *Loop { return &Loop{MaxQueue: 1} }, func(t *testing.T, r *rig) {
		c, rec, _ := r.lines(t)
		connected := make(chan struct{})
		rec.onConnect = func() { close(connected) }
		start(c, rec)
		<-connected
		sent := make(chan error)
		for range 3 {
			go func() {
				for {
					if err := c.Send(make([]byte, 1<<20), handlers.Auto); err != nil {
						sent <- err
						return
					}
				}
			}()
		}
		time.AfterFunc(50*time.Millisecond, c.Destroy)
		for range 3 {
			if err := <-sent; !errors.Is(err, handlers.ErrClosed) {
				t.Errorf("Send = %v, want ErrClosed", err)
			}
		}
		wantEvents(t, rec, "connect", "disconnect <nil>")
	})
}

// A callback that takes its time keeps only its own client waiting, what it wrote is sent meanwhile, and the order of its
// events holds.
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
			mustRead(t, client, "block\n") // although its callback has not returned
			blocked[i], recs[i] = client, rec
		}
		c, rec, client := r.lines(t)
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		for range 100 {
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

func TestDriversShutdown(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		const n = 20
		recs := make([]*recorder, n)
		for i := range n {
			c, rec, client := r.lines(t)
			rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
			start(c, rec)
			mustWrite(t, client, "before\n")
			mustRead(t, client, "before\n")
			mustWrite(t, client, "last\n") // is served although it may not have been read yet
			recs[i] = rec
			go func() { // ends when the loop has closed it
				defer client.Close()
				if got, err := io.ReadAll(client); string(got) != "last\n" || err != nil {
					t.Errorf("read %q, %v", got, err)
				}
			}()
		}
		if err := r.Shutdown(t.Context(), 10*time.Millisecond); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		end := "disconnect " + handlers.ErrShutdown.Error()
		for _, rec := range recs {
			wantEvents(t, rec, "connect", "before", "last", end)
		}
		late, rec, _ := r.lines(t)
		start(late, rec)
		wantEvents(t, rec, end)
	})
}

func TestDriversUpgrade(t *testing.T) {
	shakes := func() *Loop { return &Loop{HandshakeTimeout: 100 * time.Millisecond} }
	eachDriver(t, shakes, func(t *testing.T, r *rig) {
		begin := func() (*recorder, peer) {
			c, rec, client := r.connect(t, handlers.Attachment{Codec: &shake{}, Handshake: true})
			rec.onConnect = func() { c.Send([]byte("welcome"), handlers.Auto) }
			start(c, rec)
			return rec, client
		}
		rec, client := begin()
		mustWrite(t, client, "hello\nmore\n")
		mustRead(t, client, "yes\nWELCOME!")
		stopped, silent := begin()
		mustWrite(t, silent, "hel")
		wantEvents(t, stopped, "disconnect "+handlers.ErrTimeout.Error())
		client.Close() // its own handshake's deadline is over too
		wantEvents(t, rec, "connect", "more", "disconnect <nil>")
		rec, client = begin()
		mustWrite(t, client, "garbage\n")
		mustRead(t, client, "no\n")
		client.Close()
		wantEvents(t, rec, "disconnect "+handlers.ErrProtocol.Error())
	})
}

// What was read before comes first, and a message comes whole however it is cut.
func TestDriversLongMessages(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		long := strings.Repeat("x", 100<<10)
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &tcp.Lines{}, Unread: []byte("a\n" + long)})
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

// A peer that asks and does not read is not read either.
func TestDriversAnswersAreBounded(t *testing.T) {
	eachDriver(t, func() *Loop { return &Loop{MaxQueue: 1000} }, func(t *testing.T, r *rig) {
		var taken atomic.Int64
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &counting{n: &taken}})
		start(c, rec)
		client.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		for {
			if _, err := client.Write(bytes.Repeat([]byte("?"), 4<<10)); err != nil {
				break
			}
		}
		if n := taken.Load(); n > 4<<20 {
			t.Errorf("%d questions were taken: their answers are %d MiB", n, n*100>>20)
		}
		c.Destroy()
		<-rec.gone
	})
}

// counting answers each byte with a hundred, and counts them.
type counting struct {
	answers
	n *atomic.Int64
}

func (c *counting) Decode(in []byte, m *handlers.Messages) (int, error) {
	c.n.Add(int64(len(in)))
	return c.answers.Decode(in, m)
}

func TestDriversParked(t *testing.T) {
	tests := []struct {
		name   string
		act    func(t *testing.T, r *rig, c Conn, lot *lot, client peer)
		events []string
	}{
		{"the program writes", func(t *testing.T, _ *rig, c Conn, _ *lot, client peer) {
			c.Send([]byte("hi"), handlers.Auto)
			mustRead(t, client, "hi\n")
			mustWrite(t, client, "a\n")
			client.Close()
		}, []string{"connect", "a", "disconnect <nil>"}},
		{"the program ends it", func(_ *testing.T, _ *rig, c Conn, _ *lot, client peer) {
			c.End()
			client.Close()
		}, []string{"connect", "disconnect <nil>"}},
		{"the program destroys it", func(_ *testing.T, _ *rig, c Conn, _ *lot, _ peer) {
			c.Destroy()
		}, []string{"connect", "disconnect <nil>"}},
		{"it is adopted", func(t *testing.T, _ *rig, c Conn, lot *lot, client peer) {
			mustWrite(t, client, "b\n")
			lot.Take()
			c.Adopt(&shout{})
			c.Send([]byte("hi"), handlers.Auto)
			mustRead(t, client, "HI!")
			client.Close()
		}, []string{"connect", "b", "disconnect <nil>"}},
		{"it is retired", func(t *testing.T, _ *rig, c Conn, lot *lot, _ peer) {
			lot.Take()
			if !c.Retire() {
				t.Error("Retire() = false for a client that was sent nothing")
			}
		}, []string{"connect", "disconnect <nil>"}},
		{"it expires", func(_ *testing.T, _ *rig, c Conn, lot *lot, _ peer) {
			lot.Take()
			c.Expire(handlers.ErrTimeout)
		}, []string{"connect", "disconnect " + handlers.ErrTimeout.Error()}},
		{"the loop shuts down", func(t *testing.T, r *rig, _ Conn, _ *lot, client peer) {
			go io.Copy(io.Discard, client)
			if err := r.Shutdown(t.Context(), 0); err != nil {
				t.Errorf("Shutdown() = %v", err)
			}
		}, []string{"connect", "disconnect " + handlers.ErrShutdown.Error()}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachDriver(t, noBounds, func(t *testing.T, r *rig) {
				c, rec, client := r.lines(t)
				lot := &lot{}
				c.StartParked(rec, lot)
				for !lot.isParked() {
					time.Sleep(time.Millisecond)
				}
				tt.act(t, r, c, lot, client)
				wantEvents(t, rec, tt.events...)
			})
		})
	}
}

func (l *lot) isParked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.parked
}

// A codec that panics costs its own connection.
func TestDriversCodecPanics(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &broken{}})
		start(c, rec)
		mustWrite(t, client, "x\n")
		if _, err := io.ReadAll(client); err != nil {
			t.Error(err)
		}
		<-rec.gone
		if got, want := rec.events()[1], "disconnect "+handlers.ErrPanic.Error()+": oops"; got != want {
			t.Errorf("last event %q, want %q", got, want)
		}
	})
}

type broken struct{ tcp.Lines }

func (*broken) Decode([]byte, *handlers.Messages) (int, error) { panic("oops") }

// quits is a codec that gives its connection back after the first line.
type quits struct {
	tcp.Lines
	take func(net.Conn)
}

func (q *quits) Decode(in []byte, m *handlers.Messages) (int, error) {
	i := bytes.IndexByte(in, '\n')
	if i < 0 {
		return 0, nil
	}
	m.Deliver(handlers.Message{Data: in[:i]})
	m.Reply = append(m.Reply, "leaving\n"...)
	m.Leave = q.take
	return i + 1, nil
}

// A codec gives its connection back as a net.Conn, with what was not decoded, after what was written.
func TestDriversLeave(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		echoed := make(chan error, 1)
		take := func(nc net.Conn) {
			defer nc.Close()
			_, err := io.Copy(nc, nc)
			echoed <- err
		}
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &quits{take: take}})
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		long := strings.Repeat("y", 100<<10)
		go func() { // ends when it is read
			mustWrite(t, client, "first\nrest "+long)
			mustWrite(t, client, " and more")
			client.CloseWrite()
		}()
		mustRead(t, client, "first\nleaving\nrest "+long+" and more")
		if err := <-echoed; err != nil {
			t.Error(err)
		}
		wantEvents(t, rec, "connect", "first", "disconnect <nil>")
		if err := c.Send(nil, handlers.Auto); !errors.Is(err, handlers.ErrClosed) {
			t.Errorf("Send() = %v, want ErrClosed", err)
		}
	})
}

// chunk is a feed of messages of this size.
type chunk struct {
	size    int
	drained chan struct{}
}

func newChunk(size int) *chunk { return &chunk{size: size, drained: make(chan struct{}, 2)} }

func (c *chunk) End(n int) int { return (n + c.size - 1) / c.size * c.size }
func (c *chunk) Drained()      { c.drained <- struct{}{} }

// fill feeds c until it takes no more.
func (f *chunk) fill(t *testing.T, c Conn) {
	t.Helper()
	line := append(bytes.Repeat([]byte("."), f.size-1), '\n')
	for range 10000 {
		switch n, err := c.Feed(line, f); {
		case err != nil:
			t.Fatal(err)
		case n == 0:
			return
		}
	}
	t.Fatal("it is never full")
}

func (f *chunk) wantDrained(t *testing.T) {
	t.Helper()
	select {
	case <-f.drained:
	case <-time.After(10 * time.Second):
		t.Fatal("not told that it can go on")
	}
}

// Who feeds a connection is told when it is destroyed, although a callback of its client has not returned.
func TestDriversFeedEnds(t *testing.T) {
	for _, end := range []struct {
		name string
		end  func(c Conn)
	}{{"destroyed", Conn.Destroy}, {"quit", func(c Conn) { c.Quit(handlers.ErrSlow); c.Destroy() }}} {
		t.Run(end.name, func(t *testing.T) {
			eachDriver(t, noBounds, func(t *testing.T, r *rig) {
				c, rec, client := r.lines(t)
				blocks, release := make(chan struct{}), make(chan struct{})
				rec.onMessage = func(handlers.Message) error {
					close(blocks)
					<-release
					return nil
				}
				start(c, rec)
				mustWrite(t, client, "block\n")
				<-blocks
				time.Sleep(20 * time.Millisecond) // it is taken for lost
				f := newChunk(64 << 10)
				f.fill(t, c)
				end.end(c)
				f.wantDrained(t)
				if _, err := c.Feed([]byte("x\n"), f); !errors.Is(err, handlers.ErrClosed) {
					t.Errorf("Feed() = %v, want ErrClosed", err)
				}
				close(release)
				<-rec.gone
				if len(f.drained) > 0 {
					t.Error("told twice")
				}
			})
		})
	}
}

// A parked connection that is fed more than its queue holds goes on with the rest.
func TestDriversFeedParked(t *testing.T) {
	eachDriver(t, func() *Loop { return &Loop{MaxQueue: 1000} }, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		lot := &lot{}
		c.StartParked(rec, lot)
		for !lot.isParked() {
			time.Sleep(time.Millisecond)
		}
		f := newChunk(600)
		line := append(bytes.Repeat([]byte("."), 599), '\n')
		all := bytes.Repeat(line, 200)
		for rest := all; ; {
			n, err := c.Feed(rest, f)
			if err != nil || n%600 != 0 {
				t.Fatalf("Feed() = %d, %v", n, err)
			}
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
			f.wantDrained(t)
		}
		mustRead(t, client, string(all))
		client.Close()
		<-rec.gone
	})
}

// Quit says goodbye after what is queued, is no later than closeWait, and delivers nothing that comes then.
func TestDriversQuit(t *testing.T) {
	want := "disconnect " + handlers.ErrSlow.Error()
	t.Run("a peer that reads", func(t *testing.T) {
		eachDriver(t, noBounds, func(t *testing.T, r *rig) {
			c, rec, client := r.connect(t, handlers.Attachment{Codec: &parting{}})
			start(c, rec)
			c.Send([]byte("last"), handlers.Auto)
			c.Quit(handlers.ErrSlow)
			c.Quit(handlers.ErrShutdown)
			if got, err := io.ReadAll(client); string(got) != "last\nbye: "+handlers.ErrSlow.Error() || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			client.Close()
			wantEvents(t, rec, "connect", want)
			c.Quit(handlers.ErrSlow)
		})
	})
	t.Run("a peer that does not", func(t *testing.T) {
		eachDriver(t, func() *Loop { return &Loop{Timeout: time.Hour} }, func(t *testing.T, r *rig) {
			c, rec, _ := r.connect(t, handlers.Attachment{Codec: &parting{}})
			start(c, rec)
			newChunk(64<<10).fill(t, c)
			c.Quit(handlers.ErrSlow)
			select {
			case <-rec.gone:
				wantEvents(t, rec, "connect", want)
			case <-time.After(closeWait + 5*time.Second):
				t.Error("it is still there")
			}
		})
	})
	t.Run("parked", func(t *testing.T) {
		eachDriver(t, noBounds, func(t *testing.T, r *rig) {
			c, rec, client := r.connect(t, handlers.Attachment{Codec: &parting{}})
			lot := &lot{}
			c.StartParked(rec, lot)
			for !lot.isParked() {
				time.Sleep(time.Millisecond)
			}
			c.Quit(handlers.ErrSlow)
			if got, err := io.ReadAll(client); string(got) != "bye: "+handlers.ErrSlow.Error() || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			client.Close()
			wantEvents(t, rec, "connect", want)
		})
	})
}

// parting says why it ends.
type parting struct{ tcp.Lines }

func (*parting) AppendClose(dst []byte, reason error) []byte {
	return fmt.Appendf(dst, "bye: %v", reason)
}
