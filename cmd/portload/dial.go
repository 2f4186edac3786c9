package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"sync/atomic"

	"github.com/gobwas/ws"
)

// A dialer makes connections to the server. Any number of goroutines may use it at once.
type dialer struct {
	plan *plan
	net  net.Dialer
	tls  *tls.Config
	url  *url.URL
	next atomic.Uint32 // local address
}

func newDialer(p *plan) (*dialer, error) {
	d := &dialer{plan: p, url: &url.URL{Scheme: "ws", Host: p.Host, Path: p.Path}}
	d.net.KeepAlive = -1 // probes would be load
	d.net.Control = control(0)
	if !p.secure() {
		return d, nil
	}
	host, _, _ := net.SplitHostPort(p.Host)
	d.tls = &tls.Config{ServerName: host, InsecureSkipVerify: p.Insecure} //nolint:gosec // the user asked for it
	if p.CA == "" {
		return d, nil
	}
	pem, err := os.ReadFile(p.CA)
	if err != nil {
		return nil, err
	}
	d.tls.RootCAs = x509.NewCertPool()
	if !d.tls.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", p.CA)
	}
	return d, nil
}

// A link is a connection to the server, with the handshakes done.
type link struct {
	net.Conn       // messages go here
	base     *base // the TCP connection beneath
	codec    codec
	early    []byte // came with the handshake
}

// A base is a TCP connection. Once a watcher has taken it over, only raw remains, for writes.
type base struct {
	net.Conn
	raw io.WriteCloser
}

// Close closes raw, or the connection if there is no raw.
func (b *base) Close() error {
	if b.raw != nil {
		return b.raw.Close()
	}
	return b.Conn.Close()
}

func (b *base) Write(p []byte) (int, error) {
	if b.raw != nil {
		return b.raw.Write(p)
	}
	return b.Conn.Write(p)
}

// dial connects and shakes hands, within the plan's timeout.
func (d *dialer) dial(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.plan.Timeout, fmt.Errorf("no connection within %v (--timeout)", d.plan.Timeout))
	defer cancel()
	tcp, err := d.connect(ctx)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { tcp.Close() })
	l, err := d.handshake(ctx, tcp)
	if !stop() || err != nil {
		tcp.Close()
		return nil, causeOf(ctx, err)
	}
	return l, nil
}

// causeOf returns err, or the cause of ctx if ctx has ended.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (d *dialer) connect(ctx context.Context) (net.Conn, error) {
	nd := d.net
	if n := uint32(d.plan.LocalIPs); n > 1 { //nolint:gosec // a small number
		i := d.next.Add(1)%n + 1
		ip := netip.AddrFrom4([4]byte{127, byte(i >> 16), byte(i >> 8), byte(i)}) //nolint:gosec // the bytes of i
		nd.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))
	}
	return nd.DialContext(ctx, "tcp", d.plan.Target.String())
}

func (d *dialer) handshake(ctx context.Context, tcp net.Conn) (*link, error) {
	b := &base{Conn: tcp}
	l := &link{Conn: b, base: b}
	if d.tls != nil {
		c := tls.Client(b, d.tls)
		switch err := c.HandshakeContext(ctx); {
		case errors.Is(err, io.EOF):
			return nil, errors.New("the server closed during the TLS handshake")
		case err != nil:
			return nil, err
		}
		l.Conn = c
	}
	switch d.plan.Proto {
	case "http", "https":
		l.codec = newHTTPCodec(d.plan)
	case "ws", "wss":
		l.codec = newWSCodec()
		return l, d.upgrade(l)
	default:
		l.codec = lineCodec{}
	}
	return l, nil
}

// upgrade does the WebSocket handshake on l.
func (d *dialer) upgrade(l *link) error {
	br, _, err := ws.Dialer{}.Upgrade(l.Conn, d.url)
	var status ws.StatusError
	switch {
	case errors.As(err, &status):
		return fmt.Errorf("the server refused the WebSocket handshake with status %d", int(status))
	case errors.Is(err, io.EOF):
		return errors.New("the server closed during the WebSocket handshake")
	case err != nil:
		return fmt.Errorf("WebSocket handshake: %w", err)
	case br != nil:
		l.early = make([]byte, br.Buffered())
		_, _ = io.ReadFull(br, l.early) // it is in memory
		ws.PutReader(br)
	}
	return nil
}

// drop closes l without a goodbye. With reset it sends RST, which frees the port at once.
func (l *link) drop(reset bool) {
	if tcp, ok := l.base.Conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	l.base.Close()
}

const (
	dialers     = 16 // at once
	maxFailures = 64 // in a row, then no more are tried
)

// dialFor makes a connection and calls keep with it.
func (d *dialer) dialFor(ctx context.Context, keep func(*link) error) error {
	l, err := d.dial(ctx)
	if err != nil {
		return err
	}
	return keep(l)
}

// dialAll makes n connections and calls keep with each.
func (d *dialer) dialAll(ctx context.Context, n int, keep func(*link) error) (t tally) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	left, inRow := n, 0
	next := func() bool {
		mu.Lock()
		defer mu.Unlock()
		left--
		return left >= 0 && inRow < maxFailures && ctx.Err() == nil
	}
	count := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		inRow++
		switch {
		case err == nil:
			inRow = 0
			t.Done++
		case ctx.Err() == nil:
			t.fail(err)
		}
	}
	for range min(dialers, n) {
		wg.Go(func() { // ends when there is no next
			for next() {
				count(d.dialFor(ctx, keep))
			}
		})
	}
	wg.Wait()
	if inRow >= maxFailures {
		t.Failed = int64(n) - t.Done
	}
	return t
}
