package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/portluck/portluck/cmd/portluck/internal/page"
	"github.com/portluck/portluck/handlers/callosum"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck"
	"github.com/spf13/pflag"
)

// slotService gives a slot to each callosum client, on an address of its own and on the shared
// port. After the slot line it sends back what it receives.
type slotService struct {
	addr      string
	onSilence bool
	from      []string
	max       int
	*slots    // nil until start
}

// slots holds the state of a started slotService.
type slots struct {
	handler  callosum.Handler
	server   callosum.Server
	own      []net.Listener
	shared   []net.Listener
	finished chan struct{} // gets a value for each of own that is no longer served
}

func (s *slotService) flags(f *pflag.FlagSet) {
	f.StringVar(&s.addr, "callosum", "", "address on which each connection gets a slot, such as localhost:4040 (the callosum protocol)")
	f.BoolVar(&s.onSilence, "slots-on-silence", false,
		"give a slot to clients of the shared port that send nothing within --sniff-timeout, instead of treating them as raw clients")
	f.StringSliceVar(&s.from, "slots-from", nil,
		"address or prefix whose clients get a slot on the shared port at once; needs --slots-on-silence; may be repeated")
	f.IntVar(&s.max, "max-slots", 0, "most slots in use at once; 0 for no limit")
}

func (s *slotService) on() bool { return s.addr != "" || s.onSilence }

func (s *slotService) check() error {
	switch {
	case s.addr != "" && checkAddress(s.addr) != nil:
		return fmt.Errorf("--callosum %q: %w", s.addr, checkAddress(s.addr))
	case s.max < 0:
		return errors.New("--max-slots cannot be negative; 0 means that there is no limit")
	case len(s.from) > 0 && !s.onSilence:
		return errors.New("--slots-from needs --slots-on-silence")
	}
	_, err := prefixes("slots-from", s.from)
	return err
}

// start adds the service to the shared port, for clients that send the preface and, with
// --slots-on-silence, for silent ones. It also listens on the address of --callosum, if given.
func (s *slotService) start(d *demo) error {
	s.slots = &slots{}
	s.handler.MaxSlots = s.max
	s.handler.OnConnection = func(_ context.Context, c *callosum.Conn) { _, _ = io.Copy(c, c) }
	s.server.Handler, s.server.Log = &s.handler, d.srv
	s.shared = d.listeners
	d.srv.Handle(callosum.Protocol, matchers.Prefix(callosum.Preface), &s.handler)
	if s.onSilence {
		d.srv.OnSilence = &s.handler
		d.srv.SpeakFirst, _ = prefixes("slots-from", s.from)
	}
	if s.addr == "" {
		return nil
	}
	var err error
	if s.own, err = portluck.Listen(s.addr); err != nil {
		return listenError(err, "--callosum "+s.addr)
	}
	s.finished = make(chan struct{}, len(s.own))
	for _, l := range s.own {
		d.logger.Info().Stringer("addr", l.Addr()).Msg("slots")
		go func() { // ends with stop
			if err := s.server.Serve(l); !errors.Is(err, callosum.ErrServerClosed) {
				d.logger.Error().Err(err).Msg("slots")
			}
			s.finished <- struct{}{}
		}()
	}
	return nil
}

func (s *slotService) stop(ctx context.Context) {
	_ = s.server.Shutdown(ctx)
	for range s.own {
		<-s.finished
	}
}

// shownSlots is how many connections the panel lists.
const shownSlots = 8

func (s *slotService) panel() page.Panel {
	p := page.Panel{
		Title: "Slots",
		Hint:  "Each connection gets the lowest free slot. Clients prefer low slots, and so find the least busy server (callosum).",
	}
	conns := s.handler.Conns()
	held := make([]string, 0, shownSlots+1)
	for _, c := range conns[:min(shownSlots, len(conns))] {
		held = append(held, fmt.Sprintf("%d: %s", c.Slot(), remoteName(c.Info().Remote)))
	}
	if len(conns) > shownSlots {
		held = append(held, "...")
	}
	p.Facts = []page.Fact{
		{Name: "held now", Value: fmt.Sprint(len(conns))},
		{Name: "given so far", Value: fmt.Sprint(s.handler.Given())},
		{Name: "connections", Value: cmp.Or(strings.Join(held, ", "), "none")},
	}
	for _, addr := range addresses(s.own)[:min(1, len(s.own))] {
		p.Facts = append(p.Facts, page.Fact{Name: "address", Value: addr})
		p.Commands = append(p.Commands, page.Command{What: "a pool of slots", Command: self() + " " + shellLine("slots", addr)},
			page.Command{What: "a slot", Command: shellLine("nc", ncAddress(addr)...)})
	}
	if addr := addresses(s.shared)[0]; !strings.HasPrefix(addr, "unix:") {
		p.Commands = append(p.Commands, page.Command{What: "slots on this port", Command: self() + " " + shellLine("slots", "--preface", addr)})
	}
	return p
}
