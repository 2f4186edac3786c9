package portluck

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/matchers"
	"golang.org/x/sys/unix"
)

// Every connection has the socket options of its listener, even one that came before Serve, or
// through a listener of net.Listen, which speaks multipath TCP.
func TestConnectionsInheritOptions(t *testing.T) {
	for _, multipath := range []bool{false, true} {
		t.Run(fmt.Sprintf("multipath %t", multipath), func(t *testing.T) { testInheritOptions(t, multipath) })
	}
}

func testInheritOptions(t *testing.T, multipath bool) {
	type option struct {
		name             string
		level, opt, want int
	}
	options := []option{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"TCP_NOTSENT_LOWAT", unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"SO_OOBINLINE", unix.SOL_SOCKET, unix.SO_OOBINLINE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
	}
	if !multipath { // with it, the option stays with the listener
		options = append(options, option{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 90_000})
	}
	s := &Server{Timeout: 90 * time.Second}
	looked := make(chan []int)
	s.HandleFunc("look", matchers.Prefix("LOOK"), func(c net.Conn) {
		values := make([]int, len(options))
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Error(err)
		} else {
			_ = raw.Control(func(fd uintptr) {
				for i, o := range options {
					values[i], _ = unix.GetsockoptInt(int(fd), o.level, o.opt)
				}
			})
		}
		looked <- values
	})
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(multipath)
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	early := [2]net.Conn{dial(t, addr), dial(t, addr)}
	serveOn(t, s, l)
	for _, tt := range []struct {
		name string
		open func() net.Conn
	}{
		{"one before Serve", func() net.Conn { return early[0] }},
		{"another before Serve", func() net.Conn { return early[1] }},
		{"one after it", func() net.Conn { return dial(t, addr) }},
		{"another after it", func() net.Conn { return dial(t, addr) }},
	} {
		send(t, tt.open(), "LOOK")
		for i, got := range <-looked {
			if o := options[i]; got != o.want {
				t.Errorf("%s: %s = %d, want %d", tt.name, o.name, got, o.want)
			}
		}
	}
}

// Serve goes on after an error of one connection and after a temporary error of the machine. It
// ends if the socket no longer listens.
func TestAcceptErrors(t *testing.T) {
	t.Parallel()
	passes := []error{
		unix.EPROTO, unix.EPERM, unix.ENETDOWN, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH,
		unix.EOPNOTSUPP, unix.ENETUNREACH, unix.ECONNRESET, unix.ETIMEDOUT, unix.EIO,
	}
	hub, _ := record(echo)
	s := &Server{Hub: hub, SniffTimeout: patience}
	l := listen(t)
	p := must(s.start())
	a := must(p.newAcceptor(l))
	d := a.src.(*descriptors)
	system, calls := d.accept4, 0
	d.accept4 = func(fd, flags int) (int, syscall.Sockaddr, error) {
		calls++
		if calls <= 2*len(passes) && calls%2 == 1 {
			return -1, nil, passes[calls/2]
		}
		if calls == 2*len(passes)+3 {
			return -1, nil, unix.EBADF
		}
		return system(fd, flags)
	}
	ended := make(chan error, 1)
	go func() { // ends with EBADF
		defer p.accepting.Done()
		ended <- a.run()
	}()
	for len(ended) == 0 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = c.Write([]byte("x\n"))
		_, _ = c.Read(make([]byte, 2))
		c.Close()
	}
	if err := <-ended; !errors.Is(err, unix.EBADF) || calls < 2*len(passes) {
		t.Errorf("after %d calls run() = %v, want %v", calls, err, unix.EBADF)
	}
	if got := s.Stats().AcceptErrors; got != uint64(len(passes)) {
		t.Errorf("%d errors were counted, want %d", got, len(passes))
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// Each lack of descriptors that follows a successful accept costs only the shortest pause.
func TestAcceptErrorsBetweenConnections(t *testing.T) {
	t.Parallel()
	hub, _ := record(echo)
	waits := waitLog{}
	s := &Server{Hub: hub, SniffTimeout: patience, Log: &waits}
	l := listen(t)
	p := must(s.start())
	a := must(p.newAcceptor(l))
	d := a.src.(*descriptors)
	system, full := d.accept4, true
	d.accept4 = func(fd, flags int) (int, syscall.Sockaddr, error) {
		if full = !full; full {
			return -1, nil, unix.ENOMEM
		}
		nfd, sa, err := system(fd, flags)
		full = full || err != nil
		return nfd, sa, err
	}
	ended := make(chan error, 1)
	go func() { // ends with the server
		defer p.accepting.Done()
		ended <- a.run()
	}()
	for range 15 {
		talk(t, l.Addr().String(), "x\n")
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, ErrServerClosed) {
		t.Errorf("run() = %v", err)
	}
	if n, longest := waits.n.Load(), time.Duration(waits.longest.Load()); n < 8 || longest != 5*time.Millisecond {
		t.Errorf("%d pauses of up to %v, want 5ms", n, longest)
	}
}

// waitLog is a Logger that notes how long accepting pauses.
type waitLog struct{ n, longest atomic.Int64 }

func (*waitLog) Enabled(context.Context, slog.Level) bool { return true }

func (w *waitLog) LogAttrs(_ context.Context, _ slog.Level, msg string, attrs ...slog.Attr) {
	for _, a := range attrs {
		if msg == "accept failed" && a.Key == "wait" {
			w.n.Add(1)
			w.longest.Store(max(w.longest.Load(), int64(a.Value.Duration())))
		}
	}
}

// An error that is returned again and again, such as that of a firewall, does not make the server
// spin.
func TestAcceptErrorWithoutEnd(t *testing.T) {
	t.Parallel()
	s := &Server{}
	p := must(s.start())
	a := must(p.newAcceptor(listen(t)))
	var calls atomic.Int32
	a.src.(*descriptors).accept4 = func(int, int) (int, syscall.Sockaddr, error) {
		calls.Add(1)
		return -1, nil, unix.EPERM
	}
	ended := make(chan error, 1)
	go func() { // ends with the server
		defer p.accepting.Done()
		ended <- a.run()
	}()
	c := dial(t, a.l.Addr().String())
	send(t, c, "x\n")
	eventually(t, "it pauses", func() bool { return calls.Load() > acceptBatch })
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, ErrServerClosed) {
		t.Errorf("run() = %v", err)
	}
	if n := calls.Load(); n > 3*acceptBatch {
		t.Errorf("%d calls", n)
	}
}

// The listener waits where most of its connections are served, and loses none on its way there and
// back. A shutdown ends both waits.
func TestListenerWaitsWhereItsClientsAre(t *testing.T) {
	for _, inLoop := range []bool{true, false} {
		t.Run(fmt.Sprintf("at the end in the loop: %t", inLoop), func(t *testing.T) {
			t.Parallel()
			s := &Server{Hub: echoHub(), Pages: http.NotFoundHandler()}
			addr := serve(t, s)
			raw := func() string { return talk(t, addr, "a\n") }
			web := func() string {
				return talk(t, addr, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[:12]
			}
			_ = raw()
			p := must(s.start())
			p.mu.Lock()
			d := p.listeners[0].src.(*descriptors)
			p.mu.Unlock()
			steps := []bool{true, false, true, false}
			if inLoop {
				steps = append(steps, true)
			}
			for i, loop := range steps {
				ask, want := web, "HTTP/1.1 404"
				if loop {
					ask, want = raw, "a\n"
				}
				for range 2*headingMost + 1 {
					if got := ask(); got != want {
						t.Fatalf("step %d: talk() = %q, want %q", i, got, want)
					}
				}
				_ = ask() // the one before was accepted before the listener moved
				d.wait.mu.Lock()
				is := d.wait.file == nil
				d.wait.mu.Unlock()
				if want := loop && !s.Goroutines; i > 0 && is != want {
					t.Errorf("step %d: the listener is in the loop: %t, want %t", i, is, want)
				}
			}
		})
	}
}

// Serve takes a TCP listener over: Go's poller, which would wake a thread for each connection, does
// not know it any more. Its address is still known, and a Close by the program changes nothing.
func TestServeTakesTheListener(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]net.Listener{"multipath": listen(t), "plain": must(Listen("127.0.0.1:0"))[0]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			serveOn(t, &Server{Hub: echoHub()}, l)
			if got := talk(t, l.Addr().String(), "a\n"); got != "a\n" {
				t.Errorf("talk() = %q, want the echo", got)
			}
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Close() = %v, want net.ErrClosed", err)
			}
			if got := talk(t, l.Addr().String(), "b\n"); got != "b\n" {
				t.Errorf("after Close talk() = %q, want the echo", got)
			}
		})
	}
}
