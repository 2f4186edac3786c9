package handlers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    func()
		want string // the text of the error; no error if empty
	}{
		{"returns", func() {}, ""},
		{"panics with text", func() { panic("secret of a client") }, "callback panicked: string"},
		{"panics with an error", func() { panic(errors.New("secret")) }, "callback panicked: *errors.errorString"},
		{"panics with nil", func() { panic(nil) }, "callback panicked: panic called with nil argument"},
		{"divides by zero", func() { n := 0; n /= n }, "callback panicked: runtime error: integer divide by zero"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Guard(tt.f)
			if tt.want == "" {
				if err != nil {
					t.Errorf("Guard() = %v, want nil", err)
				}
				return
			}
			p, ok := errors.AsType[*PanicError](err)
			if !ok || !errors.Is(err, ErrPanic) || !strings.Contains(string(p.Stack), "guard_test.go") {
				t.Fatalf("Guard() = %#v, want a *PanicError with its stack", err)
			}
			if got := err.Error(); got != tt.want {
				t.Errorf("Error() = %q, want %q", got, tt.want)
			}
		})
	}
}

// A panic that no port logs is in the standard log, once, with its stack and the type of its value.
// Of many panics only a few are logged, and then the number of the others.
func TestLogPanicWithoutAPort(t *testing.T) {
	var out bytes.Buffer
	log.SetOutput(&out)
	defer log.SetOutput(os.Stderr)
	defer func(before *strayPanics) { strays = before }(strays)
	strays = &strayPanics{}
	boom := func() error { return Guard(func() { panic("SECRET") }) }
	err := boom()
	for range 3 {
		LogPanic(nil, nil, fmt.Errorf("wrapped: %w", err))
	}
	LogPanic(nil, nil, nil)
	LogPanic(nil, nil, errors.New("SECRET"))
	LogPanic(nil, nil, Guard(func() { panic(http.ErrAbortHandler) }))
	got := out.String()
	if strings.Count(got, "callback panicked: string") != 1 || !strings.Contains(got, "guard_test.go:") || strings.Contains(got, "SECRET") {
		t.Errorf("logged: %s", got)
	}
	for range 100 {
		LogPanic(nil, nil, boom())
	}
	if n := strings.Count(out.String(), "callback panicked"); n > 50 { // it may have taken seconds
		t.Errorf("%d lines", n)
	}
	strays.second = 0 // begin another second
	missing := strays.unlogged
	LogPanic(nil, nil, boom())
	if want := fmt.Sprintf("string; %d before it were not logged", missing); missing == 0 || !strings.Contains(out.String(), want) {
		t.Errorf("no %q in %s", want, out.String())
	}
}

// errorLog records what it is asked to log. Then it panics, as a program's logger may.
type errorLog struct{ got []error }

func (l *errorLog) LogError(_ *Info, err error) {
	l.got = append(l.got, err)
	panic("of the logger")
}

// Report passes an error to the logger and to OnError, each of which may be nil. It logs a panic of
// OnError.
func TestReport(t *testing.T) {
	var out bytes.Buffer
	log.SetOutput(&out)
	defer log.SetOutput(os.Stderr)
	boom := Guard(func() { panic("SECRET") })
	for _, tt := range []struct {
		name           string
		logs, tells    bool
		err            error
		panics         bool // OnError panics
		logged, strays int
	}{
		{"a logger", true, false, io.EOF, false, 1, 0},
		{"both", true, true, io.EOF, false, 1, 0},
		{"OnError", false, true, io.EOF, false, 0, 0},
		{"neither", false, false, io.EOF, false, 0, 0},
		{"a panic, a logger", true, false, boom, false, 1, 0},
		{"a panic, OnError", false, true, boom, false, 0, 0},
		{"a panic, neither", false, false, boom, false, 0, 1},
		{"OnError panics, a logger", true, true, io.EOF, true, 2, 0},
		{"OnError panics", false, true, io.EOF, true, 0, 1},
	} {
		out.Reset()
		strays = &strayPanics{}
		logger, told := &errorLog{}, 0
		var p any
		if tt.logs {
			p = logger
		}
		var onError func()
		if tt.tells {
			onError = func() {
				if told++; tt.panics {
					panic("SECRET")
				}
			}
		}
		Report(p, nil, tt.err, onError)
		lines := strings.Count(out.String(), "callback panicked")
		if len(logger.got) != tt.logged || lines != tt.strays || (told == 1) != tt.tells {
			t.Errorf("%s: %d logged, %d by package log, %d told, want %d, %d, %t", tt.name, len(logger.got), lines, told, tt.logged, tt.strays, tt.tells)
		}
		if tt.logged > 0 && logger.got[0] != tt.err {
			t.Errorf("%s: logged %v", tt.name, logger.got[0])
		}
	}
}
