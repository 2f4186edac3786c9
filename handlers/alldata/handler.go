package alldata

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/setting"
)

// Defaults of a [Handler].
const (
	DefaultLimit       = 16 << 20
	DefaultMaxPending  = 64 << 20
	DefaultReadTimeout = 30 * time.Second
	DefaultTimeout     = 30 * time.Second
)

// Errors that an OnPut may return, or wrap, for an answer other than 500.
var (
	// ErrConflict means that the key already has a different event: 409.
	ErrConflict = errors.New("the key has another event")
	// ErrInvalid means that this is not a key and an event: 400.
	ErrInvalid = errors.New("not a key and an event")
	// ErrBusy means that the peer should try again in a second: 503.
	ErrBusy = errors.New("too much at once")
	// ErrFull means that there is no room for the event until somebody makes some: the disk is full, a
	// quota is used up, or the file may not grow: 507.
	ErrFull = errors.New("the disk is full")
)

// A Handler is an http.Handler that answers _put requests, for any mux. Its zero value refuses
// them. The fields must not be changed once it serves. Several goroutines may call it at once.
type Handler struct {
	// OnPut keeps the event, which is valid JSON, under its key, which is not empty. It is called
	// by any number of goroutines at once, and returns when ctx ends. What it returns decides the
	// answer: 201 if nil, 409 for [ErrConflict], 400 for [ErrInvalid], 413 for
	// [handlers.ErrTooLong], 507 for [ErrFull] and the system's errors of that meaning, 503 for
	// [ErrBusy], [ErrClosed] and the end of ctx, else 500. A panic costs this request: 500.
	// [Store.Put] and [Client.Put] are such funcs.
	OnPut func(ctx context.Context, key string, event json.RawMessage) error
	// Limit is the longest body in bytes; 16 MiB if zero, none if negative. The Handler answers a
	// longer one with 413.
	Limit int64
	// MaxPending bounds the bytes of all bodies that are being read or put; 64 MiB if zero, none if
	// negative. The Handler answers a request beyond it with 503.
	MaxPending int64
	// ReadTimeout bounds how long a body may take; 30 seconds if zero, no bound if negative. The
	// Handler answers a slower one with 408.
	ReadTimeout time.Duration
	// Timeout bounds the ctx of OnPut; 30 seconds if zero, no bound if negative.
	Timeout time.Duration
	// OnError, if not nil, is called with the reason why a request was not answered with 201.
	// Several goroutines may call it at once. The port that serves the request, or [Server.Log],
	// logs the answer and the kind of the error, but nothing that the peer has sent.
	OnError func(r *http.Request, err error)

	pending atomic.Int64
}

// refusal is the answer to a request that does not reach OnPut.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h.put(w, r)
	status, text := answer(err)
	if err != nil {
		h.fail(r, status, err)
	}
	switch {
	case status == http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	if text == "" {
		w.WriteHeader(status)
		return
	}
	http.Error(w, text, status)
}

// fail logs the answer status through the port of r, and calls OnError with the reason.
func (h *Handler) fail(r *http.Request, status int, err error) {
	var onError func()
	if h.OnError != nil {
		onError = func() { h.OnError(r, err) }
	}
	var client *handlers.Info // nil if the error is the server's fault
	if status < http.StatusInternalServerError || r.Context().Err() != nil {
		client = infoOf(r)
	}
	handlers.Report(r.Context().Value(handlers.PortContextKey), client, logged(status, err), onError)
}

// infoOf returns the Info of the client that sent r.
func infoOf(r *http.Request) *handlers.Info {
	info := &handlers.Info{Protocol: handlers.ProtocolHTTP1, TLS: r.TLS}
	if r.ProtoMajor == 2 {
		info.Protocol = handlers.ProtocolHTTP2
	}
	info.Remote, _ = netip.ParseAddrPort(r.RemoteAddr) // invalid on a Unix socket
	return info
}

// logged returns err as it may be logged. An error of OnPut may quote the event, so logged keeps
// only the sentinel error that it matches.
func logged(status int, err error) error {
	if errors.Is(err, handlers.ErrPanic) {
		return err
	}
	said := fmt.Errorf("alldata: answered with %d %s", status, http.StatusText(status))
	for _, known := range []error{
		ErrConflict, ErrInvalid, handlers.ErrTooLong, ErrBusy, ErrClosed, ErrFull, ErrGone, ErrDamaged,
		context.DeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, known) {
			said = fmt.Errorf("%w: %w", said, known)
		}
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		said = fmt.Errorf("%w: %w", said, errno)
	}
	return said
}

// answer returns the status and the text for the peer. A 500 has no text, as its reason is not for
// the peer.
func answer(err error) (status int, text string) {
	var r *refusal
	switch {
	case err == nil:
		return http.StatusCreated, ""
	case errors.As(err, &r):
		return r.status, r.text
	case errors.Is(err, ErrConflict):
		return http.StatusConflict, ErrConflict.Error()
	case errors.Is(err, ErrInvalid):
		return http.StatusBadRequest, line(err.Error())
	case errors.Is(err, handlers.ErrTooLong):
		return http.StatusRequestEntityTooLarge, line(err.Error())
	case errors.Is(err, ErrBusy), errors.Is(err, ErrClosed):
		return http.StatusServiceUnavailable, "the event was not stored; come again"
	case isFull(err):
		return http.StatusInsufficientStorage, "there is no room on the disk of the server; put the event again later"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable, "it is not known in time whether the event was stored; come again"
	}
	return http.StatusInternalServerError, ""
}

// line turns an error's text, which may quote the peer, into one short line.
func line(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// put reads a request and calls OnPut.
func (h *Handler) put(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, "_put is a POST, not a %.20s", line(r.Method))
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return refuse(http.StatusUnsupportedMediaType, "the body must not be compressed")
	}
	body := &body{h: h, limit: h.limit(), budget: h.maxPending()}
	defer body.release()
	if err := body.read(w, r); err != nil {
		return err
	}
	key, event, err := parse(body.bytes)
	if err != nil {
		return err
	}
	return h.call(r, key, event)
}

// call calls OnPut with its timeout, and turns a panic into an error.
func (h *Handler) call(r *http.Request, key string, event json.RawMessage) (err error) {
	if h.OnPut == nil {
		return errors.New("alldata: the Handler has no OnPut")
	}
	ctx, cancel := bounded(r.Context(), h.Timeout, DefaultTimeout)
	defer cancel()
	if p := handlers.Guard(func() { err = h.OnPut(ctx, key, event) }); p != nil {
		return p
	}
	return err
}

func (h *Handler) limit() int64 { return setting.Or(h.Limit, DefaultLimit, math.MaxInt64) }
func (h *Handler) maxPending() int64 {
	return setting.Or(h.MaxPending, DefaultMaxPending, math.MaxInt64)
}

// body is the body of a request. It counts towards MaxPending.
type body struct {
	h             *Handler
	limit, budget int64
	bytes         []byte
	taken         int64
}

// firstPart is the size of the buffer of a body before its first byte has come.
const firstPart = 4 << 10

// read reads the body. The buffer is never more than twice as large as what has come, or firstPart.
func (b *body) read(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength > b.limit {
		return b.tooLong()
	}
	late := b.h.deadline()
	if !late.IsZero() {
		rc := http.NewResponseController(w)
		if rc.SetReadDeadline(late) == nil {
			// Read checks the deadline, after the bytes that have come.
			late = time.Time{}
		}
		defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	}
	size := firstPart
	if n := r.ContentLength; n >= 0 {
		size = int(min(n, firstPart)) + 1 // one more byte, to see the end
	}
	for {
		if len(b.bytes) == cap(b.bytes) {
			if err := b.grow(size); err != nil {
				return err
			}
			size = 2 * cap(b.bytes)
		}
		n, err := r.Body.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		switch {
		case int64(len(b.bytes)) > b.limit:
			return b.tooLong()
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded), !late.IsZero() && !time.Now().Before(late):
			return refuse(http.StatusRequestTimeout, "the body did not come in time")
		case err != nil:
			return refuse(http.StatusBadRequest, "the body broke off")
		}
	}
}

// deadline returns the time by which a body that begins now must have come; zero if there is no
// bound.
func (h *Handler) deadline() time.Time {
	if h.ReadTimeout < 0 {
		return time.Time{}
	}
	return time.Now().Add(cmp.Or(h.ReadTimeout, DefaultReadTimeout))
}

func (b *body) tooLong() error {
	return refuse(http.StatusRequestEntityTooLarge, "the body is longer than %d bytes", b.limit)
}

// grow enlarges the buffer to size bytes. It returns ErrBusy if that exceeds MaxPending.
func (b *body) grow(size int) error {
	more := int64(size - cap(b.bytes))
	b.taken += more
	if all := b.h.pending.Add(more); all > b.budget {
		return ErrBusy
	}
	grown := make([]byte, len(b.bytes), size)
	copy(grown, b.bytes)
	b.bytes = grown
	return nil
}

func (b *body) release() { b.h.pending.Add(-b.taken) }
