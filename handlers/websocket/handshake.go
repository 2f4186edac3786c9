package websocket

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it; it protects nothing
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/portluck/portluck/handlers"
)

// maxHead bounds the head of a handshake in bytes. It is the bound of package httpd for any
// request.
const maxHead = 64 << 10

// handshake is the codec of a connection that is not open yet (RFC 6455, section 4.2).
type handshake struct {
	handler  *Handler
	info     *handlers.Info
	scanned  int  // leading bytes in which the head does not end
	answered bool // the answer was appended to Reply
}

// Decode implements [handlers.Codec.Decode]. It reads the head of the request; frames follow.
func (s *handshake) Decode(in []byte, m *handlers.Messages) (int, error) {
	n := endOfHead(in, s.scanned)
	switch {
	case n > maxHead, n == 0 && len(in) > maxHead:
		return s.refuse(m, &refusal{status: http.StatusRequestHeaderFieldsTooLarge, why: "the request head is too long"})
	case n == 0 && m.EOF:
		return s.refuse(m, bad("the request is not complete"))
	case n == 0:
		s.scanned = len(in)
		return 0, nil
	}
	r, err := parseHead(in[:n])
	if err != nil {
		return s.refuse(m, err)
	}
	if r.TLS = s.info.TLS; s.info.Remote.IsValid() {
		r.RemoteAddr = s.info.Remote.String()
	}
	if err := s.handler.check(r, s.info); err != nil {
		return s.refuse(m, err)
	}
	s.answered = true
	accepted := s.handler.accept(r, &handlers.Handshake{})
	m.Reply = append(m.Reply, accepted.answer...)
	m.Next = s.handler.open(accepted)
	info := s.handler.infoOf(s.info, r)
	info.Head = string(in[:n])
	m.Connect(info)
	return n, nil
}

func (s *handshake) refuse(m *handlers.Messages, r *refusal) (int, error) {
	s.answered = true
	m.Reply = r.append(m.Reply)
	return 0, r
}

// AppendWrite appends nothing: there is no client before the handshake is complete.
func (s *handshake) AppendWrite(dst, _ []byte, _ handlers.Kind) []byte { return dst }

// AppendMessage appends nothing, like AppendWrite.
func (s *handshake) AppendMessage(dst, _ []byte, _ handlers.Kind) []byte { return dst }

// AppendClose appends the answer to a handshake that is incomplete when the connection ends.
func (s *handshake) AppendClose(dst []byte, reason error) []byte {
	if s.answered {
		return dst
	}
	switch {
	case errors.Is(reason, handlers.ErrShutdown):
		return (&refusal{status: http.StatusServiceUnavailable, why: "the server is shutting down"}).append(dst)
	case errors.Is(reason, handlers.ErrOverload):
		return (&refusal{status: http.StatusServiceUnavailable, why: handlers.ErrOverload.Error()}).append(dst)
	case errors.Is(reason, handlers.ErrTimeout):
		return (&refusal{status: http.StatusRequestTimeout, why: "the request did not come in time"}).append(dst)
	}
	return dst
}

// endOfHead returns the length of the head at the beginning of b, or 0 if it does not end in b. The
// first scanned bytes were searched before.
func endOfHead(b []byte, scanned int) int {
	for i := max(0, scanned-3); ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return 0
		}
		i += n + 1
		switch rest := b[i:]; {
		case bytes.HasPrefix(rest, []byte("\n")):
			return i + 1
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return i + 2
		}
	}
}

var headReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, maxPlain) }}

// parseHead parses a complete request head.
func parseHead(head []byte) (*http.Request, *refusal) {
	if r := plainRequest(head); r != nil {
		return r, nil
	}
	return readHead(head)
}

// readHead parses a complete request head with net/http.
func readHead(head []byte) (*http.Request, *refusal) {
	if err := checkLines(head); err != nil {
		return nil, err
	}
	br := headReaders.Get().(*bufio.Reader)
	defer headReaders.Put(br)
	in := bytes.NewReader(head)
	br.Reset(in)
	r, err := http.ReadRequest(br)
	left := br.Buffered() + in.Len()
	br.Reset(nil)
	if err != nil || left > 0 {
		return nil, bad("the request is malformed")
	}
	r.Body = http.NoBody
	return r, nil
}

// checkLines checks what the server of net/http checks and http.ReadRequest does not. It refuses a
// name with a space before the colon and a line that continues another: a proxy may read those in
// another way (RFC 9112, sections 5.1 and 5.2).
func checkLines(head []byte) *refusal {
	hosts := 0
	_, fields, _ := bytes.Cut(head, []byte("\n"))
	for line := range bytes.Lines(fields) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.Trim(value, " \t"); {
		case !isToken(string(name)):
			return bad("a header field is malformed")
		case bytes.EqualFold(name, []byte("Host")):
			if hosts++; !isHost(value) {
				return bad("the Host is malformed")
			}
		}
	}
	if hosts != 1 {
		return bad("there must be one Host")
	}
	return nil
}

// isHost reports whether s has only characters of a host and a port (RFC 3986, section 3.2.2).
func isHost(s []byte) bool {
	for _, c := range s {
		if !isAlphanumeric(c) && strings.IndexByte("!$%&'()*+,-.:;=[]_~", c) < 0 {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' }

// accepted is the result of a handshake that is right.
type accepted struct {
	answer []byte
	window uint8 // window of compressed messages; 0 if compression is off
	keeps  uint8 // window that the client keeps between messages; 0 if it keeps none
}

// check checks the handshake r (RFC 6455, sections 4.2.1 and 4.2.2). It returns nil if that is
// right.
func (h *Handler) check(r *http.Request, conn *handlers.Info) *refusal {
	keys, versions := r.Header["Sec-Websocket-Key"], r.Header["Sec-Websocket-Version"]
	switch {
	case !h.Hosts.Answers(r, conn.Local.Addr()):
		return misdirected
	case r.Method != http.MethodGet:
		return &refusal{status: http.StatusMethodNotAllowed, why: "a WebSocket handshake is a GET request"}
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return bad("a WebSocket handshake needs HTTP/1.1")
	case !handlers.HasToken(r.Header["Upgrade"], "websocket") || !handlers.HasToken(r.Header["Connection"], "upgrade"):
		return &refusal{status: http.StatusUpgradeRequired, why: "there is only WebSocket here"}
	case len(versions) != 1 || versions[0] != "13":
		return &refusal{status: http.StatusUpgradeRequired, why: "the version must be 13"}
	case r.Host == "":
		return bad("there must be a Host")
	case len(keys) != 1 || !isKey(keys[0]):
		return bad("there must be one Sec-WebSocket-Key, of 16 bytes in base64")
	case r.ContentLength > 0 || len(r.TransferEncoding) > 0:
		return bad("a WebSocket handshake has no body")
	}
	return h.refuses(r)
}

func isKey(s string) bool {
	key, err := base64.StdEncoding.DecodeString(s)
	// DecodeString skips CR and LF, so the length of s counts too.
	return err == nil && len(key) == 16 && len(s) == base64.StdEncoding.EncodedLen(16)
}

// accept returns the answer to a handshake that is right, and of which the program has said asked.
func (h *Handler) accept(r *http.Request, asked *handlers.Handshake) (a accepted) {
	sum := sha1.Sum([]byte(r.Header["Sec-Websocket-Key"][0] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see above
	b := make([]byte, 0, 192)
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	b = base64.StdEncoding.AppendEncode(b, sum[:])
	if p := h.subprotocol(offered(r), asked.Protocol); p != "" {
		b = append(b, "\r\nSec-WebSocket-Protocol: "...)
		b = append(b, p...)
	}
	if h.CompressMin > 0 {
		var extensions string
		if extensions, a.window, a.keeps = negotiate(r.Header["Sec-Websocket-Extensions"], h.KeepWindow); a.window > 0 {
			b = append(b, "\r\nSec-WebSocket-Extensions: "...)
			b = append(b, extensions...)
		}
	}
	a.answer = append(appendFields(append(b, "\r\n"...), asked.Header), "\r\n"...)
	return a
}

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// offered returns the subprotocols that the client of r offers.
func offered(r *http.Request) (all []string) {
	for _, line := range r.Header["Sec-Websocket-Protocol"] {
		for one := range strings.SplitSeq(line, ",") {
			all = append(all, strings.TrimSpace(one))
		}
	}
	return all
}

// subprotocol returns chosen if it is among those that the client offers, else the first of
// h.Protocols that is, or "".
func (h *Handler) subprotocol(offered []string, chosen string) string {
	if isToken(chosen) && slices.Contains(offered, chosen) {
		return chosen
	}
	for _, p := range h.Protocols {
		if slices.Contains(offered, p) {
			return p
		}
	}
	return ""
}
