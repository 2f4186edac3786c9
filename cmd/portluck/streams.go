package main

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/cmd/portluck/internal/page"
	"github.com/portluck/portluck/handlers/tcp"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck"
	"github.com/spf13/pflag"
)

const (
	// echoPrefix begins what a client of the shared port sends to get the echo server.
	echoPrefix = "ECHO"
	// streamIdle is how long a stream may be idle.
	streamIdle = 2 * time.Minute
)

// streams is the service of --echo-stream: an echo server like the one in Node's documentation.
type streams struct {
	addr  string
	*echo // nil until start
}

// echo holds the state of a started streams.
type echo struct {
	server tcp.Server
	shared string // address of the shared port
	seen   atomic.Int64
	bytes  atomic.Int64
}

var _ service = (*streams)(nil)

func (s *streams) flags(f *pflag.FlagSet) {
	f.StringVar(&s.addr, "echo-stream", "",
		"address, HOST:PORT or unix:PATH, of an echo server that sends back each byte; it also gets the streams on the shared "+
			"port that begin with "+echoPrefix)
}

func (s *streams) check() error {
	if s.addr == "" {
		return nil
	}
	return checkListenFlag("--echo-stream", s.addr)
}

func (s *streams) on() bool { return s.addr != "" }

func (s *streams) start(d *demo) error {
	s.echo = new(echo)
	s.server.Events = &tcp.Events{
		OnConnect: func(c *tcp.Stream) {
			s.seen.Add(1)
			c.SetTimeout(streamIdle)
			_, _ = c.WriteString("hello\r\n", tcp.UTF8)
		},
		OnData: func(c *tcp.Stream, p []byte) {
			s.bytes.Add(int64(len(p)))
			_, _ = c.Write(p) // while its queue is full, c is not read
		},
		OnEnd:     func(c *tcp.Stream) { _ = c.End([]byte("goodbye\r\n")) },
		OnTimeout: (*tcp.Stream).Destroy,
		OnError: func(c *tcp.Stream, err error) {
			d.logger.Debug().Err(err).Str("remote", remoteName(c.RemoteAddress())).Msg("stream failed")
		},
	}
	s.server.MaxConnections, s.server.Log = d.srv.MaxConns, d.srv
	all, err := portluck.Listen(s.addr)
	if err != nil {
		return listenError(err, "--echo-stream "+s.addr)
	}
	closeAll(all[1:]) // localhost has two addresses; like Node, use one
	if err := s.server.ListenOn(all[0]); err != nil {
		return err
	}
	s.shared = reachable(d.listeners[0].Addr())
	d.srv.Handle("stream", matchers.Prefix(echoPrefix), &s.server)
	return nil
}

func (s *streams) stop(ctx context.Context) { _ = s.server.Shutdown(ctx) }

func (s *streams) panel() page.Panel {
	p := page.Panel{
		Title: "Streams",
		Hint:  "Sends back bytes as they come, between a hello and a goodbye, like the echo server in the documentation of Node's net.",
		Facts: []page.Fact{
			{Name: "connections", Value: strconv.Itoa(s.server.Connections())},
			{Name: "in all", Value: strconv.FormatInt(s.seen.Load(), 10)},
			{Name: "bytes", Value: strconv.FormatInt(s.bytes.Load(), 10)},
		},
	}
	if a := s.server.Addr(); a != nil {
		p.Facts = append(p.Facts, page.Fact{Name: "listening on", Value: addressOf(a)})
		p.Commands = append(p.Commands, page.Command{What: "stream", Command: shellLine("nc -N", ncAddress(reachable(a))...)})
	}
	p.Commands = append(p.Commands, page.Command{
		What: "stream, shared port", Command: shellLine("echo "+echoPrefix+" me | nc -N", ncAddress(s.shared)...),
	})
	return p
}
