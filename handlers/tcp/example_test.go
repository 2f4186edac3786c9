package tcp_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/portluck/portluck/handlers/tcp"
)

// The echo server of Node's documentation, and a client.
func ExampleServer() {
	srv := &tcp.Server{Events: &tcp.Events{
		OnConnect: func(s *tcp.Stream) { s.Write([]byte("hello\r\n")) },
		OnData:    func(s *tcp.Stream, p []byte) { s.Write(p) },
		OnEnd:     func(s *tcp.Stream) { s.End([]byte("goodbye\r\n")) },
	}}
	if err := srv.Listen("tcp", "127.0.0.1:0"); err != nil {
		fmt.Println(err)
		return
	}
	closed := make(chan string)
	said := ""
	client := &tcp.Stream{Events: &tcp.Events{
		OnConnect: func(s *tcp.Stream) { s.End([]byte("abc\r\n")) },
		OnData:    func(_ *tcp.Stream, p []byte) { said += string(p) },
		OnClose:   func(*tcp.Stream, bool) { closed <- said },
	}}
	if err := client.Dial(context.Background(), "tcp", srv.Addr().String()); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%q\n", <-closed)
	fmt.Println(srv.Shutdown(context.Background()), srv.Connections())
	// Output:
	// "hello\r\nabc\r\ngoodbye\r\n"
	// <nil> 0
}

// A server on a Unix socket whose streams have their own events, and a stream that is opened to it
// twice.
func ExampleStream() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "count.sock")
	var served atomic.Int64
	srv := &tcp.Server{OnConnection: func(s *tcp.Stream) {
		number := served.Add(1)
		s.Events = &tcp.Events{OnData: func(s *tcp.Stream, p []byte) {
			s.End(fmt.Appendf(nil, "%s, you are number %d", p, number))
		}}
	}}
	if err := srv.Listen("unix", path); err != nil {
		fmt.Println(err)
		return
	}
	closed := make(chan bool)
	s := &tcp.Stream{Events: &tcp.Events{
		OnData:  func(_ *tcp.Stream, p []byte) { fmt.Printf("%s\n", p) },
		OnClose: func(_ *tcp.Stream, hadError bool) { closed <- hadError },
	}}
	for range 2 {
		if err := s.Dial(context.Background(), "unix", path); err != nil {
			fmt.Println(err)
			return
		}
		s.WriteString("hello", tcp.UTF8)
		<-closed
	}
	fmt.Println(s.ReadyState(), srv.Shutdown(context.Background()))
	// Output:
	// hello, you are number 1
	// hello, you are number 2
	// closed <nil>
}

// Many streams can share Events. Each func gets the stream that it is called for.
func ExampleEvents() {
	events := &tcp.Events{
		OnError: func(s *tcp.Stream, err error) { fmt.Println(s.ReadyState(), err) },
		OnClose: func(s *tcp.Stream, hadError bool) { fmt.Println(s.ReadyState(), hadError) },
	}
	s := &tcp.Stream{Events: events}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Dial(ctx, "unix", "/nowhere")
	// Output:
	// closed dial unix /nowhere: operation was canceled
	// closed true
}

func ExampleReadyState() {
	s := new(tcp.Stream)
	fmt.Println(s.ReadyState() == tcp.Closed, s.ReadyState())
	// Output: true closed
}

func ExampleEncoding() {
	s := new(tcp.Stream)
	s.SetEncoding(tcp.UTF8) // OnData gets whole code points
	_, err := s.WriteString("not base64", tcp.Base64)
	fmt.Println(tcp.UTF8, err)
	// Output: utf8 text is not base64: illegal base64 data at input byte 3
}

func ExampleCertificate() {
	s := new(tcp.Stream)
	cert, err := s.PeerCertificate() // after OnSecure
	fmt.Printf("%q %v\n", cert.Subject, err)
	// Output: "" stream is not a secure stream
}

func ExampleIsIP() {
	fmt.Println(tcp.IsIP("127.0.0.1"), tcp.IsIP("::1"), tcp.IsIP("example.com"))
	// Output: 4 6 0
}
