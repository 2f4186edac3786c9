package httpd_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/httpd"
)

// shouter is a port that answers its clients in capitals.
type shouter struct{ handlers.Port }

func (shouter) Connect(_ *handlers.Info, s handlers.Stream) (handlers.Client, error) {
	return client{s}, nil
}

type client struct{ handlers.Stream }

func (c client) Message(m handlers.Message) error {
	return c.Send([]byte(strings.ToUpper(m.String())), m.Kind)
}

func (client) Disconnect(error) {}

func ExampleHandler() {
	h := &httpd.Handler{
		Pages: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a page\n") }),
		Limit: 64 << 10,
	}
	defer h.Close()
	server, end := net.Pipe()
	h.Serve(handlers.Wrap(nothing{}, server, &handlers.Info{}), shouter{})

	c := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return end, nil }}}
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		req, _ := http.NewRequest(method, "http://portluck/", strings.NewReader("hello\nworld"))
		resp, err := c.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		fmt.Print(resp.Status, "\n", string(body))
	}
	// Output:
	// 200 OK
	// HELLO
	// WORLD
	// 200 OK
	// a page
}

// nothing is the lower layer of a connection in memory.
type nothing struct{ handlers.Conn }

func (nothing) Close() error { return nil }
