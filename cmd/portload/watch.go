package main

import (
	"net"
	"sync"
)

// A watcher reads what comes on many connections.
type watcher interface {
	// watch reads l from now on and calls r with what arrives. The caller may only write to l.
	watch(l *link, r receiver) error
	// close closes all connections without a call of their receivers, and waits for the calls that
	// are running.
	close()
}

// A receiver handles the bytes of one connection, beneath TLS. Its methods are called one at a
// time.
type receiver interface {
	// receive handles b, which is valid during the call. An error closes the connection.
	receive(b []byte) error
	// closed is the last call, with io.EOF if the server has closed.
	closed(err error)
}

// goWatcher has a goroutine for each connection. It is for systems without epoll, and for
// comparison.
type goWatcher struct {
	mu     sync.Mutex
	conns  []net.Conn
	ending bool
	wg     sync.WaitGroup
}

func (g *goWatcher) watch(l *link, r receiver) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ending {
		return net.ErrClosed
	}
	g.conns = append(g.conns, l.base)
	g.wg.Go(func() { g.read(l, r) }) // ends with the connection, at close at the latest
	return nil
}

func (g *goWatcher) read(l *link, r receiver) {
	defer l.base.Close()
	err := r.receive(l.early)
	buf := make([]byte, 16<<10)
	for err == nil {
		var n int
		n, err = l.base.Read(buf)
		if n > 0 {
			if bad := r.receive(buf[:n]); bad != nil {
				err = bad
			}
		}
	}
	g.mu.Lock()
	told := !g.ending
	g.mu.Unlock()
	if told {
		r.closed(err)
	}
}

func (g *goWatcher) close() {
	g.mu.Lock()
	g.ending = true
	for _, c := range g.conns {
		c.Close()
	}
	g.mu.Unlock()
	g.wg.Wait()
}

// An inbox assembles messages from the pieces that a receiver gets.
type inbox struct{ rest []byte }

// take calls got with each complete message in the kept bytes and b, keeps the rest, and sends the
// reply of the codec to l.
func (i *inbox) take(l *link, b []byte, got func(msg []byte)) error {
	whole := b
	if len(i.rest) > 0 {
		i.rest = append(i.rest, b...)
		whole = i.rest
	}
	n, err := l.codec.decode(whole, false, got)
	if err != nil {
		return err
	}
	if n == len(whole) {
		i.rest = nil
	} else if n > 0 || len(i.rest) == 0 {
		i.rest = append([]byte(nil), whole[n:]...)
	}
	if reply := l.codec.reply(); len(reply) > 0 {
		_, err = l.Write(reply)
	}
	return err
}
