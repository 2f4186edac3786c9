package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
	"github.com/portluck/portluck/handlers/internal/guarded"
)

// HelloPrefix begins both directions of a connection if [Node.Hello] is set: a matcher of it routes
// the mesh on a shared port. With Key or Identity a connection begins with TLS instead, and is
// matched by [ALPN].
const HelloPrefix = "PORTLUCK-MESH/1 "

// Protocol is the [handlers.Info.Protocol] of the connections of a mesh.
const Protocol = "mesh"

// ALPN is the application protocol that connections with Key or Identity negotiate.
const ALPN = "portluck-mesh/1"

// maxHello is how long the line can be.
const maxHello = len(HelloPrefix) + 15 + 1 + 63 + 1

var (
	errHello = fmt.Errorf("not a hello of this mesh: %w", handlers.ErrProtocol)
	errPanic = handlers.ErrPanic
)

// hello is the line that tells who we are.
func hello(name, id string) string { return HelloPrefix + name + " " + id + "\n" }

// parseHello parses a hello without its line end.
func parseHello(line string) (name, id string, err error) {
	rest, ok := strings.CutPrefix(line, HelloPrefix)
	name, id, _ = strings.Cut(rest, " ")
	clean, nameErr := cleanName(name)
	if !ok || nameErr != nil || clean != name || CheckID(id) != nil || id != strings.ToUpper(id) {
		return "", "", errHello
	}
	return name, id, nil
}

// readHello reads the line, and nothing behind it.
func readHello(c net.Conn) (name, id string, err error) {
	var line [maxHello]byte
	for i := range line {
		if _, err := readByte(c, line[i:i+1]); err != nil {
			return "", "", err
		}
		if line[i] == '\n' {
			return parseHello(string(line[:i]))
		}
		if i < len(HelloPrefix) && line[i] != HelloPrefix[i] {
			break
		}
	}
	return "", "", errHello
}

func readByte(c net.Conn, p []byte) (int, error) {
	for {
		if n, err := c.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
}

// The lines that follow the hellos: the node that has dialled asks to join.
const (
	join   = "join\n"
	second = "have\n" // refused: there is a connection already
)

// exchangeJoin asks to join.
func (n *Node) exchangeJoin(ctx context.Context, nc net.Conn) error {
	defer n.bound(ctx, nc)()
	if _, err := nc.Write([]byte(join)); err != nil {
		return err
	}
	switch word, err := readWord(nc); {
	case err != nil:
		return err
	case word == second:
		return errSecond
	case word != join:
		return errHello
	}
	return nil
}

// answerJoin answers a node that asks to join.
func (n *Node) answerJoin(nc net.Conn, welcome bool) error {
	_ = nc.SetWriteDeadline(time.Now().Add(n.helloTimeout()))
	defer func() { _ = nc.SetWriteDeadline(time.Time{}) }()
	word := second
	if welcome {
		word = join
	}
	_, err := nc.Write([]byte(word))
	return err
}

func readWord(nc net.Conn) (string, error) {
	var word [len(join)]byte
	_, err := io.ReadFull(nc, word[:])
	return string(word[:]), err
}

// greet exchanges hellos with a peer that this node has dialled, and returns its id. If want is not
// empty, another id is an error.
func (n *Node) greet(ctx context.Context, nc net.Conn, want string) (inner net.Conn, id string, err error) {
	defer n.bound(ctx, nc)()
	proven := want
	if n.secure != nil {
		nc, proven, err = n.secure.client(ctx, nc, want)
		if err != nil {
			return nil, "", err
		}
	}
	if _, err := nc.Write([]byte(hello(n.name, n.id))); err != nil {
		return nil, "", err
	}
	id, err = n.hear(nc)
	switch {
	case err != nil:
		return nil, "", err
	case proven != "" && id != proven:
		return nil, "", fmt.Errorf("it is %s, not %s: %w", id, proven, handlers.ErrPolicy)
	}
	return nc, id, nil
}

// receive exchanges hellos with the node that has dialled, and waits until it asks to join.
func (n *Node) receive(ctx context.Context, nc net.Conn) (inner net.Conn, id string, err error) {
	defer n.bound(ctx, nc)()
	proven := ""
	if n.secure != nil {
		nc, proven, err = n.secure.server(ctx, nc)
		if err != nil {
			return nil, "", err
		}
	}
	id, err = n.hear(nc)
	if err != nil && !errors.Is(err, errSelf) {
		return nil, "", err
	}
	if proven != "" && id != proven {
		return nil, "", fmt.Errorf("it is %s and says %s: %w", proven, id, handlers.ErrPolicy)
	}
	if _, err := nc.Write([]byte(hello(n.name, n.id))); err != nil {
		return nil, "", err
	}
	if err != nil {
		return nil, "", err // it is this node, which now knows that too
	}
	switch word, err := readWord(nc); {
	case err != nil:
		return nil, "", fmt.Errorf("%s has not joined: %w", id, err)
	case word != join:
		return nil, "", errHello
	}
	return nc, id, nil
}

// hear reads the other side's hello.
func (n *Node) hear(nc net.Conn) (id string, err error) {
	name, id, err := readHello(nc)
	switch {
	case err != nil:
		return "", err
	case !strings.EqualFold(name, n.name): // as in the DNS
		return "", fmt.Errorf("it is of another mesh: %w", handlers.ErrPolicy)
	case id == n.id:
		return id, errSelf
	}
	return id, nil
}

// bound breaks nc after HelloTimeout, and at once when ctx ends. A hello that has come in time
// counts, even if the process stood still and reads it late. The func that bound returns lifts the
// bound.
func (n *Node) bound(ctx context.Context, nc net.Conn) (lift func()) {
	inTime := grace.AfterFunc(nc, n.helloTimeout(), func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	return func() {
		stop()
		if !inTime() {
			nc.Close() // the deadline may be set after this
			return
		}
		_ = nc.SetDeadline(time.Time{})
	}
}

// Serve takes a connection from a shared port, see [Node.Join]. Any number of goroutines may call
// it.
func (n *Node) Serve(c handlers.Conn, p handlers.Port) {
	n.mu.Lock()
	n.port = p
	take := n.takeShared
	if n.closing {
		take = nil
	}
	n.mu.Unlock()
	nc, err := c.NetConn()
	if take == nil || err != nil {
		c.Close()
		p.Fail(c.Info(), fmt.Errorf("mesh: this node has not joined: %w", net.ErrClosed))
		return
	}
	nc = guarded.FromPort(nc)
	watch(nc, n.keepAlive(), n.peerTimeout())
	take(nc, func() { c.Close() })
}

var _ handlers.Handler = (*Node)(nil)

// watch has the system notice that the peer's machine is gone.
func watch(nc net.Conn, keepAlive net.KeepAliveConfig, timeout time.Duration) {
	if t, ok := nc.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		_ = t.SetKeepAliveConfig(keepAlive) // it may be closed already
	}
	control := controlTimeout(timeout)
	if s, ok := nc.(syscall.Conn); ok && control != nil {
		if raw, err := s.SyscallConn(); err == nil {
			_ = control("", "", raw)
		}
	}
}
