// Package raw serves clients that open a socket and send bytes, without a protocol such as HTTP:
// netcat, telnet, a device. They are clients of the port's hub, in the clear or inside TLS.
//
// TCP has no messages, so a codec makes them. A [Handler] gives each connection a codec of its own,
// [Lines] by default:
//
//   - [Lines] ends each message at a delimiter, a line feed by default;
//   - [Prefixed] reads the length of each message in front of it;
//   - [Bytes] takes the bytes as they come.
//
// A program with another framing sets Handler.NewCodec to a func that returns a [handlers.Codec] of
// its own. It may embed one of these codecs and override some of the methods.
//
// A client may close its half of the connection first (FIN). The rest of its bytes is still a
// message, and the client still gets the replies.
//
// # HTTP
//
// Any web page can make its user's browser send a request to any port, with lines of the page's
// choice in the body. Lines therefore ends a client whose first line is a request line, and answers
// it with 400. Lines.AllowHTTP turns that off. Prefixed and Bytes do not look for HTTP: in a port,
// give them a matcher that HTTP does not match.
package raw
