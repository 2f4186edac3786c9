package mesh

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A Conn is the connection with one other node. It is a [net.Conn] whose methods may be called by
// any goroutine, except that one at a time reads. Up to 64 KiB of input are read ahead, so that the
// end of the peer is noticed while the program does not read; up to [Node.Queue] bytes of output
// are queued.
//
// When the peer ends its side, the queue is sent and the connection is closed. The input that was
// read ahead can be read after that.
type Conn struct {
	node    *Node
	raw     net.Conn
	id      string
	dialled bool
	since   time.Time
	release func() // gives the connection back to the port that it came from; may be nil

	in  inbox
	out outbox

	flushed chan struct{} // closed when nothing more will be written
	done    chan struct{} // closed when the socket is closed

	grace *time.Timer // of Close; out.mu guards it
}

var _ net.Conn = (*Conn)(nil)

func newConn(n *Node, raw net.Conn, id string, dialled bool) *Conn {
	c := &Conn{
		node: n, raw: raw, id: id, dialled: dialled, since: time.Now(),
		flushed: make(chan struct{}), done: make(chan struct{}),
	}
	c.out.limit = n.queue()
	return c
}

// Peer returns the id of the other node in upper case. On upstream's wire, without [Node.Hello],
// Key and Identity, it is empty for a connection that the other node has dialled.
func (c *Conn) Peer() string { return c.id }

// Dialled reports whether this node has dialled.
func (c *Conn) Dialled() bool { return c.dialled }

// Done returns a channel that is closed when the connection is closed and no longer in
// [Node.Connections].
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection has ended: nil while it is open, and after an orderly end.
func (c *Conn) Err() error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if errors.Is(c.in.err, io.EOF) || errors.Is(c.in.err, net.ErrClosed) {
		return nil
	}
	return c.in.err
}

// Read reads what the peer has sent. It returns io.EOF after the last byte.
func (c *Conn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write queues p. It waits while the queue is full; a peer that takes nothing for
// [Node.WriteTimeout] is disconnected.
func (c *Conn) Write(p []byte) (int, error) {
	total := 0
	for {
		n, start, err := c.out.put(p[total:])
		if start {
			c.node.wg.Go(c.flush) // ends when the queue is empty
		}
		if total += n; err != nil || total == len(p) {
			return total, err
		}
	}
}

// Send queues p without waiting. If there is no room for all of p it queues nothing and returns
// [handlers.ErrSlow].
func (c *Conn) Send(p []byte) error {
	start, err := c.out.putAll(p)
	if start {
		c.node.wg.Go(c.flush) // ends when the queue is empty
	}
	return err
}

// Close sends what is queued and then ends our side. It does not wait: the connection is closed
// once the peer has ended its side too, or after [Node.CloseTimeout]. What the peer still sends is
// discarded.
func (c *Conn) Close() error {
	c.in.drop()
	c.finish()
	return nil
}

// finish ends our side when the queue is empty.
func (c *Conn) finish() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.ended || c.out.err != nil {
		return
	}
	c.out.ended = true
	c.grace = time.AfterFunc(c.node.closeTimeout(), func() { c.raw.Close() })
	if !c.out.running {
		c.out.running = true
		c.node.wg.Go(c.flush) // the queue is empty: it only ends our side
	}
}

// abort closes the connection at once. What is queued is lost.
func (c *Conn) abort(err error) {
	c.in.end(err)
	c.raw.Close()
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr returns the address of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetDeadline sets the deadlines of Read and Write.
func (c *Conn) SetDeadline(t time.Time) error {
	c.in.deadline.set(t)
	c.out.deadline.set(t)
	return nil
}

// SetReadDeadline bounds the waits of Read.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.deadline.set(t)
	return nil
}

// SetWriteDeadline bounds the waits of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.deadline.set(t)
	return nil
}

// pump reads ahead until the peer has ended, sees that our side ends too, and closes the socket.
func (c *Conn) pump() {
	buf := make([]byte, 16<<10)
	for {
		n, err := c.raw.Read(buf)
		if n > 0 {
			c.in.put(buf[:n])
		}
		if err == nil {
			continue
		}
		c.in.end(err)
		if err == io.EOF {
			c.finish()
		} else {
			c.out.fail(err)
			c.raw.Close()
			c.seal()
		}
		break
	}
	<-c.flushed
	c.raw.Close()
	c.out.fail(net.ErrClosed)
	c.out.mu.Lock()
	if c.grace != nil {
		c.grace.Stop()
	}
	c.out.mu.Unlock()
	if c.release != nil {
		c.release()
	}
	c.node.remove(c)
	close(c.done)
}

// seal closes flushed if no flush is running that will.
func (c *Conn) seal() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if !c.out.running {
		c.out.running = true
		close(c.flushed)
	}
}

// flush writes what is queued, and ends our side behind it if that was asked for. It ends when the
// queue is empty, or with the connection.
func (c *Conn) flush() {
	for {
		p, last := c.out.take()
		if p == nil {
			if last {
				c.endWrite()
				close(c.flushed) // and running stays true
			}
			return
		}
		_ = c.raw.SetWriteDeadline(time.Now().Add(c.node.writeTimeout()))
		if _, err := c.raw.Write(p); err != nil {
			c.out.fail(err)
			c.abort(err)
		}
	}
}

// endWrite sends the end of our side.
func (c *Conn) endWrite() {
	c.out.mu.Lock()
	failed := c.out.err != nil
	c.out.mu.Unlock()
	if failed || handlers.CloseWrite(c.raw) != nil {
		c.raw.Close()
	}
}
