package tlsd

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// recheck is how long a handshake believes in what the last one has seen of the files.
const recheck = time.Second

// Certificates is a certificate and its key in two PEM files, which may be replaced at any time:
// the handshakes after that use the new pair. [LoadFiles] makes one. Its methods may be called by
// any number of goroutines at once.
type Certificates struct {
	// OnError is told when the files have changed and are no good; the old pair stays in use. It is
	// told once for as long as the reason is the same. Nil: nobody is told. It must be set before
	// the first handshake.
	OnError func(err error)

	cert, key string
	start     time.Time // whatever the wall clock does, time goes on from here
	current   atomic.Pointer[tls.Certificate]
	next      atomic.Int64 // when a handshake looks at the files again, in nanoseconds from start

	mu     sync.Mutex // guards following
	seen   stamp
	failed string // the error that OnError knows of
}

// stamp tells one state of the two files from another.
type stamp struct{ cert, key fileStamp }

// fileStamp is the state of a file: a copy that keeps the time, or a link that moves, may change
// nothing but the content. Of what is no file, such as a pipe, it is what the file system tells: it
// can be read only once.
type fileStamp struct {
	size    int64
	changed time.Time
	sum     [sha256.Size]byte
}

// LoadFiles reads a certificate, with its chain, and its key from PEM files. Use it as
//
//	&tls.Config{GetCertificate: certs.GetCertificate}
func LoadFiles(cert, key string) (*Certificates, error) {
	c := &Certificates{cert: cert, key: key, start: time.Now()}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// GetCertificate is for [tls.Config]. At most once a second it looks whether the files have another
// content, and takes that into use if so. While they are no good, it goes on with the pair that it
// has.
func (c *Certificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	now, next := int64(time.Since(c.start)), c.next.Load()
	if now >= next && c.next.CompareAndSwap(next, now+int64(recheck)) {
		c.refresh()
	}
	return c.current.Load(), nil
}

// Reload reads the files now. After an error the old pair stays in use.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next.Store(int64(time.Since(c.start) + recheck))
	seen, err := c.stampLocked()
	if err != nil {
		return err
	}
	return c.readLocked(seen)
}

// refresh reads the files if they have changed, and tells OnError.
func (c *Certificates) refresh() {
	c.mu.Lock()
	seen, err := c.stampLocked()
	if err == nil && seen != c.seen {
		err = c.readLocked(seen)
	}
	tell := err != nil && err.Error() != c.failed
	c.failed = ""
	if err != nil {
		c.failed = err.Error()
	}
	c.mu.Unlock()
	if tell && c.OnError != nil {
		handlers.LogPanic(nil, nil, handlers.Guard(func() { c.OnError(err) }))
	}
}

// readLocked takes the pair that was seen into use. The stamp is older than what is read, never
// younger, so a change in between is found the next time.
func (c *Certificates) readLocked(seen stamp) error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", c.cert, err)
	}
	c.current.Store(&pair)
	c.seen = seen
	return nil
}

func (c *Certificates) stampLocked() (s stamp, err error) {
	if s.cert, err = stampOf(c.cert); err != nil {
		return s, fmt.Errorf("certificate: %w", err)
	}
	if s.key, err = stampOf(c.key); err != nil {
		return s, fmt.Errorf("certificate key: %w", err)
	}
	return s, nil
}

func stampOf(path string) (fileStamp, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return fileStamp{}, err
	}
	if !fi.Mode().IsRegular() {
		return fileStamp{size: fi.Size(), changed: fi.ModTime()}, nil
	}
	content, err := os.ReadFile(path)
	return fileStamp{sum: sha256.Sum256(content)}, err
}
