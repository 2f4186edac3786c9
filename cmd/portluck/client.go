package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/portluck/portluck/handlers"
	"github.com/spf13/pflag"
)

// dialTime bounds connecting and the handshake.
const dialTime = 10 * time.Second

// maxMessage is the longest message that a client sends from a line or receives, in bytes.
const maxMessage = 64 << 20

// A peer is the connection of a client command. It sends and receives one message at a time,
// whatever the protocol.
type peer interface {
	// send sends one message.
	send(msg string) error
	// receive returns the next message, or io.EOF once the server has ended.
	receive() (string, error)
	// end tells the server that nothing more will be sent. Messages can still be received.
	end() error
	// close closes the connection and makes a waiting receive return.
	close() error
}

// trust decides which certificates a client accepts.
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
	if t.insecure {
		return &tls.Config{InsecureSkipVerify: true}, nil //nolint:gosec // the user asked for it
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	file := t.ca
	if file == "" {
		dir, err := configDir(t.configDir)
		if err != nil {
			return &tls.Config{RootCAs: roots}, nil //nolint:nilerr // without a directory there is no own CA
		}
		file = filepath.Join(dir, "ca.pem")
	}
	pem, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && t.ca == "":
	case err != nil:
		return nil, err
	case !roots.AppendCertsFromPEM(pem):
		return nil, fmt.Errorf("%s has no certificate in PEM; name a file that has with --ca", file)
	}
	return &tls.Config{RootCAs: roots}, nil
}

// explain adds to err, if the server's certificate is unknown, what the user can do about it.
func (*trust) explain(err error) error {
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return fmt.Errorf("%w; trust its CA with --ca FILE", err)
	}
	return err
}

// dial connects to raw, a URL with the scheme http, https, ws, wss, tcp, tls or udp.
func dial(ctx context.Context, raw string, t *trust) (peer, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return nil, cli.Usage(fmt.Errorf("%q is not a URL such as ws://localhost:8100/ or tcp://localhost:8100", raw))
	}
	schemes := map[string]struct {
		dial   func(context.Context, *url.URL, *tls.Config) (peer, error)
		secure bool
		port   string // used if the URL has none; if empty, the URL needs one
	}{
		"http": {dialHTTP, false, "80"}, "https": {dialHTTP, true, "443"},
		"ws": {dialWebSocket, false, "80"}, "wss": {dialWebSocket, true, "443"},
		"tcp": {dialRaw, false, ""}, "tls": {dialRaw, true, ""}, "udp": {dialUDP, false, ""},
	}
	scheme, ok := schemes[u.Scheme]
	if !ok {
		return nil, cli.Usage(fmt.Errorf("%q: want a URL with the scheme http, https, ws, wss, tcp, tls or udp", raw))
	}
	addr := u.Host
	if u.Port() == "" && scheme.port != "" {
		addr = net.JoinHostPort(u.Hostname(), scheme.port)
	}
	if err := checkAddress(addr); err != nil || u.Hostname() == "" {
		return nil, cli.Usage(fmt.Errorf("%q: want HOST:PORT, such as localhost:8100, after %s://", raw, u.Scheme))
	}
	var config *tls.Config
	if scheme.secure {
		if config, err = t.config(); err != nil {
			return nil, err
		}
	}
	return scheme.dial(ctx, u, config)
}

// rawPeer sends and receives lines over TCP or TLS.
type rawPeer struct {
	net.Conn
	lines *lines
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
	return &rawPeer{c, newLines(c, maxMessage)}, nil
}

func (p *rawPeer) send(msg string) error {
	_, err := io.WriteString(p.Conn, msg+"\n")
	return err
}

func (p *rawPeer) receive() (string, error) { return p.lines.next() }
func (p *rawPeer) close() error             { return p.Conn.Close() }

func (p *rawPeer) end() error {
	if err := handlers.CloseWrite(p.Conn); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// lines reads lines up to a length limit.
type lines struct {
	r     *bufio.Reader
	limit int
}

func newLines(r io.Reader, limit int) *lines { return &lines{bufio.NewReader(r), limit} }

// next returns the next line without its newline, which the last line may lack.
func (l *lines) next() (string, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(bytes.TrimSuffix(line, []byte("\n"))) > l.limit:
			return "", fmt.Errorf("a line is longer than %d bytes", l.limit)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0:
			err = nil
		}
		return string(bytes.TrimSuffix(line, []byte("\n"))), err
	}
}

// httpPeer sends lines in the body of one POST request and receives those of the answer.
type httpPeer struct {
	body   *io.PipeWriter
	answer chan answer
	cancel context.CancelFunc
	client *http.Client
	lines  *lines // of the answer; nil until it begins
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
	p.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true,
		DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, TLSHandshakeTimeout: dialTime,
	}}
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
	if p.lines == nil {
		a := <-p.answer
		if a.err != nil {
			return "", a.err
		}
		p.resp, p.lines = a.resp, newLines(a.resp.Body, maxMessage)
	}
	line, err := p.lines.next()
	if errors.Is(err, io.EOF) && p.resp.StatusCode/100 != 2 {
		return "", fmt.Errorf("the server answered %s", p.resp.Status)
	}
	return line, err
}

func (p *httpPeer) close() error {
	p.cancel()
	p.client.CloseIdleConnections()
	return p.body.Close()
}
