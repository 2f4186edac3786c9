package httpd

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Each write of a page has its own time. Over HTTP/2 there is no bound between them.
func TestPagePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		p := &page{ResponseWriter: b, pace: *answering(b, 2, 8*time.Second).pace}
		_, _ = p.Write([]byte("one"))
		b.want("Write", "write by 8s", "write one", "write never")
		_, _ = p.WriteString("two")
		b.want("WriteString", "write by 8s", "write two", "write never")
		_ = p.FlushError()
		b.want("Flush", "write by 8s", "write never")
		if n, err := p.Write(make([]byte, 2*stride+1)); n != 2*stride+1 || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
		if got := len(b.take()); got != 7 {
			t.Errorf("three strides have %d steps", got)
		}
	})
}

// Each Read of a page's body has its own time, which is set anew when an eighth of it has passed.
func TestPageBodyPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		body := &pageBody{ReadCloser: io.NopCloser(strings.NewReader("four")), pace: answering(b, 1, 8*time.Second).pace}
		one := make([]byte, 1)
		_, _ = body.Read(one)
		b.want("the first", "read by 8s")
		time.Sleep(time.Second - 1)
		_, _ = body.Read(one)
		b.want("just before an eighth")
		time.Sleep(time.Nanosecond)
		_, _ = body.Read(one)
		b.want("at an eighth", "read by 9s")
	})
}

// halfPipe is a pipe whose CloseWrite works.
type halfPipe struct {
	net.Conn
	shut int
}

func (h *halfPipe) CloseWrite() error { h.shut++; return nil }

// hangUp reads and drops what comes until the client has closed, for at most lingerTime.
func TestHangUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, closes := range []bool{true, false} {
			ours, theirs := net.Pipe()
			h := &halfPipe{Conn: ours}
			began := time.Now()
			go func() { // ends when the connection does
				_, _ = theirs.Write(make([]byte, 100<<10))
				if closes {
					theirs.Close()
				}
			}()
			hangUp(h)
			if took := time.Since(began); h.shut != 1 || took != map[bool]time.Duration{false: lingerTime}[closes] {
				t.Errorf("closes %t: it took %v", closes, took)
			}
			if _, err := ours.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("closes %t: it is open", closes)
			}
			theirs.Close()
		}
	})
}

// A client that goes on reading the answer has lingerTime, even if it sends all the while. One that
// reads no more has lingerStall.
func TestLinger(t *testing.T) {
	for _, tt := range []struct {
		name   string
		unsent []int // what each call returns; later calls return the last value
		want   time.Duration
	}{
		{"all acknowledged", []int{0}, lingerTime},
		{"it reads", []int{5, 4, 3, 0}, 5 * lingerTime},
		{"it stalls", []int{5}, lingerTime + lingerStall},
		{"it stalls and reads", append(slices.Repeat([]int{5}, 18), 4, 4, 0), 22 * lingerTime},
		{"it takes for ever", backwards(1000), lingerMost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				sent := make(chan struct{})
				go func() { // ends when the connection does
					defer close(sent)
					for err := error(nil); err == nil; time.Sleep(lingerTime / 4) {
						_, err = theirs.Write([]byte("x"))
					}
				}()
				began := time.Now()
				lingerOn(ours, lingerBytes, func(net.Conn) int {
					n := tt.unsent[0]
					tt.unsent = tt.unsent[min(1, len(tt.unsent)-1):]
					return n
				})
				if took := time.Since(began); took != tt.want {
					t.Errorf("it took %v, want %v", took, tt.want)
				}
				ours.Close()
				<-sent
			})
		})
	}
}

// backwards returns the numbers from n down to 1.
func backwards(n int) (all []int) {
	for ; n > 0; n-- {
		all = append(all, n)
	}
	return all
}
