package tlsd

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/linger"
)

const (
	headTime  = 5 * time.Second
	headBytes = 8 << 10
)

// ErrPlain is the error that [RequireTLS] reports.
var ErrPlain = fmt.Errorf("plain HTTP on a port that speaks TLS only: %w", handlers.ErrPolicy)

// RequireTLS is a Handler for plain HTTP on a port that speaks TLS only. It answers 400 with the
// https URL to use instead.
var RequireTLS handlers.Handler = requireTLS{}

type requireTLS struct{}

// Serve answers in its own goroutine.
func (requireTLS) Serve(c handlers.Conn, p handlers.Port) {
	p.Go(func() { // ends when the client has the answer, or after headTime and lingerTime
		defer c.Close()
		nc, err := c.NetConn()
		if err != nil {
			p.Fail(c.Info(), err)
			return
		}
		answerPlain(nc)
		p.Fail(c.Info(), ErrPlain)
	})
}

// answerPlain reads the head of one request and answers it.
func answerPlain(nc net.Conn) {
	if nc.SetReadDeadline(time.Now().Add(headTime)) != nil {
		return
	}
	head := readHead(nc)
	if nc.SetWriteDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	if _, err := nc.Write(appendPlainAnswer(nil, head)); err == nil {
		linger.End(nc, lingerTime, lingerBytes)
	}
}

// readHead reads up to the empty line. It stops early after headBytes, at the deadline or at an
// error.
func readHead(nc net.Conn) []byte {
	buf := make([]byte, headBytes)
	n := 0
	for n < len(buf) {
		m, err := nc.Read(buf[n:])
		from := max(0, n-3)
		n += m
		if err != nil || bytes.Contains(buf[from:n], []byte("\n\r\n")) || bytes.Contains(buf[from:n], []byte("\n\n")) {
			break
		}
	}
	return buf[:n]
}

// appendPlainAnswer appends the response to the request that begins with head.
func appendPlainAnswer(dst, head []byte) []byte {
	text := "This port speaks TLS only."
	if host := hostOf(head); host != "" {
		text += " Try https://" + host + "/"
	}
	dst = handlers.AppendRefusal(dst, http.StatusBadRequest, text)
	if bytes.HasPrefix(head, []byte("HEAD ")) {
		dst = dst[:len(dst)-len(text)-len("\n")]
	}
	return dst
}

// hostOf returns the Host of a request (RFC 9110, section 7.2), or "" if there is none that is safe
// to repeat.
func hostOf(head []byte) string {
	_, head, _ = bytes.Cut(head, []byte("\n"))
	for {
		line, rest, whole := bytes.Cut(head, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 || !whole {
			return ""
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Host")) {
			if len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
				return "" // the next line continues it: RFC 9112, section 5.2
			}
			return cleanHost(bytes.TrimSpace(value))
		}
		head = rest
	}
}

// cleanHost returns host if it consists of the characters of a name or address with or without a
// port, and "" otherwise.
func cleanHost(host []byte) string {
	if len(host) > 260 {
		return ""
	}
	for _, c := range host {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case bytes.IndexByte([]byte("-._:[]"), c) >= 0:
		default:
			return ""
		}
	}
	return string(host)
}
