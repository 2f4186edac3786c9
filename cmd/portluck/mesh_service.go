package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/portluck/portluck/cmd/portluck/internal/chat"
	"github.com/portluck/portluck/cmd/portluck/internal/page"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/mesh"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck"
	"github.com/spf13/pflag"
)

// meshService shares the room between the servers of a mesh, on the demo's own port.
type meshService struct {
	name, id, keyFile string

	at    netip.AddrPort // the address that others dial; set by start
	node  *mesh.Node
	plane *mesh.Backplane
}

func (s *meshService) flags(f *pflag.FlagSet) {
	f.StringVar(&s.name, "mesh", "",
		"join the mesh of this name: its servers on this machine, and with --lan on the network, find each other by mDNS and share one room")
	f.StringVar(&s.id, "mesh-id", "", "id of this server in the mesh, hexadecimal (default a random one)")
	f.StringVar(&s.keyFile, "mesh-key", "",
		"file with the secret of the mesh, 16 bytes or more: connections are then TLS, and nobody can join without the secret")
}

func (s *meshService) on() bool { return s.name != "" }

func (s *meshService) check() error {
	if !s.on() {
		if s.id != "" || s.keyFile != "" {
			return errors.New("--mesh-id and --mesh-key need --mesh NAME")
		}
		return nil
	}
	if err := mesh.CheckName(s.name); err != nil {
		return fmt.Errorf("--mesh: %w", err)
	}
	return checkID("--mesh-id", s.id)
}

// checkID returns an error if id, the value of a flag, is neither empty nor the id of a node.
func checkID(flag, id string) error {
	if id == "" {
		return nil
	}
	if err := mesh.CheckID(id); err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	return nil
}

// readKey returns the key in the file that a flag names, without the newline at its end, or nil if
// file is empty.
func readKey(flag, file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	key, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: the key of the mesh: %w", flag, err)
	}
	if key = bytes.TrimRight(key, "\r\n"); len(key) < 16 {
		return nil, fmt.Errorf("%s: the key in %s has fewer than 16 bytes; make one with: head -c 32 /dev/urandom | base64 > %s", flag, file, quote(file))
	}
	return key, nil
}

func (s *meshService) start(d *demo) error {
	key, err := readKey("--mesh-key", s.keyFile)
	if err != nil {
		return err
	}
	if s.at, err = meshAddress(d); err != nil {
		return err
	}
	s.plane = &mesh.Backplane{}
	s.node = &mesh.Node{
		Name: s.name, ID: s.id, Key: key, Hello: key == nil, OnConnection: s.plane.Serve,
		OnListening: func() {
			d.logger.Info().Str("name", s.name).Str("id", s.node.LocalID()).Str("reach", reach(s.at)).Msg("mesh joined")
		},
		Log: d.srv,
	}
	matcher := matchers.Prefix(mesh.HelloPrefix)
	if key != nil {
		matcher = matchers.ALPN(mesh.ALPN)
	}
	d.srv.Handle("mesh", matcher, s.node)
	d.room.Hub.OnGap = func(origin string, missed uint64) {
		d.few.Warn().Str("origin", origin).Uint64("missed", missed).Msg("messages between servers are lost")
	}
	if err := d.room.Hub.Carry(cleaned{s.plane, d.room}); err != nil {
		return err
	}
	return s.node.Join(s.at)
}

// cleaned is a backplane that delivers only text that is safe on a terminal, like that of the
// room's own clients. It also shows that text to the room's pages.
type cleaned struct {
	handlers.Backplane
	room *chat.Room
}

// Subscribe is [handlers.Backplane.Subscribe].
func (c cleaned) Subscribe(s handlers.Subscriber) error {
	deliver := s.Deliver
	s.Deliver = func(d handlers.Delivery) {
		if text := chat.Clean(d.Message.String()); text != "" {
			d.Message = portluck.TextMessage(text)
			deliver(d)
			if d.Room == chat.Lobby {
				c.room.Heard(d.Origin, text)
			}
		}
	}
	return c.Backplane.Subscribe(s)
}

// meshAddress returns the address that the other servers dial.
func meshAddress(d *demo) (netip.AddrPort, error) {
	for _, l := range d.listeners {
		if at, err := netip.ParseAddrPort(l.Addr().String()); err == nil {
			return at, nil
		}
	}
	return netip.AddrPort{}, errors.New("--mesh needs a TCP address that the other servers can dial: add --listen HOST:PORT")
}

// reach returns, for the log, where others can connect to at from.
func reach(at netip.AddrPort) string {
	if at.Addr().IsLoopback() {
		return "this machine only; add --lan for the network"
	}
	return "the network"
}

func (s *meshService) stop(ctx context.Context) {
	done := make(chan struct{})
	go func() { // ends soon: both calls bound their waits
		s.node.Close()
		s.plane.Close()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done(): // a second signal still leaves time for a goodbye
		select {
		case <-done:
		case <-time.After(time.Second):
		}
	}
}

func (s *meshService) panel() page.Panel {
	stats := s.plane.Stats()
	var listen []string
	another := []string{"--listen", "127.0.0.1:0", "--mesh", s.name}
	if !s.at.Addr().IsLoopback() {
		listen = append(listen, "--lan")
	}
	if s.keyFile != "" {
		listen, another = append(listen, "--key", s.keyFile), append(another, "--mesh-key", s.keyFile)
	}
	if strings.HasPrefix(s.name, "-") {
		listen = append(listen, "--")
	}
	listen = append(listen, s.name)
	p := page.Panel{
		Title: "Mesh",
		Hint:  "Servers with the same name find each other on the network and share one room.",
		Facts: []page.Fact{
			{Name: "name", Value: s.name},
			{Name: "id", Value: s.node.LocalID()},
			{Name: "messages sent", Value: fmt.Sprint(stats.Published)},
			{Name: "messages from others", Value: fmt.Sprint(stats.Delivered)},
			{Name: "messages lost on the way", Value: fmt.Sprint(stats.Missed)},
			{Name: "servers and listeners", Value: fmt.Sprint(stats.Nodes)},
		},
		Commands: []page.Command{
			{What: "mesh: listen", Command: self() + " " + shellLine("mesh", listen...)},
			{What: "mesh: another", Command: self() + " " + shellLine("serve", another...)},
		},
	}
	for _, c := range s.node.Connections() {
		p.Facts = append(p.Facts, page.Fact{Name: "peer " + c.Peer(), Value: c.RemoteAddr().String()})
	}
	return p
}
