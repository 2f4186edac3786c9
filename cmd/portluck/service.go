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

// A service is a part of the demo server beside the room. It has its own flags of serve and its own
// panel on the page.
type service interface {
	// flags adds the service's flags.
	flags(f *pflag.FlagSet)
	// check finds mistakes in the flags before anything is opened.
	check() error
	// start starts the service. It is called only if on returns true, before the port serves.
	start(d *demo) error
	// on reports whether the flags ask for it.
	on() bool
	// stop ends the service, after the port was shut down or has failed. It is called only if start
	// succeeded.
	stop(ctx context.Context)
	// panel returns what the page shows of the service now. Any goroutine may call it between start
	// and stop.
	panel() page.Panel
}

// A beginner is a service with a second step: begin is called once all services have started and
// the server changes no more.
type beginner interface{ begin() }

// demo is the server that services are added to.
type demo struct {
	srv       *portluck.Server // it may still be changed
	room      *chat.Room
	listeners []net.Listener // of srv; at least one
	prefix    string         // of --prefix
	logger    *zerolog.Logger
	few       *zerolog.Logger // logger, for what strangers can cause: at most fewPerSecond lines
}

// fewPerSecond is how many lines the logger few writes in a second.
const fewPerSecond = 10

// newDemo returns a demo for the services to join.
func newDemo(srv *portluck.Server, room *chat.Room, listeners []net.Listener, logger *zerolog.Logger) *demo {
	few := logger.Sample(&zerolog.BurstSampler{Burst: fewPerSecond, Period: time.Second})
	return &demo{srv: srv, room: room, listeners: listeners, logger: logger, few: &few}
}

// services returns all services, in the order in which they are started and shown. They are fields
// of o, so each call returns the same ones.
func (o *options) services() []service {
	return []service{&o.alldata, &o.streams, &o.slots, &o.mesh, &o.udp}
}

// running holds the services that were started.
type running []service

// start starts the services that the flags ask for. If one fails, it stops those already started.
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

// stop stops the services in reverse order.
func (r running) stop(ctx context.Context) {
	for i := len(r) - 1; i >= 0; i-- {
		r[i].stop(ctx)
	}
}

// panels returns the panels of the services.
func (r running) panels() []page.Panel {
	all := make([]page.Panel, 0, len(r))
	for _, s := range r {
		all = append(all, s.panel())
	}
	return all
}
