package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/portluck/portluck/cmd/portluck/internal/chat"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/mesh"
	"github.com/spf13/cobra"
)

func newMesh() *cobra.Command {
	m := meshing{out: os.Stdout, input: os.Stdin}
	cmd := &cobra.Command{
		Use:   "mesh NAME",
		Short: "Show who is in a mesh, and what they say",
		Long: `mesh joins the mesh NAME and shows who is there: "+" marks a node that comes, "-" one that goes, and each other line is
a message of one of them. What you type goes to all, in the room --room.

The others may be servers of "portluck serve --mesh NAME", whose rooms mesh shows, or other programs that begin with the
mesh's hello. With --plain they are nodes of tcpnet: mesh shows their bytes as lines, and sends what you type as it is.

Nodes on this machine find each other by multicast DNS, without configuration; with --lan, those on its networks too.
mesh ends with Ctrl-C, at the end of the input on a terminal (Ctrl-D), or after --for.`,
		Example: `  portluck mesh demo
  portluck mesh demo --lan                    on the networks of this machine too
  portluck mesh my-cluster --plain            among nodes of tcpnet
  portluck mesh demo --for 5s </dev/null      who is there?`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			if err := m.check(list[0]); err != nil {
				return cli.Usage(err)
			}
			return m.run(cmd.Context(), list[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&m.id, "id", "", "id of this node, hexadecimal (default a random one)")
	f.BoolVar(&m.lan, "lan", false, "find and hear nodes on the networks of this machine too, not only on this machine")
	f.StringVar(&m.listen, "listen", "",
		"address for the others to dial: HOST:PORT, or :PORT for every interface; 0 is any free port (default 127.0.0.1:0, or :0 with --lan)")
	f.StringVar(&m.keyFile, "key", "", "file with the secret of the mesh, as for serve --mesh-key")
	f.StringVar(&m.room, "room", "lobby", "room for the lines that you type; that of serve is lobby")
	f.BoolVar(&m.plain, "plain", false, "speak to nodes of tcpnet: send only what is typed")
	f.DurationVar(&m.time, "for", 0, "end after this long; 0 for no limit")
	return cmd
}

// meshing is one run of the command mesh.
type meshing struct {
	id, listen, keyFile, room string
	plain, lan                bool
	time                      time.Duration
	input                     *os.File

	mu  sync.Mutex
	out io.Writer

	node  *mesh.Node
	plane *mesh.Backplane

	ending atomic.Bool // the command is ending and closes its connections
}

func (m *meshing) check(name string) error {
	switch {
	case m.plain && m.keyFile != "":
		return errors.New("--plain and --key exclude each other: tcpnet has no secrets")
	case m.lan && m.listen != "":
		return errors.New("--lan and --listen exclude each other")
	case m.time < 0:
		return errors.New("--for cannot be negative")
	}
	switch {
	case m.lan:
		m.listen = ":0"
	case m.listen == "":
		m.listen = "127.0.0.1:0"
	}
	if err := checkAddress(m.listen); err != nil {
		return fmt.Errorf("--listen %q: %w", m.listen, err)
	}
	if err := mesh.CheckName(name); err != nil {
		return err
	}
	return checkID("--id", m.id)
}

// run runs a node of the mesh until a signal, the end of the input or --for ends it.
func (m *meshing) run(ctx context.Context, name string) error {
	key, err := readKey("--key", m.keyFile)
	if err != nil {
		return err
	}
	ctx, stop := cli.UntilSignal(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if m.time > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, m.time)
		defer cancel()
	}
	m.node = &mesh.Node{
		Name: name, ID: m.id, Key: key, Hello: !m.plain, OnConnection: m.connection, OnListening: m.listening,
		OnError: func(err error) { fmt.Fprintln(os.Stderr, "portluck:", err) },
	}
	m.plane = &mesh.Backplane{OnLine: m.line}
	if err := m.plane.Subscribe(handlers.Subscriber{Deliver: m.deliver, Gap: m.gap}); err != nil {
		return err
	}
	host, service, _ := net.SplitHostPort(m.listen)
	port, err := net.LookupPort("tcp", service)
	if err != nil {
		return err
	}
	if err := m.node.Listen(port, host); err != nil {
		return listenError(err, "--listen "+m.listen)
	}
	defer m.node.Close()
	defer m.ending.Store(true)
	typed := make(chan error, 1)
	// This goroutine ends with the input. The process does not wait for it.
	go func() { typed <- sendAll(m.say, nil, m.input) }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-typed:
		if err != nil || cli.IsTerminal(m.input) {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// print prints a line, made safe for a terminal.
func (m *meshing) print(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Fprintln(m.out, chat.Clean(fmt.Sprintf(format, args...)))
}

func (m *meshing) listening() {
	a := m.node.Address()
	if a == nil {
		return // the node is closed already
	}
	ip := "*"
	if len(a.Addresses) == 1 {
		ip = a.Addresses[0].String()
	}
	m.print("listening on %s as %s", net.JoinHostPort(ip, strconv.Itoa(a.Port)), m.node.LocalID())
}

// connection shows that a peer has come, what it says, and that it has gone.
func (m *meshing) connection(c *mesh.Conn) {
	m.print("+ %s %s", who(c), c.RemoteAddr())
	if m.plain {
		m.lines(c)
	} else {
		m.plane.Serve(c)
	}
	<-c.Done()
	if m.ending.Load() {
		return // we leave, not the peer
	}
	m.print("- %s %s", who(c), c.RemoteAddr())
}

// lines shows the lines that a peer sends with --plain.
func (m *meshing) lines(c *mesh.Conn) {
	in := newLines(c, 1<<20)
	for {
		line, err := in.next()
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			fmt.Fprintf(os.Stderr, "portluck: %s %s: %v\n", who(c), c.RemoteAddr(), err)
			c.Close()
			return
		}
		m.line(c, []byte(line))
	}
}

func (m *meshing) line(c *mesh.Conn, line []byte) {
	m.print("%s: %s", cmp.Or(short(c.Peer()), c.RemoteAddr().String()), line)
}

func (m *meshing) deliver(d handlers.Delivery) {
	m.print("%s %s: %s", short(d.Origin), d.Room, d.Message.Data)
}

func (m *meshing) gap(origin string, missed, _ uint64) {
	m.print("%s: %d messages are missing", short(origin), missed)
}

// say sends a typed line to all peers.
func (m *meshing) say(line string) error {
	if m.plain {
		m.node.Broadcast([]byte(line + "\n"))
		return nil
	}
	return m.plane.Publish(m.room, handlers.Message{Data: []byte(line), Kind: handlers.Text})
}

// who returns the id of a peer, or "(unknown)".
func who(c *mesh.Conn) string {
	if c.Peer() == "" {
		return "(unknown)"
	}
	return c.Peer()
}

// short returns the first 8 characters of an id.
func short(id string) string { return id[:min(len(id), 8)] }
