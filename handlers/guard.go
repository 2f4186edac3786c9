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

// A PanicError is a panic in code of the program, such as a callback, a matcher or a codec. It
// matches [ErrPanic].
type PanicError struct {
	// Value is the value of the panic, or nil if the code called [runtime.Goexit] instead. It may
	// contain data that a client sent.
	Value any
	Stack []byte // of the goroutine, as [debug.Stack] formats it

	asked uint32 // 1 once First was called; atomic functions are used as a PanicError may be copied
}

// First reports whether this is its first call. Several parts of a server may see the same panic;
// only the first one that calls First logs it.
func (e *PanicError) First() bool { return atomic.SwapUint32(&e.asked, 1) == 0 }

// Error returns the text of Value if that is an error of the Go runtime, and otherwise only its
// type, so that no payload reaches a peer or a log.
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

// ofRuntime reports whether package runtime declares the type of err. A program may declare others,
// whose text can be anything.
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

// GuardExit is [Guard] for callers that other goroutines wait for. If f ends its goroutine, with
// [runtime.Goexit] or the FailNow of a test, GuardExit calls exited with a *[PanicError] in that
// goroutine and does not return. exited must release those who wait for the goroutine.
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

// strays logs the panics that no port logs.
var strays = &strayPanics{}

// straysPerSecond bounds how many of them are logged in a second.
const straysPerSecond = 5

// strayPanics logs panics, at most straysPerSecond in a second.
type strayPanics struct {
	mu       sync.Mutex
	second   int64 // the second, in Unix time, that lines belongs to
	lines    int
	unlogged int // since the last line
}

// log writes one line and the stack to the standard logger, unless p was logged before.
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
