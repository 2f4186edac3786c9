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
	heard bool // anything
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

// explain says what ICMP means.
func (p *udpPeer) explain(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("nobody answers at %s over UDP: is it served with --udp?", p.RemoteAddr())
	}
	return err
}

// receive returns a datagram. Nobody says that no more will come: after end, silence does.
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

// lastAnswers is how long after the end of what it sends a client of UDP waits for answers.
const lastAnswers = 500 * time.Millisecond

func (p *udpPeer) end() error   { return p.Conn.SetReadDeadline(time.Now().Add(lastAnswers)) }
func (p *udpPeer) close() error { return p.Conn.Close() }
