package handlers

import (
	"net/http"
	"strconv"
	"time"
)

// AppendRefusal appends a complete HTTP/1.1 response that refuses a client, for use where net/http
// does not answer. The response has the status, a Date (RFC 9110, section 6.6.1), the fields, and
// text as a line of plain text. It has "Connection: close" unless fields contain a Connection.
func AppendRefusal(dst []byte, status int, text string, fields ...[2]string) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(append(append(dst, ' '), http.StatusText(status)...), "\r\nDate: "...)
	dst = append(time.Now().UTC().AppendFormat(dst, http.TimeFormat), "\r\n"...)
	closes := true
	for _, field := range fields {
		closes = closes && field[0] != "Connection"
		dst = append(append(append(append(dst, field[0]...), ": "...), field[1]...), "\r\n"...)
	}
	if closes {
		dst = append(dst, "Connection: close\r\n"...)
	}
	dst = append(dst, "X-Content-Type-Options: nosniff\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(text)+1), 10)
	return append(append(append(dst, "\r\n\r\n"...), text...), '\n')
}
