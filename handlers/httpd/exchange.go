package httpd

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Why an exchange ends.
var (
	// errUnanswered: the program has not ended the answer.
	errUnanswered = fmt.Errorf("%w: the program has not ended the answer", handlers.ErrTimeout)
	// errGone: the client no longer waits for the answer.
	errGone = errors.New("the client went away before the answer had ended")
	// errRefused: the port did not take the client.
	errRefused = errors.New("no new clients")
)

// exchange serves a POST or PUT request as a client, from Connect to Disconnect.
func (h *Handler) exchange(w http.ResponseWriter, r *http.Request, l *httpConn) {
	e := exchangeOf(w)
	e.pace, e.info = h.writeDeadline(w, r), requestInfo(r, l)
	a := &e.answer
	a.init(w, r, l, &e.pace, &h.delays)
	if expect := r.Header.Get("Expect"); expect != "" && !strings.EqualFold(expect, "100-continue") {
		a.pace.begin()
		http.Error(w, "The only expectation that is met is 100-continue.", http.StatusExpectationFailed)
		return
	}
	if !h.allow(w, r, l) {
		a.pace.begin()
		return
	}
	if isCoded(r.Header["Content-Encoding"]) {
		a.pace.begin()
		w.Header().Set("Accept-Encoding", "identity")
		http.Error(w, "A message may not have a Content-Encoding.", http.StatusUnsupportedMediaType)
		return
	}
	w.Header()["Content-Type"] = contentType
	e.whole = r.ContentLength == 0
	a.beginTurn()
	client, err := l.port.Connect(&e.info, a)
	switch {
	case err == nil:
		e.client = client
		e.serve(h)
	case errors.Is(err, handlers.ErrPanic):
		_ = e.end(err)
	default:
		a.adoptHeader()
		_ = e.end(fmt.Errorf("%w: %w", errRefused, err))
	}
	if !e.away && a.cut() {
		panic(http.ErrAbortHandler) // net/http closes the connection, or resets the stream
	}
}

// isCoded reports whether Content-Encoding names a coding other than identity. The bytes of such a
// body are no messages (RFC 9110, section 15.5.16).
func isCoded(fields []string) bool {
	for _, field := range fields {
		for one := range strings.SplitSeq(field, ",") {
			if one = strings.Trim(one, " \t"); one != "" && !strings.EqualFold(one, "identity") {
				return true
			}
		}
	}
	return false
}

// exchangeState is the state of a request that is being served, in one allocation.
type exchangeState struct {
	answer answer
	pace   writeDeadline
	info   handlers.Info
	client handlers.Client
	split  splitter
	whole  bool // the body has been read to its end
	away   bool // the lane leaves the rest to net/http
}

// exchangeOf returns an exchange for the request that w answers.
func exchangeOf(w http.ResponseWriter) *exchangeState {
	if a, ok := w.(*laneAnswer); ok {
		return &a.exchange.state
	}
	return &exchangeState{}
}

// serve delivers the messages, ends the answer and disconnects the client, even if a callback ends
// the goroutine.
func (e *exchangeState) serve(h *Handler) {
	why, ended := handlers.ErrPanic, false
	defer func() {
		switch {
		case e.away:
			return
		case !ended:
			why = e.end(why)
		}
		e.client.Disconnect(why)
	}()
	err := e.run(h)
	if ended = true; !e.away {
		why = e.end(err)
	}
}

// run delivers the messages and waits for the end of the answer.
func (e *exchangeState) run(h *Handler) error {
	e.split.in.Budget, e.split.limit, e.split.tail = h.budget(), h.limit(), h.Tail
	if e.pace.h2 {
		e.split.extra = maxChunk
	}
	err := e.readBody(h.messageTimeout())
	e.answer.endTurn(true)
	if err != nil || e.answer.over() || e.leaves(h.ExplicitDone) {
		return err
	}
	return e.answer.settle(h.ExplicitDone)
}

// end ends the answer and makes sure that the rest of the body is not taken for a request. err is
// why the request failed, or nil. end returns the error for the client's Disconnect.
func (e *exchangeState) end(err error) error {
	if !e.whole && e.info.Request.ProtoMajor == 1 {
		e.answer.conn.spoiled.Store(true)
	}
	return e.answer.finish(err, e.whole)
}

// readBody reads the body and delivers its messages. A message may take up to most, if that is
// positive. readBody starts and ends in a turn of the answer.
func (e *exchangeState) readBody(most time.Duration) error {
	if e.whole {
		return nil
	}
	defer e.split.release()
	body, a, in := e.info.Request.Body, &e.answer, &e.split.in
	left := e.info.Request.ContentLength // negative if unknown
	for {
		a.endTurn(false)
		if !a.beginRead(e.split.bound(most)) {
			return nil
		}
		n, err := body.Read(in.Space())
		in.Filled(n)
		left -= int64(n)
		e.whole = errors.Is(err, io.EOF) || err == nil && left == 0
		a.beginTurn()
		if err := e.split.feed(e.whole, e.message); err != nil {
			return err
		}
		switch {
		case a.over() || e.whole:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return handlers.ErrTimeout
		case err != nil:
			return err
		}
	}
}

// message delivers one message unless the answer has ended.
func (e *exchangeState) message(msg []byte) error {
	if e.answer.over() {
		return nil
	}
	return e.client.Message(handlers.Message{Data: msg})
}

// farewell returns what the client of a request that fails with err, before its answer has begun,
// is told. An error that is none of package handlers is one of the request.
func farewell(err error) handlers.Farewell {
	f, ok := handlers.FarewellOf(err)
	switch {
	case errors.Is(err, errUnanswered), !ok && errors.Is(err, errRefused):
		return handlers.Farewell{Status: http.StatusServiceUnavailable, RetryAfter: time.Second}
	case !ok:
		return handlers.Farewell{Status: http.StatusBadRequest}
	}
	return f
}
