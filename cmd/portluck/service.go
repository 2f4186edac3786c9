package main

import (
	"context"
	"net"
	"time"

	"github.com/portluck/portluck/cmd/portluck/internal/chat"
	"github.com/portluck/portluck/cmd/portluck/internal/page"
	"github.com/portluck/portluck/portluck"
	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
)

// A service is a part of the demo server beside the room: it has flags of serve, and a panel on the
// page.
type service interface {
	// flags adds the service's flags.
	flags(f *pflag.FlagSet)
	// check finds mistakes that are known before anything is opened.
	check() error
	// start starts it. It is called only when on is true, before the port serves.
	start(d *demo) error
	// on reports whether the flags ask for it.
	on() bool
	// stop ends it, after the port was shut down or has failed. It is called only after start has
	// succeeded.
	stop(ctx context.Context)
	// panel is what the page shows of it now. Any goroutine may call it, from start to stop.
	panel() page.Panel
}

// A beginner is a service that has something to do once all have started, and the server changes no
// more.
type beginner interface{ begin() }

// demo is what services are added to.
type demo struct {
	srv       *portluck.Server // it may still be changed
	room      *chat.Room
	listeners []net.Listener // of srv; at least one
	prefix    string         // of --prefix
	logger    *zerolog.Logger
	few       *zerolog.Logger // logger for what strangers can cause
}

// fewPerSecond is how many lines few writes in a second.
const fewPerSecond = 10

// newDemo makes the demo that services are added to.
func newDemo(srv *portluck.Server, room *chat.Room, listeners []net.Listener, logger *zerolog.Logger) *demo {
	few := logger.Sample(&zerolog.BurstSampler{Burst: fewPerSecond, Period: time.Second})
	return &demo{srv: srv, room: room, listeners: listeners, logger: logger, few: &few}
}

// services are all that there are, in the order in which they are started and shown: fields of o,
// so that each call returns the same ones.
func (o *options) services() []service {
	return []service{&o.alldata, &o.streams, &o.slots, &o.mesh, &o.udp}
}

// running are the services that were started.
type running []service

// start starts the services that the flags ask for. If one fails none runs.
func (o *options) start(ctx context.Context, d *demo) (running, error) {
	var all running
	for _, s := range o.services() {
		if !s.on() {
			continue
		}
		if err := s.start(d); err != nil {
			all.stop(ctx)
			return nil, err
		}
		all = append(all, s)
	}
	for _, s := range all {
		if b, ok := s.(beginner); ok {
			b.begin()
		}
	}
	return all, nil
}

// stop ends them, the last one first.
func (r running) stop(ctx context.Context) {
	for i := len(r) - 1; i >= 0; i-- {
		r[i].stop(ctx)
	}
}

// panels are what the page shows of them.
func (r running) panels() []page.Panel {
	all := make([]page.Panel, 0, len(r))
	for _, s := range r {
		all = append(all, s.panel())
	}
	return all
}
