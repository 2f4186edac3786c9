package portluck_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/portluck/portluck/portluck"
)

// greeter says to each client who its user is.
func greeter(login func(ctx context.Context, h *portluck.Handshake) error) *portluck.Hub {
	hub := &portluck.Hub{OnHandshake: login}
	hub.OnMessage = func(_ portluck.Message, w *portluck.Writer, c *portluck.Client) {
		w.Send(portluck.TextMessage("hello " + c.Info().Login.User))
	}
	return hub
}

// A script in a browser cannot set the header of a WebSocket. It sends its token as a second
// subprotocol: new WebSocket(url, ["chat", "bearer." + token]). The close code tells it that the
// token is wrong.
func ExampleHub_OnHandshake_bearer() {
	tokens := map[string]string{"s3cret": "ann"}
	server := &portluck.Server{Hub: greeter(func(_ context.Context, h *portluck.Handshake) error {
		h.Protocol = "chat" // a browser fails without one of those that it offers
		for _, p := range h.Protocols {
			if token, ok := strings.CutPrefix(p, "bearer."); ok {
				h.User = tokens[token]
			}
		}
		if h.User == "" {
			return &portluck.Refusal{Status: http.StatusUnauthorized, Close: 3000, Text: "log in"}
		}
		return nil
	})}
	l, addr := listen()
	go server.Serve(l) // ends with Shutdown
	defer server.Shutdown(context.Background())

	for _, token := range []string{"s3cret", "guess"} {
		d := ws.Dialer{Protocols: []string{"chat", "bearer." + token}}
		c, buffered, hs, err := d.Dial(context.Background(), "ws://"+addr)
		if err != nil {
			panic(err)
		}
		wsutil.WriteClientText(c, []byte("hi"))
		in := io.Reader(c)
		if buffered != nil { // the close may have come with the answer
			in = buffered
		}
		text, err := wsutil.ReadServerText(struct {
			io.Reader
			io.Writer
		}{in, c})
		fmt.Println(hs.Protocol, string(text), err)
		c.Close()
	}
	// Output:
	// chat hello ann <nil>
	// chat  ws closed: 3000 log in
}

// A login by password gives the client a cookie, which later requests, WebSockets and event streams
// send by themselves.
func ExampleHub_OnHandshake_cookie() {
	server := &portluck.Server{Hub: greeter(func(_ context.Context, h *portluck.Handshake) error {
		if h.Request == nil {
			return &portluck.Refusal{Text: "log in over HTTP"}
		}
		if cookie, err := h.Request.Cookie("session"); err == nil && cookie.Value == "4711" {
			h.User = "ann"
			return nil
		}
		if name, password, _ := h.Request.BasicAuth(); name == "ann" && password == "s3cret" {
			h.User = name
			cookie := http.Cookie{Name: "session", Value: "4711", HttpOnly: true, SameSite: http.SameSiteStrictMode}
			h.Header.Add("Set-Cookie", cookie.String())
			return nil
		}
		h.Header.Set("WWW-Authenticate", `Basic realm="chat"`)
		return &portluck.Refusal{Status: http.StatusUnauthorized, Text: "log in"}
	})}
	l, addr := listen()
	go server.Serve(l) // ends with Shutdown
	defer server.Shutdown(context.Background())

	ask := func(set func(r *http.Request)) *http.Response {
		r, err := http.NewRequest(http.MethodPost, "http://"+addr, strings.NewReader("hi"))
		if err != nil {
			panic(err)
		}
		set(r)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			panic(err)
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		fmt.Print(answer.StatusCode, " ", string(body))
		return answer
	}
	ask(func(*http.Request) {})
	first := ask(func(r *http.Request) { r.SetBasicAuth("ann", "s3cret") })
	ask(func(r *http.Request) { r.AddCookie(first.Cookies()[0]) })
	// Output:
	// 401 log in
	// 200 hello ann
	// 200 hello ann
}

// A client shows a certificate in TLS. The server verifies it, and OnHandshake takes the user from
// it, whatever the client speaks inside.
func ExampleHub_OnHandshake_certificate() {
	cert, roots := exampleCertificate("ann")
	server := &portluck.Server{
		Hub: greeter(func(_ context.Context, h *portluck.Handshake) error {
			if h.TLS == nil || len(h.TLS.VerifiedChains) == 0 {
				return &portluck.Refusal{Text: "show a certificate"}
			}
			h.User = h.TLS.PeerCertificates[0].Subject.CommonName
			return nil
		}),
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{cert}, ClientCAs: roots, ClientAuth: tls.VerifyClientCertIfGiven,
		},
	}
	l, addr := listen()
	go server.Serve(l) // ends with Shutdown
	defer server.Shutdown(context.Background())

	for _, certs := range [][]tls.Certificate{{cert}, nil} {
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: certs})
		if err != nil {
			panic(err)
		}
		fmt.Fprintln(c, "hi")
		line, _ := bufio.NewReader(c).ReadString('\n')
		fmt.Print(line)
		c.Close()
	}
	// Output:
	// hello ann
	// error: show a certificate
}

// A person with nc has no token to send before the connection is one. OnHandshake admits raw
// clients, and their first line is the login.
func ExampleHub_OnHandshake_firstLine() {
	hub := &portluck.Hub{}
	hub.OnConnect = func(w *portluck.Writer, _ *portluck.Client) { w.Send(portluck.TextMessage("password?")) }
	hub.OnMessage = func(m portluck.Message, w *portluck.Writer, c *portluck.Client) {
		members := hub.Room("members")
		switch {
		case len(c.Rooms()) > 0:
			members.Publish(m)
		case m.String() == "s3cret":
			members.Join(c)
			w.Send(portluck.TextMessage("welcome"))
		default:
			w.Send(portluck.TextMessage("no"))
			w.End()
		}
	}
	server := &portluck.Server{Hub: hub}
	l, addr := listen()
	go server.Serve(l) // ends with Shutdown
	defer server.Shutdown(context.Background())

	for _, first := range []string{"s3cret\nhi\n", "guess\n"} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			panic(err)
		}
		io.WriteString(c, first)
		c.(*net.TCPConn).CloseWrite()
		answer, _ := io.ReadAll(c)
		fmt.Printf("%q\n", answer)
	}
	// Output:
	// "password?\nwelcome\nhi\n"
	// "password?\nno\n"
}
