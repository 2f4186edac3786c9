package callosum_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/callosum"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck"
)

const patience = time.Minute

// lines echoes lines.
func lines(_ context.Context, c *callosum.Conn) {
	in := bufio.NewScanner(c)
	for in.Scan() {
		fmt.Fprintf(c, "%d: %s\n", c.Slot(), in.Text())
	}
}

// servePort serves s on a port of loopback until the test ends.
func servePort(t testing.TB, s *portluck.Server) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		<-done
	})
	return l.Addr().String()
}

// ask dials, sends hello and expects the answer.
func ask(t *testing.T, d *callosum.Dialer, addr string, slot int) *callosum.Conn {
	t.Helper()
	d.Timeout = patience
	c, err := d.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, "hello\n")
	want := fmt.Sprintf("%d: hello\n", slot)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Errorf("read %q, %v, want %q", got, err, want)
	}
	return c
}

// loopback has the addresses of the tests' clients.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// ways are the ways in which a slot server shares a port.
var ways = []struct {
	name   string
	set    func(s *portluck.Server, h *callosum.Handler)
	dialer callosum.Dialer
}{
	{"OnSilence", func(s *portluck.Server, h *callosum.Handler) {
		s.OnSilence = h
	}, callosum.Dialer{}},
	{"SpeakFirst", func(s *portluck.Server, h *callosum.Handler) {
		s.OnSilence, s.SpeakFirst = h, loopback
	}, callosum.Dialer{}},
	{"Preface", func(s *portluck.Server, h *callosum.Handler) {
		s.Handle("callosum", matchers.Prefix(callosum.Preface), h)
	}, callosum.Dialer{Preface: true}},
}

func TestSharedPort(t *testing.T) {
	t.Parallel()
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			h := &callosum.Handler{OnConnection: lines}
			s := &portluck.Server{SniffTimeout: 50 * time.Millisecond}
			way.set(s, h)
			addr := servePort(t, s)
			d := way.dialer
			a := ask(t, &d, addr, 0)
			ask(t, &d, addr, 1)
			if all := h.Conns(); len(all) != 2 || all[0].Info().Protocol != callosum.Protocol || all[0].RemoteAddr().String() != a.LocalAddr().String() {
				t.Errorf("Conns() = %v", all)
			}
			a.Close()
			for late := time.Now().Add(patience); len(h.Conns()) != 1; <-time.After(time.Millisecond) {
				if time.Now().After(late) {
					t.Fatal("the slot is not freed")
				}
			}
			ask(t, &d, addr, 0)
		})
	}
}

// A handler has the same set of slots on a port of its own, on a shared one, and inside TLS, where
// ALPN selects it.
func TestEverywhere(t *testing.T) {
	t.Parallel()
	h := &callosum.Handler{OnConnection: lines}
	s := &portluck.Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}}
	s.Handle("callosum", matchers.Prefix(callosum.Preface), h)
	s.HandleALPN("callosum", h)
	shared := servePort(t, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own := &callosum.Server{Handler: h}
	done := make(chan error, 1)
	go func() { done <- own.Serve(l) }()
	secure := &callosum.Dialer{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"callosum"}}
		return (&tls.Dialer{Config: config}).DialContext(ctx, network, addr)
	}}
	ask(t, &callosum.Dialer{}, l.Addr().String(), 0)
	ask(t, &callosum.Dialer{Preface: true}, shared, 1)
	c := ask(t, secure, shared, 2)
	if all := h.Conns(); len(all) != 3 || all[2].Info().TLS == nil {
		t.Errorf("Conns() = %v", all)
	}
	c.Close() // the end is noticed inside TLS too
	for late := time.Now().Add(patience); len(h.Conns()) != 2; <-time.After(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the slot is not freed")
		}
	}
	if err := own.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	<-done
	ask(t, &callosum.Dialer{Preface: true}, shared, 0) // the end of one server does not end the other
}

// The port's OnError gets the errors of connections.
func TestPortHears(t *testing.T) {
	errs := make(chan error, 10)
	hub := &portluck.Hub{OnError: func(_ *portluck.Info, err error) { errs <- err }}
	h := &callosum.Handler{OnConnection: func(context.Context, *callosum.Conn) { panic("oh") }}
	s := &portluck.Server{Hub: hub, OnSilence: h, SpeakFirst: loopback}
	addr := servePort(t, s)
	c, err := callosum.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-errs; !errors.Is(err, handlers.ErrPanic) {
		t.Errorf("OnError(%v), want ErrPanic", err)
	}
}

// A shutdown of the port lets an answer that has begun finish, and does not wait for idle clients.
func TestPortShutdown(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}), make(chan struct{})
	h := &callosum.Handler{OnConnection: func(ctx context.Context, c *callosum.Conn) {
		in := bufio.NewScanner(c)
		for in.Scan() {
			close(begun)
			<-ctx.Done()
			<-end
			io.WriteString(c, "answer\n")
		}
		if !errors.Is(in.Err(), handlers.ErrShutdown) {
			t.Errorf("Read: %v, want ErrShutdown", in.Err())
		}
	}}
	s := &portluck.Server{OnSilence: h, SpeakFirst: loopback}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	idle, err := callosum.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	busy, err := callosum.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	io.WriteString(busy, "question\n")
	<-begun
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	if b, err := io.ReadAll(idle); len(b) > 0 || err != nil {
		t.Errorf("the idle client reads %q, %v", b, err)
	}
	close(end)
	if b, err := io.ReadAll(busy); string(b) != "answer\n" || err != nil {
		t.Errorf("the busy client reads %q, %v", b, err)
	}
	if err := <-down; err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	<-done
}

// BenchmarkFirstLine measures the time from dialling to the slot, by how the port recognises the
// client.
func BenchmarkFirstLine(b *testing.B) {
	run := func(name, addr string, d callosum.Dialer) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c, err := d.Dial(context.Background(), addr)
				if err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	own := &callosum.Server{}
	done := make(chan error, 1)
	go func() { done <- own.Serve(l) }()
	run("OwnPort", l.Addr().String(), callosum.Dialer{})
	own.Close()
	<-done
	for _, way := range ways {
		s := &portluck.Server{}
		way.set(s, &callosum.Handler{})
		run(way.name, servePort(b, s), way.dialer)
	}
}
