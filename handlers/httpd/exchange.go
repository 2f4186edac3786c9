package httpd

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/portluck/portluck/handlers"
)

// exchange serves a POST or PUT request: it is a client from here to its Disconnect.
func (h *Handler) exchange(w http.ResponseWriter, r *http.Request, l *link) {
	if expect := r.Header.Get("Expect"); expect != "" && expect != "100-continue" {
		w.WriteHeader(http.StatusExpectationFailed)
		return
	}
	if !h.allow(w, r, l) {
		return
	}
	w.Header().Set("Content-Type", contentType)
	a := newAnswer(w, r, bound(h.IdleTimeout, DefaultIdleTimeout))
	a.beginTurn()
	client, err := l.port.Connect(requestInfo(r, l), a)
	if err != nil {
		a.fail(connectStatus(err))
		return
	}
	e := &exchangeState{answer: a, client: client, request: r}
	err = e.run(h)
	if !e.whole && r.ProtoMajor == 1 {
		l.spoiled.Store(true)
	}
	client.Disconnect(a.finish(err, e.whole))
	if a.cut() {
		panic(http.ErrAbortHandler) // net/http closes the connection, or resets the stream
	}
}

func connectStatus(err error) int {
	if errors.Is(err, handlers.ErrPanic) {
		return http.StatusInternalServerError
	}
	return http.StatusServiceUnavailable
}

// exchangeState is a request that is being served.
type exchangeState struct {
	answer  *answer
	client  handlers.Client
	request *http.Request
	split   splitter
	whole   bool // the body has been read to its end
}

// run raises the messages and waits for the end of the answer.
func (e *exchangeState) run(h *Handler) error {
	e.split.limit, e.split.tail = h.Limit, h.Tail
	if h.Limit == 0 {
		e.split.limit = DefaultLimit
	}
	err := e.readBody()
	e.answer.endTurn(true)
	if err != nil || e.answer.over() {
		return err
	}
	return e.answer.settle(h.ExplicitDone)
}

// readBody reads the body and raises its messages. It starts and ends in a turn of the answer.
func (e *exchangeState) readBody() error {
	body, a := e.request.Body, e.answer
	if e.whole = e.request.ContentLength == 0 || body == http.NoBody; e.whole {
		return nil
	}
	buf := readBuffers.Get().(*[8 << 10]byte)
	defer readBuffers.Put(buf)
	left := e.request.ContentLength // negative if it is not known
	for {
		a.endTurn(false)
		a.beginRead()
		n, err := body.Read(buf[:])
		left -= int64(n)
		e.whole = errors.Is(err, io.EOF) || err == nil && left == 0
		a.beginTurn()
		if n > 0 {
			if err := e.split.feed(buf[:n], e.message); err != nil {
				return err
			}
		}
		switch {
		case a.over():
			return nil
		case e.whole:
			return e.split.end(e.message)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return handlers.ErrTimeout
		case err != nil:
			return err
		}
	}
}

// message raises one message, unless the answer is over already.
func (e *exchangeState) message(msg []byte) error {
	if e.answer.over() {
		return nil
	}
	return e.client.Message(handlers.Message{Data: msg})
}

// status is what a client is told when its request fails before the answer has begun.
func status(err error) int {
	switch {
	case errors.Is(err, handlers.ErrTooLong):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, errUnanswered), errors.Is(err, handlers.ErrShutdown):
		return http.StatusServiceUnavailable
	case errors.Is(err, handlers.ErrTimeout):
		return http.StatusRequestTimeout
	case errors.Is(err, handlers.ErrPanic):
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// errUnanswered is why an exchange ends that the program has not answered.
var errUnanswered = fmt.Errorf("%w: the program has not ended the answer", handlers.ErrTimeout)

// past is a deadline that wakes a Read up at once.
var past = time.Unix(1, 0)
