package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// httpCodec is an HTTP/1.1 client: a message is the body of a POST, and its echo the body of the
// response. It knows less than net/http and costs a tenth, so that the client is not what portload
// measures.
type httpCodec struct {
	head []byte
	get  bool // head is all of a request
}

func newHTTPCodec(p *plan) httpCodec {
	if p.Get {
		return httpCodec{head: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", p.Path, p.Host), get: true}
	}
	return httpCodec{head: fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain\r\nContent-Length: ", p.Path, p.Host)}
}

func (httpCodec) reply() []byte { return nil }

// encode adds a line end to the message, for servers that split bodies into lines.
func (c httpCodec) encode(dst, msg []byte) []byte {
	dst = append(dst, c.head...)
	if c.get {
		return dst
	}
	dst = strconv.AppendInt(dst, int64(len(msg)+1), 10)
	dst = append(dst, "\r\n\r\n"...)
	dst = append(dst, msg...)
	return append(dst, '\n')
}

func (c httpCodec) decode(in []byte, atEnd bool, got func(msg []byte)) (n int, err error) {
	for n < len(in) {
		body, size, err := response(in[n:], atEnd)
		if err != nil || size == 0 {
			return n, err
		}
		n += size
		if body != nil {
			got(body)
		}
	}
	return n, nil
}

// response parses the response at the front of in. Its size is 0 if the response is incomplete, and
// its body is nil if it is an interim one.
func response(in []byte, atEnd bool) (body []byte, size int, err error) {
	head, rest, whole := bytes.Cut(in, []byte("\r\n\r\n"))
	if !whole {
		return nil, 0, nil
	}
	start := len(in) - len(rest)
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	status := ""
	if version, after, ok := bytes.Cut(line, []byte(" ")); ok && bytes.HasPrefix(version, []byte("HTTP/1.")) && len(after) >= 3 {
		status = string(after[:3])
	}
	switch {
	case strings.HasPrefix(status, "1"):
		return nil, start, nil
	case !strings.HasPrefix(status, "2"):
		return nil, 0, fmt.Errorf("the server answered %.80q", line)
	case status == "204":
		return []byte{}, start, nil
	}
	length, chunked, err := framing(fields)
	switch {
	case err != nil:
		return nil, 0, err
	case chunked:
		body, size, err = chunks(rest)
	case length >= 0 && length <= len(rest):
		body, size = rest[:length], length
	case length < 0 && atEnd:
		body, size = rest, len(rest)
	default:
		return nil, 0, nil
	}
	if body == nil || err != nil {
		return nil, 0, err
	}
	return body, start + size, nil
}

// framing returns the length of the body; -1 if the body ends with the connection.
func framing(fields []byte) (length int, chunked bool, err error) {
	length = -1
	for len(fields) > 0 {
		var field []byte
		field, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, _ := bytes.Cut(field, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil || length < 0 {
				return 0, false, fmt.Errorf("the server sent %.80q", field)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(bytes.TrimSpace(value), []byte("chunked"))
		}
	}
	return length, chunked, nil
}

// chunks joins the chunks at the front of in. The body is nil if chunks are missing.
func chunks(in []byte) (body []byte, size int, err error) {
	body = []byte{}
	for {
		line, rest, whole := bytes.Cut(in[size:], []byte("\r\n"))
		if !whole {
			return nil, 0, nil
		}
		digits, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseInt(string(bytes.TrimSpace(digits)), 16, 32)
		switch {
		case err != nil || n < 0:
			return nil, 0, errors.New("the server sent a broken chunk")
		case len(rest) < int(n)+2:
			return nil, 0, nil
		case n == 0:
			return trailer(body, in, len(in)-len(rest))
		}
		body = append(body, rest[:n]...)
		size = len(in) - len(rest) + int(n) + 2
	}
}

// trailer skips the fields after the last chunk, at in[at:].
func trailer(body, in []byte, at int) ([]byte, int, error) {
	for {
		line, rest, whole := bytes.Cut(in[at:], []byte("\r\n"))
		if !whole {
			return nil, 0, nil
		}
		at = len(in) - len(rest)
		if len(line) == 0 {
			return body, at, nil
		}
	}
}
