package httpd

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// laneMost bounds a request of the lane, head and body. net/http reads as much at once, so that it
// would also have the whole request when it calls the handler.
const laneMost = netHTTPBuffer

// laneFields are the fields that a request of the lane may have, in lower case, with their names in
// an http.Header. The answer of net/http does not depend on them, except on Host, Content-Length
// and Connection, which parse looks at.
var laneFields = lowerNames(
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control",
	"Connection", "Content-Language", "Content-Length", "Content-Type", "Cookie", "Dnt", "From", "Host",
	"Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-Id", "Origin", "Priority", "Referer", "Save-Data",
	"Sec-Ch-Ua", "Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site",
	"Sec-Fetch-User", "Sec-Gpc", "Traceparent", "Tracestate", "User-Agent", "Via", "X-Api-Key", "X-Csrf-Token",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "X-Request-Id", "X-Requested-With",
)

func lowerNames(names ...string) map[string]string {
	m := make(map[string]string, len(names))
	for _, name := range names {
		m[strings.ToLower(name)] = name
	}
	return m
}

// laneHead is a head that is being parsed. It is a request of the lane only if each part is one
// that every reader of HTTP takes for the same.
type laneHead struct {
	method, target string
	header         http.Header
	values         []string // memory of the values in header
	host           string
	length         int
}

// laneExchange is a request of the lane with all that serves it, in one allocation. The program may
// keep it for as long as it likes.
type laneExchange struct {
	ctx     laneContext
	request http.Request
	url     url.URL
	body    laneBody
	answer  laneAnswer
	state   exchangeState
}

// hasLaneMethod reports whether in begins with a method of the lane.
func hasLaneMethod(in []byte) bool {
	return bytes.HasPrefix(in, []byte("POST ")) || bytes.HasPrefix(in, []byte("PUT "))
}

// parse parses the request at the beginning of in and returns its size in bytes. It returns zero
// for a request of more than most bytes, that is not whole, or that the lane does not understand
// wholly. The body of the request is a part of in.
func (x *laneExchange) parse(in []byte, most int) (size int) {
	in = in[:min(len(in), most)]
	end := bytes.Index(in, []byte("\r\n\r\n"))
	if end < 0 || !hasLaneMethod(in) {
		return 0
	}
	head := string(in[:end+2])
	h := laneHead{}
	line, fields, _ := strings.Cut(head, "\r\n")
	if !h.parseLine(line) || !h.parseFields(fields) || end+4+h.length > len(in) {
		return 0
	}
	u := &x.url
	if u.Path = h.target; !isPlainPath(h.target) {
		var err error
		if u, err = url.ParseRequestURI(h.target); err != nil {
			return 0
		}
	}
	size = end + 4 + h.length
	r := &x.request
	*r = *blank.WithContext(&x.ctx)
	r.Method, r.RequestURI, r.URL, r.Host = h.method, h.target, u, h.host
	r.Header, r.ContentLength, r.Body = h.header, int64(h.length), http.NoBody
	if h.length > 0 {
		x.body.in = in[end+4 : size]
		r.Body = &x.body
	}
	return size
}

// isPlainPath reports whether s is a path without a query, in which nothing is escaped.
func isPlainPath(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("/-._~", c) < 0 {
			return false
		}
	}
	return true
}

// blank is what the requests of the lane have in common.
var blank = http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}

// parseLine parses the request line, without its CRLF.
func (h *laneHead) parseLine(line string) bool {
	method, rest, _ := strings.Cut(line, " ")
	target, proto, _ := strings.Cut(rest, " ")
	h.method, h.target = method, target
	return (method == http.MethodPost || method == http.MethodPut) && proto == "HTTP/1.1" &&
		strings.HasPrefix(target, "/") && isVisible(target)
}

// isVisible reports whether s consists of visible ASCII characters.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// isText reports whether s consists of visible ASCII characters and spaces.
func isText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// parseFields parses the field lines, each with its CRLF. A field may come once.
func (h *laneHead) parseFields(fields string) bool {
	n := strings.Count(fields, "\r\n")
	h.header, h.values = make(http.Header, n), make([]string, 0, n)
	for fields != "" {
		var line string
		line, fields, _ = strings.Cut(fields, "\r\n")
		name, value, found := strings.Cut(line, ":")
		if !found || !isText(value) || !h.add(laneName(name), strings.Trim(value, " ")) {
			return false
		}
	}
	return h.host != ""
}

// laneName returns the name of a known field as an http.Header has it, or nothing.
func laneName(name string) string {
	var lower [24]byte
	if len(name) > len(lower) {
		return ""
	}
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return laneFields[string(lower[:len(name)])]
}

// add adds a field and reports whether the lane understands it.
func (h *laneHead) add(name, value string) bool {
	_, again := h.header[name]
	switch {
	case name == "" || again:
		return false
	case name == "Host":
		again, h.host = h.host != "", value
		return !again && isHost(value)
	case name == "Connection" && !strings.EqualFold(value, "keep-alive"):
		return false
	case name == "Content-Length" && !h.parseLength(value):
		return false
	}
	h.values = append(h.values, value)
	h.header[name] = h.values[len(h.values)-1 : len(h.values) : len(h.values)]
	return true
}

// isHost reports whether s has only characters of a name or an address, and a port.
func isHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-.:[]_", c) < 0 {
			return false
		}
	}
	return s != ""
}

func (h *laneHead) parseLength(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16) // no sign
	h.length = int(n)
	return err == nil
}

// laneBody is the body of a request of the lane. It is read in the turn of its connection only.
type laneBody struct {
	in   []byte
	read int // bytes that were read
}

// Read is io.Reader's.
func (b *laneBody) Read(p []byte) (int, error) {
	if b.read == len(b.in) {
		return 0, io.EOF
	}
	n := copy(p, b.in[b.read:])
	b.read += n
	return n, nil
}

// Close ends the body, whose memory belongs to the loop again.
func (b *laneBody) Close() error {
	b.in, b.read = nil, 0
	return nil
}
