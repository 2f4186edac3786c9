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

// recheck is how long handshakes rely on the last look at the files.
const recheck = time.Second

// Certificates is a certificate and its key in two PEM files, which may be replaced at any time.
// Later handshakes use the new pair. [LoadFiles] makes one. Several goroutines may call its methods
// at once.
type Certificates struct {
	// OnError, if not nil, is called when the changed files cannot be used; the old pair stays in
	// use. It is called once for as long as the error stays the same. It must be set before the
	// first handshake.
	OnError func(err error)

	cert, key string
	start     time.Time // origin of the monotonic time in next
	current   atomic.Pointer[tls.Certificate]
	next      atomic.Int64 // when a handshake checks the files again, in nanoseconds from start

	mu     sync.Mutex // guards following
	seen   stamp
	failed string // the error last passed to OnError
}

// stamp identifies a state of the two files.
type stamp struct{ cert, key fileStamp }

// fileStamp identifies a state of a file by its content, as a copy that keeps the time, or a moved
// link, may change nothing else. A file that is not regular, such as a pipe, can be read only once,
// so it is identified by its size and time.
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

// GetCertificate is for [tls.Config]. At most once a second it checks whether the content of the
// files has changed, and if so starts to use it. If the new files cannot be used it returns the old
// pair.
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

// refresh reads the files if they have changed, and calls OnError with a new error.
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

// readLocked reads the pair and starts to use it. seen was taken before the read, so a change
// between the two is found by the next check.
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
