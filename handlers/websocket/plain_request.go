package websocket

import (
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
)

// plainRequest returns the request that [http.ReadRequest] reads from the complete head of an
// ordinary handshake, in half the time. It returns nil for other heads, and for fields that
// ReadRequest or checkLines does more with than copy them.
func plainRequest(head []byte) *http.Request {
	line, fields, _ := bytes.Cut(head, crlf)
	if !isPlainRequest(line) {
		return nil
	}
	target := string(line[len("GET ") : len(line)-len(" HTTP/1.1")])
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil
	}
	n := bytes.Count(fields, crlf)
	r := &http.Request{
		Method: http.MethodGet, URL: u, RequestURI: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, n), Body: http.NoBody,
	}
	values := make([]string, n)
	for i := 0; ; i++ {
		line, fields, _ = bytes.Cut(fields, crlf)
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if len(name) == len(line) || !isToken(string(name)) || !isValue(value) {
			return nil
		}
		values[i] = string(bytes.Trim(value, " \t"))
		if !addPlain(r, nameOf(name), values[i:i+1:i+1]) {
			return nil
		}
	}
	asks := r.Header["Pragma"] != nil && r.Header["Cache-Control"] == nil // ReadRequest may add it
	if len(fields) > 0 || r.Host == "" || asks {
		return nil
	}
	return r
}

// addPlain adds a field to r. It returns false if the field means more than its value.
func addPlain(r *http.Request, name string, value []string) bool {
	switch name {
	case "Host":
		ok := r.Host == "" && value[0] != "" && isHost([]byte(value[0]))
		r.Host = value[0]
		return ok
	case "Content-Length", "Transfer-Encoding", "Trailer":
		return false
	case "Connection":
		if bytes.Contains(bytes.ToLower([]byte(value[0])), []byte("close")) {
			return false
		}
	}
	if all := r.Header[name]; len(all) > 0 {
		value = append(all, value...)
	}
	r.Header[name] = value
	return true
}

// nameOf returns the canonical form of the name of a field.
func nameOf(name []byte) string {
	switch string(name) { // the usual ones need no memory
	case "Host":
		return "Host"
	case "Upgrade":
		return "Upgrade"
	case "Connection":
		return "Connection"
	case "Origin":
		return "Origin"
	case "Sec-WebSocket-Key":
		return "Sec-Websocket-Key"
	case "Sec-WebSocket-Version":
		return "Sec-Websocket-Version"
	case "Sec-WebSocket-Extensions":
		return "Sec-Websocket-Extensions"
	}
	return textproto.CanonicalMIMEHeaderKey(string(name))
}
