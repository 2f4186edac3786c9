package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// udpPeer sends each message as a datagram with a line end, as nc -u does.
type udpPeer struct {
	net.Conn
	buf   []byte
	sent  atomic.Bool
	heard bool // a datagram was received
}

func dialUDP(ctx context.Context, u *url.URL, _ *tls.Config) (peer, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "udp", u.Host)
	if err != nil {
		return nil, err
	}
	return &udpPeer{Conn: c, buf: make([]byte, 1<<16)}, nil
}

func (p *udpPeer) send(msg string) error {
	p.sent.Store(true)
	_, err := p.Conn.Write([]byte(msg + "\n"))
	return p.explain(err)
}

// explain returns err, or what to do about it if ICMP has reported that nobody has the port.
func (p *udpPeer) explain(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("nobody answers at %s over UDP: is it served with --udp?", p.RemoteAddr())
	}
	return err
}

// receive returns the next datagram. UDP has no end of its own: receive returns io.EOF once the
// time that end allows is up, or an error if no datagram has come by then.
func (p *udpPeer) receive() (string, error) {
	n, err := p.Conn.Read(p.buf)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && p.sent.Load() && !p.heard:
		return "", fmt.Errorf("no answer from %s over UDP: is it served with --udp, and are you in a network of --udp-trust?", p.RemoteAddr())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", io.EOF
	case err != nil:
		return "", p.explain(err)
	}
	p.heard = true
	return strings.TrimSuffix(string(p.buf[:n]), "\n"), nil
}

// lastAnswers is how long a UDP client goes on receiving after end.
const lastAnswers = 500 * time.Millisecond

func (p *udpPeer) end() error   { return p.Conn.SetReadDeadline(time.Now().Add(lastAnswers)) }
func (p *udpPeer) close() error { return p.Conn.Close() }
