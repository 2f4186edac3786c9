package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/spf13/pflag"
)

// dialTime bounds connecting and shaking hands.
const dialTime = 10 * time.Second

// A peer is the connection of a client command: one message at a time each way, whatever the protocol.
type peer interface {
	// send sends one message.
	send(msg string) error
	// receive returns the next message; io.EOF when the server has ended.
	receive() (string, error)
	// end says that nothing more will be sent; what comes is still received.
	end() error
	// close ends both ways. It wakes receive up.
	close() error
}

// trust is which certificates a client accepts.
type trust struct {
	ca        string
	insecure  bool
	configDir string
}

func (t *trust) flags(f *pflag.FlagSet) {
	f.StringVar(&t.ca, "ca", "", "trust the certificates in this PEM file too (default the development CA of this user)")
	f.BoolVar(&t.insecure, "insecure", false, "do not check the server's certificate")
	f.StringVar(&t.configDir, "config-dir", "", "where the development CA is kept (default portluck in the user's config directory)")
}

func (t *trust) config() (*tls.Config, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	file := t.ca
	if file == "" {
		dir, err := configDir(t.configDir)
		if err != nil {
			return nil, err
		}
		file = filepath.Join(dir, "ca.pem")
	}
	pem, err := os.ReadFile(file)
	switch {
	case err != nil && t.ca != "":
		return nil, err
	case err == nil && !roots.AppendCertsFromPEM(pem):
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return &tls.Config{RootCAs: roots, InsecureSkipVerify: t.insecure}, nil //nolint:gosec // the user asked for it
}

// dial connects to a URL: http, https, ws, wss, tcp or tls.
func dial(ctx context.Context, raw string, t *trust) (peer, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return nil, usageError{fmt.Errorf("%q is not a URL such as ws://localhost:8100/ or tcp://localhost:8100", raw)}
	}
	config, err := t.config()
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "http", "https":
		return dialHTTP(ctx, u, config)
	case "ws", "wss":
		return dialWebSocket(ctx, u, config)
	case "tcp", "tls":
		return dialRaw(ctx, u, config)
	}
	return nil, usageError{fmt.Errorf("%q: the scheme is http, https, ws, wss, tcp or tls", raw)}
}

// rawPeer sends lines.
type rawPeer struct {
	net.Conn
	r *bufio.Reader
}

func dialRaw(ctx context.Context, u *url.URL, config *tls.Config) (peer, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	var c net.Conn
	var err error
	if u.Scheme == "tls" {
		c, err = (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", u.Host)
	} else {
		c, err = (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	}
	if err != nil {
		return nil, err
	}
	return &rawPeer{c, bufio.NewReader(c)}, nil
}

func (p *rawPeer) send(msg string) error {
	_, err := io.WriteString(p.Conn, msg+"\n")
	return err
}

func (p *rawPeer) receive() (string, error) { return readLine(p.r) }
func (p *rawPeer) close() error             { return p.Conn.Close() }

func (p *rawPeer) end() error {
	if c, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// readLine returns a line without its end; the last one may have none.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if errors.Is(err, io.EOF) && line != "" {
		err = nil
	}
	return strings.TrimSuffix(line, "\n"), err
}

// wsPeer sends text messages.
type wsPeer struct {
	net.Conn
	r  io.Reader
	mu sync.Mutex // writing: pongs and messages come from different goroutines
}

func dialWebSocket(ctx context.Context, u *url.URL, config *tls.Config) (peer, error) {
	d := ws.Dialer{TLSConfig: config, Timeout: dialTime}
	c, early, _, err := d.Dial(ctx, u.String())
	if err != nil {
		var status ws.StatusError
		if errors.As(err, &status) {
			return nil, fmt.Errorf("%s: the server refused the handshake with status %d", u, int(status))
		}
		return nil, err
	}
	if early != nil {
		return &wsPeer{Conn: c, r: early}, nil
	}
	return &wsPeer{Conn: c, r: c}, nil
}

func (p *wsPeer) write(op ws.OpCode, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return wsutil.WriteClientMessage(p.Conn, op, b)
}

func (p *wsPeer) send(msg string) error { return p.write(ws.OpText, []byte(msg)) }
func (p *wsPeer) close() error          { return p.Conn.Close() }

func (p *wsPeer) end() error {
	return p.write(ws.OpClose, ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))
}

func (p *wsPeer) receive() (string, error) {
	for {
		h, err := ws.ReadHeader(p.r)
		if err != nil {
			return "", err
		}
		body := make([]byte, h.Length)
		if _, err := io.ReadFull(p.r, body); err != nil {
			return "", err
		}
		switch h.OpCode {
		case ws.OpText, ws.OpBinary:
			return string(body), nil
		case ws.OpPing:
			if err := p.write(ws.OpPong, body); err != nil {
				return "", err
			}
		case ws.OpClose:
			return "", closeReason(body)
		}
	}
}

// closeReason is the error of a close frame: io.EOF for a normal one.
func closeReason(body []byte) error {
	code, reason := ws.ParseCloseFrameData(body)
	if code == ws.StatusNormalClosure || code == ws.StatusNoStatusRcvd || code == ws.StatusGoingAway {
		return io.EOF
	}
	return fmt.Errorf("the server closed with code %d: %s", code, reason)
}

// httpPeer sends the lines of the body of one POST request, and receives those of the answer.
type httpPeer struct {
	body   *io.PipeWriter
	answer chan answer
	cancel context.CancelFunc
	client *http.Client
	r      *bufio.Reader // of the answer, once it has begun
	resp   *http.Response
}

type answer struct {
	resp *http.Response
	err  error
}

func dialHTTP(ctx context.Context, u *url.URL, config *tls.Config) (peer, error) {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), r)
	if err != nil {
		cancel()
		return nil, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	p := &httpPeer{body: w, answer: make(chan answer, 1), cancel: cancel}
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
	go func() { // ends with the answer's head, or with cancel
		resp, err := p.client.Do(req) //nolint:bodyclose // close does
		if err != nil {
			r.CloseWithError(err)
		}
		p.answer <- answer{resp, err}
	}()
	return p, nil
}

func (p *httpPeer) send(msg string) error {
	_, err := io.WriteString(p.body, msg+"\n")
	return err
}

func (p *httpPeer) end() error { return p.body.Close() }

func (p *httpPeer) receive() (string, error) {
	if p.r == nil {
		a := <-p.answer
		if a.err != nil {
			return "", a.err
		}
		p.resp, p.r = a.resp, bufio.NewReader(a.resp.Body)
	}
	line, err := readLine(p.r)
	if errors.Is(err, io.EOF) && p.resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the server answered %s", p.resp.Status)
	}
	return line, err
}

func (p *httpPeer) close() error {
	p.cancel()
	p.client.CloseIdleConnections()
	return p.body.Close()
}
