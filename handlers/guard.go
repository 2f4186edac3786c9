package handlers

import (
	"fmt"
	"log"
	"net/http"
	"reflect"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// A PanicError is a panic in code of the program that was called: a callback, a matcher, a codec.
// It matches [ErrPanic].
type PanicError struct {
	// Value is that of the panic, which may hold what a client sent; nil if the code has called
	// [runtime.Goexit] instead.
	Value any
	Stack []byte // of the goroutine, as [debug.Stack] has it

	asked uint32 // First was called; atomic, as a PanicError may be copied
}

// First reports whether this is its first call. Several parts of a server may see one panic: the
// first of those that log panics logs it.
func (e *PanicError) First() bool { return atomic.SwapUint32(&e.asked, 1) == 0 }

// Error has the text of an error of the Go runtime, and else the type of the value, never the
// value: what a peer or a log gets is no payload.
func (e *PanicError) Error() string {
	if err, ok := e.Value.(runtime.Error); ok && ofRuntime(err) {
		return fmt.Sprintf("%v: %v", ErrPanic, err)
	}
	return fmt.Sprintf("%v: %s", ErrPanic, e.Kind())
}

// Kind returns the type of the value, or "runtime.Goexit".
func (e *PanicError) Kind() string {
	if e.Value == nil {
		return "runtime.Goexit"
	}
	return fmt.Sprintf("%T", e.Value)
}

// ofRuntime reports whether the type of err is the Go runtime's own: a program may have others,
// whose text is anything.
func ofRuntime(err runtime.Error) bool {
	t := reflect.TypeOf(err)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath() == "runtime"
}

// Unwrap returns [ErrPanic].
func (*PanicError) Unwrap() error { return ErrPanic }

// Guard calls f. It returns nil, or a *[PanicError] if f panics. A handler guards each call of the
// program's code, so that a panic costs one connection and not the process.
func Guard(f func()) error { return GuardExit(f, nil) }

// GuardExit is [Guard] for callers that other goroutines wait for: if f ends its goroutine, as
// [runtime.Goexit] does and with it the FailNow of a test, it calls exited with a *[PanicError] and
// does not return. exited runs in the goroutine that ends, which is to be no longer waited for
// then.
func GuardExit(f func(), exited func(err error)) (err error) {
	returned := false
	defer func() {
		v := recover()
		switch {
		case v != nil:
			err = &PanicError{Value: v, Stack: debug.Stack()}
		case !returned && exited != nil:
			exited(&PanicError{Stack: debug.Stack()})
		}
	}()
	f()
	returned = true
	return nil
}

// strays are the panics that no port logs.
var strays = &strayPanics{}

// straysPerSecond bounds how many of them are logged.
const straysPerSecond = 5

// strayPanics counts panics for the bound.
type strayPanics struct {
	mu       sync.Mutex
	second   int64 // in which lines were written
	lines    int
	unlogged int // since the last line
}

// log writes one line and the stack to the standard logger, unless it was told of p before.
func (s *strayPanics) log(p *PanicError) {
	if p.Value == http.ErrAbortHandler || !p.First() {
		return
	}
	s.mu.Lock()
	if now := time.Now().Unix(); now != s.second {
		s.second, s.lines = now, 0
	}
	if s.lines++; s.lines > straysPerSecond {
		s.unlogged++
		s.mu.Unlock()
		return
	}
	n := s.unlogged
	s.unlogged = 0
	s.mu.Unlock()
	log.Printf("%v: %s; %d before it were not logged\n%s", ErrPanic, p.Kind(), n, p.Stack)
}
