package portluck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Errors of clients that OnHandshake has not judged.
var (
	errNoVerdict = fmt.Errorf("OnHandshake: %w: %w", handlers.ErrTimeout, &Refusal{
		Status: http.StatusServiceUnavailable, Text: "the server is busy, try again later", RetryAfter: time.Second,
	})
	errCrowd = fmt.Errorf("%w: %w", handlers.ErrOverload, &Refusal{
		Status: http.StatusServiceUnavailable, Text: "too many clients at once, try again later", RetryAfter: time.Second,
	})
)

// admissions counts the calls of OnHandshake that run.
type admissions struct{ running atomic.Int64 }

// asks reports whether OnHandshake may be asked about a client.
func (p *port) asks() bool { return p.srv.HubOf != nil || p.clients.Admits() }

// Admits is [handlers.Admitter.Admits].
func (p *port) Admits(info *Info) bool {
	b, err := p.bindingOf(info)
	return err != nil || b.Admits()
}

// Admit is [handlers.Admitter.Admit]. OnHandshake gets a Handshake of its own, as it may use it
// after Admit has given up.
func (p *port) Admit(ctx context.Context, h *Handshake) error {
	b, err := p.bindingOf(h.Info)
	if err != nil || !b.Admits() {
		return err
	}
	if p.admissions.running.Add(1) > int64(p.srv.maxHandshakes()) {
		p.admissions.running.Add(-1)
		return errCrowd
	}
	ctx, end := p.bounded(ctx)
	defer end()
	own := *h
	own.Header = h.Header.Clone()
	verdict := make(chan error, 1)
	p.Go(func() { // ends with OnHandshake
		defer p.admissions.running.Add(-1)
		verdict <- b.Admit(ctx, &own, func(err error) { verdict <- err })
	})
	select {
	case err := <-verdict:
		*h = own
		return judged(ctx, h, err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// bounded returns the context for OnHandshake. It has the deadline, and ends when the port gives
// handshakes up.
func (p *port) bounded(ctx context.Context) (bounded context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.handshakes, func() { cancel(context.Cause(p.handshakes)) })
	free := func() {}
	if t := p.srv.handshakeTimeout(); t > 0 {
		ctx, free = context.WithTimeoutCause(ctx, t, errNoVerdict)
	}
	return ctx, func() {
		free()
		stop()
		cancel(nil)
	}
}

// judged returns the error of a client whose OnHandshake has returned err.
func judged(ctx context.Context, h *Handshake, err error) error {
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		if _, ok := handlers.FarewellOf(err); !ok || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: %w", handlers.ErrPolicy, err)
		}
		return err
	case !h.Expires.IsZero() && !h.Expires.After(time.Now()):
		return handlers.ErrExpired
	}
	return nil
}

// admitted asks OnHandshake about the client of info, if there is one, and returns its Info. header
// is that of the response, which gets the fields that OnHandshake sets; nil without HTTP. admitted
// reports an error to OnError.
func (p *port) admitted(ctx context.Context, info *Info, header http.Header) (*Info, error) {
	if !p.Admits(info) {
		return info, nil
	}
	h := &Handshake{Info: info}
	if header != nil {
		h.Header = http.Header{}
	}
	err := p.Admit(ctx, h)
	maps.Copy(header, h.Header)
	if err != nil {
		p.Fail(info, err)
		return info, err
	}
	own := *info
	own.Login = h.Login()
	return &own, nil
}

// refuseRequest answers a request that OnHandshake has refused with err.
func refuseRequest(w http.ResponseWriter, err error) {
	f, _ := handlers.FarewellOf(err)
	f.Answer(w)
}
