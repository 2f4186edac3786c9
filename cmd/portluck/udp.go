package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/portluck/portluck/cmd/portluck/internal/page"
	"github.com/portluck/portluck/handlers/udp"
	"github.com/portluck/portluck/portluck"
	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
)

// udpService serves the port number of the listeners over UDP too.
type udpService struct {
	enabled bool
	trust   []string

	*udpSockets // nil until start
}

// udpSockets holds the state of a started udpService.
type udpSockets struct {
	srv     *portluck.Server
	packets udp.Server
	sockets []net.PacketConn
	logger  *zerolog.Logger
	serving sync.WaitGroup // goroutines of begin
}

func (u *udpService) flags(f *pflag.FlagSet) {
	f.BoolVar(&u.enabled, "udp", false, "serve the same port number over UDP too: each datagram is a message")
	f.StringSliceVar(&u.trust, "udp-trust", nil,
		"address or prefix, such as your own network, whose source addresses --udp believes: clients there hear the room as "+
			"those on this machine do, and may get more than three times what they send; may be repeated")
}

func (u *udpService) check() error {
	if len(u.trust) > 0 && !u.enabled {
		return errors.New("--udp-trust needs --udp")
	}
	_, err := prefixes("udp-trust", u.trust)
	return err
}

func (u *udpService) on() bool { return u.enabled }

// listen is [portluck.Listen]. If the system chooses the port and --udp is given, listen tries up
// to 16 more ports until one is free over UDP too.
func (u *udpService) listen(addr string) ([]net.Listener, error) {
	for try := 0; ; try++ {
		all, err := portluck.Listen(addr)
		if _, port, _ := net.SplitHostPort(addr); err != nil || !u.enabled || port != "0" || try == 16 {
			return all, err
		}
		sockets, err := portluck.ListenPackets(all)
		if err == nil {
			for _, pc := range sockets {
				pc.Close()
			}
			return all, nil
		}
		closeAll(all)
	}
}

// start opens the sockets, which begin serves.
func (u *udpService) start(d *demo) error {
	sockets, err := portluck.ListenPackets(d.listeners)
	switch {
	case err != nil:
		return listenError(err, "--udp: choose a port that is free over TCP and UDP with --listen")
	case len(sockets) == 0:
		return errors.New("--udp needs a TCP address, whose port it serves too: add --listen HOST:PORT")
	}
	u.udpSockets = &udpSockets{srv: d.srv, sockets: sockets, logger: d.logger}
	u.packets.Lines, u.packets.Timeout, u.packets.MessageLimit = true, d.srv.Timeout, d.srv.MessageLimit
	u.packets.Trusted, _ = prefixes("udp-trust", u.trust)
	u.packets.RoomsTo = u.packets.Trusted
	return nil
}

// begin starts to serve the sockets, until the server is shut down.
func (u *udpSockets) begin() {
	for _, pc := range u.sockets {
		u.serving.Go(func() { // ends with the server
			if err := u.srv.ServePacket(pc, &u.packets); !errors.Is(err, portluck.ErrServerClosed) {
				u.logger.Error().Err(err).Msg("no more datagrams are served")
			}
		})
	}
}

// stop closes the sockets, served or not, and waits for the goroutines of begin.
func (u *udpSockets) stop(context.Context) {
	_ = u.packets.Close()
	for _, pc := range u.sockets {
		_ = pc.Close()
	}
	u.serving.Wait()
}

// panel returns the counters of the datagrams and the commands that send one.
func (u *udpSockets) panel() page.Panel {
	st := u.packets.Stats()
	p := page.Panel{
		Title: "UDP",
		Hint: "The same port number over UDP: each datagram is a message, and each address that sends one is in the room. " +
			"Beyond this machine only the networks of --udp-trust hear it.",
		Facts: []page.Fact{
			{Name: "clients", Value: fmt.Sprint(st.Clients)},
			{Name: "datagrams received", Value: fmt.Sprintf("%d (%d bytes)", st.Received, st.BytesIn)},
			{Name: "datagrams sent", Value: fmt.Sprintf("%d (%d bytes)", st.Sent, st.BytesOut)},
			{Name: "not taken", Value: fmt.Sprint(st.TooLong + st.Refused + st.Overflowed)},
			{Name: "not sent", Value: fmt.Sprint(st.Unvalidated + st.Muted + st.Dropped + st.SendErrors)},
		},
	}
	for _, pc := range u.sockets {
		p.Facts = append(p.Facts, page.Fact{Name: "address", Value: pc.LocalAddr().String()})
	}
	host, port := numeric(u.sockets[0].LocalAddr())
	p.Commands = []page.Command{
		{What: "raw UDP", Command: shellLine("nc -u", host, port)},
		{What: "UDP", Command: self() + " " + shellLine("chat", "udp://"+net.JoinHostPort(host, port))},
	}
	return p
}

// numeric returns the IP address and the port at which a client on this machine reaches a. A name
// would not do: nc -u sends to its first address, even if nobody listens there.
func numeric(a net.Addr) (host, port string) {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		host, port, _ = net.SplitHostPort(a.String())
		return host, port
	}
	ip := ap.Addr().Unmap()
	if ip.IsUnspecified() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return ip.String(), fmt.Sprint(ap.Port())
}
