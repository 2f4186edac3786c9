package handlers

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// A PanicError is a panic in code of the program that was called: a callback, a matcher, a codec.
// It matches [ErrPanic].
type PanicError struct {
	Value any    // of the panic; it may hold what a client sent
	Stack []byte // of the goroutine, as [debug.Stack] has it
}

// Error has the text of a [runtime.Error], and else the type of the value, never the value: what a
// peer or a log gets is no payload.
func (e *PanicError) Error() string {
	if err, ok := e.Value.(runtime.Error); ok {
		return fmt.Sprintf("%v: %v", ErrPanic, err)
	}
	return fmt.Sprintf("%v: %T", ErrPanic, e.Value)
}

// Unwrap returns [ErrPanic].
func (*PanicError) Unwrap() error { return ErrPanic }

// Guard calls f. It returns nil, or a *[PanicError] if f panics. A handler guards each call of the
// program's code, so that a panic costs one connection and not the process.
func Guard(f func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	f()
	return nil
}
