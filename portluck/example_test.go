package portluck_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/portluck"
)

// listen returns a listener on loopback, and its address.
func listen() (net.Listener, string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return l, l.Addr().String()
}

// The first line of a client names the room that it joins. Later lines go to everybody in the room.
func ExampleRoom() {
	hub := &portluck.Hub{}
	hub.OnMessage = func(m portluck.Message, w *portluck.Writer, c *portluck.Client) {
		name, ok := strings.CutPrefix(m.String(), "join ")
		if !ok {
			hub.Room("lobby").Publish(m)
			return
		}
		if err := hub.Room(name).Join(c); err != nil {
			return // it is gone
		}
		w.WriteString("welcome\n")
	}
	server := &portluck.Server{Hub: hub}
	l, addr := listen()
	go server.Serve(l) // ends with Shutdown
	defer server.Shutdown(context.Background())

	var clients []*bufio.ReadWriter
	for range 2 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		c := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
		fmt.Fprintln(c, "join lobby")
		c.Flush()
		line, _ := c.ReadString('\n')
		fmt.Print(line)
		clients = append(clients, c)
	}
	fmt.Fprintln(clients[0], "hello, all")
	clients[0].Flush()
	for _, c := range clients {
		line, _ := c.ReadString('\n')
		fmt.Print(line)
	}
	fmt.Println(hub.Room("lobby").Len(), "members")
	// Output:
	// welcome
	// welcome
	// hello, all
	// hello, all
	// 2 members
}

// A browser's EventSource gets the messages of the room that the path names. When it reconnects it
// also gets those that it has missed: it sends the id of the last event that it has seen.
func ExampleServer_events() {
	hub := &portluck.Hub{RoomOptions: func(string) portluck.RoomOptions {
		return portluck.RoomOptions{History: 100}
	}}
	server := &portluck.Server{Hub: hub, RoomOf: func(r *http.Request) (string, bool) {
		return strings.CutPrefix(r.URL.Path, "/rooms/")
	}}
	l, addr := listen()
	go server.Serve(l) // ends with Shutdown
	defer server.Shutdown(context.Background())

	news := hub.Room("news")
	news.Publish(portluck.TextMessage("first"))
	at := news.Position()
	news.Publish(portluck.TextMessage("second"))

	request, _ := http.NewRequest(http.MethodGet, "http://"+addr+"/rooms/news", nil)
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Last-Event-ID", at.String())
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	fmt.Println(response.Header.Get("Content-Type"))
	news.Publish(portluck.TextMessage("third\nof two lines"))
	in := bufio.NewScanner(response.Body)
	for lines := 0; lines < 3 && in.Scan(); {
		if strings.HasPrefix(in.Text(), "data:") {
			fmt.Println(in.Text())
			lines++
		}
	}
	// Output:
	// text/event-stream
	// data: second
	// data: third
	// data: of two lines
}

// A program that logs with log/slog passes its logger as it is.
func ExampleServer_slog() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "remote" {
				return slog.Attr{} // they differ from run to run
			}
			return a
		},
	}))
	server := &portluck.Server{Log: logger, OnUnmatched: handlers.Refuse}
	l, addr := listen()
	go server.Serve(l) // ends with Shutdown

	conn, err := net.Dial("tcp", addr)
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, "nobody knows this protocol")
	conn.Read(make([]byte, 1)) // the end
	server.Shutdown(context.Background())
	// Output:
	// level=INFO msg="no route" proto=tcp route=raw
	// level=INFO msg="client failed" proto=tcp route=raw error="portluck: unknown protocol"
}
