package main

import (
	"context"
	"crypto/tls"
	"errors"
	"expvar"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/portluck/portluck/cmd/portluck/internal/chat"
	"github.com/portluck/portluck/cmd/portluck/internal/devca"
	"github.com/portluck/portluck/cmd/portluck/internal/page"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/tlsd"
	"github.com/portluck/portluck/portluck"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
)

// drainTime bounds how long clients may take to finish after the first SIGTERM. Only tests change
// it.
var drainTime = 10 * time.Second

func newServe() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve a chat room over every protocol on one port (the default command)",
		Long: `serve listens on localhost:8100 and speaks HTTP/1.1, HTTP/2, HTTPS, WebSocket, WSS, raw TCP and raw TLS there, and
with --udp also UDP. A line that one client sends goes to all, tagged with where it came from; with --echo each client
gets back what it sends.

On SIGTERM or Ctrl-C it finishes what has begun, within 10 seconds; on a second signal it ends at once. On SIGHUP it
reads the files of --cert and --key again; if they are wrong it keeps the old certificate. A SIGHUP or Ctrl-C that is
ignored at the start (nohup) stays ignored. Log lines that standard error does not take in time are dropped and counted.

On a terminal it shows who comes (+), who goes (-) and what is said, at most 50 lines a second.`,
		Example: `  portluck                                    a chat room on localhost:8100
  portluck --lan                              for the whole network
  portluck --udp                              over UDP too, for nc -u
  portluck --echo --listen 127.0.0.1:0        an echo server on a free port, which it prints
  portluck --listen unix:/tmp/portluck.sock   on a Unix socket`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd.Flags()); err != nil {
				return cli.Usage(err)
			}
			logger, flush, err := newLogger(o.logFormat, o.logLevel)
			if err != nil {
				return cli.Usage(err)
			}
			defer flush()
			log.SetFlags(0)
			log.SetOutput(stdLog{logger})
			return serve(cmd.Context(), &o, logger)
		},
	}
	o.flags(cmd.Flags())
	return cmd
}

// serve runs the server until a signal arrives or serving fails.
func serve(ctx context.Context, o *options, logger zerolog.Logger) error {
	room := chat.New(o.echo)
	var services running
	var e entrance
	srv := &portluck.Server{
		Hub: room.Hub, OnVerdict: room.Verdict, RoomOf: room.RoomOf,
		Pages: page.Handler(page.Source{
			Prefix:      o.prefix,
			Members:     room.Members,
			Connections: func(r *http.Request) any { return room.Seen(o.showBytes || page.Near(r)) },
			Panels:      func() []page.Panel { return services.panels() },
			Commands:    func(host string) []page.Command { return pageLines(host, e) },
		}),
		Hosts: o.hosts, AllowOrigin: o.allowOrigin, RequireOrigin: o.requireOrigin, ExplicitDone: o.explicitDone, AllowRawHTTP: o.allowRawHTTP, Logger: &logger,
	}
	o.bound(srv)
	srv.ProxyFrom, _ = o.proxies()
	if o.noRaw {
		srv.OnUnmatched = handlers.Refuse
	}
	ca, reload, err := o.setTLS(srv, &logger)
	if err != nil {
		return err
	}
	e = o.entrance(ca)
	signal.Ignore(writeSignals...) // a write that fails returns an error instead
	hangups := make(chan os.Signal, 1)
	cli.Notify(hangups, syscall.SIGHUP) // never stopped: a late SIGHUP must not kill the process
	person, most := cli.IsTerminal(os.Stdout), 0
	if person {
		most = screenPerSecond
	}
	out, notices := newScreen(os.Stdout, most), newScreen(os.Stderr, 0)
	defer out.close()
	defer notices.close()
	if person {
		room.Watch = out.show
	}
	listeners, err := o.open(notices)
	if err != nil {
		return err
	}
	stop, err := serveDebug(o.debug, srv, out)
	if err != nil {
		closeAll(listeners)
		return err
	}
	defer stop()
	d := newDemo(srv, room, listeners, &logger)
	d.prefix = o.prefix
	if services, err = o.start(ctx, d); err != nil {
		closeAll(listeners)
		return err
	}
	signals := make(chan os.Signal, 2)
	cli.Notify(signals, os.Interrupt, syscall.SIGTERM) // before announce: one may follow at once
	defer signal.Stop(signals)
	announce(out, listeners, e, services, person)
	return runServer(ctx, srv, listeners, services, &control{signals, hangups, reload})
}

// setTLS sets the certificates of srv. It returns the path of our own CA, if clients must trust it,
// and the function that SIGHUP calls.
func (o *options) setTLS(srv *portluck.Server, logger *zerolog.Logger) (ca string, reload func(), err error) {
	nothing := func() { logger.Info().Str("tls", o.tls).Msg("no certificate files to reload") }
	switch o.tls {
	case "files":
		files, err := tlsd.LoadFiles(o.cert, o.key)
		if err != nil {
			return "", nil, fmt.Errorf("--cert, --key: %w", err)
		}
		files.OnError = func(err error) { logger.Error().Err(err).Msg("certificate not reloaded") }
		srv.TLSConfig = &tls.Config{GetCertificate: files.GetCertificate}
		return "", func() {
			if err := files.Reload(); err != nil {
				files.OnError(err)
				return
			}
			logger.Info().Str("cert", o.cert).Msg("certificate reloaded")
		}, nil
	case "dev":
		dir, err := configDir(o.configDir)
		if err != nil {
			return "", nil, err
		}
		own, err := devca.Open(dir)
		if err != nil {
			return "", nil, err
		}
		srv.TLSConfig = &tls.Config{GetCertificate: own.GetCertificate}
		return own.File(), nothing, nil
	}
	return "", nothing, nil
}

// configDir returns the directory of the development CA.
func configDir(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no place for the development CA: %w; give --config-dir, or --tls off", err)
	}
	return filepath.Join(dir, "portluck"), nil
}

// The default port, and how many further ports are tried if it is taken.
const (
	defaultPort = 8100
	otherPorts  = 100
)

// open opens the listeners that the flags ask for.
func (o *options) open(notices io.Writer) ([]net.Listener, error) {
	switch {
	case o.lan:
		all, err := portluck.Listen(fmt.Sprintf(":%d", defaultPort))
		return all, listenError(err, "--lan")
	case len(o.listen) > 0:
		var all []net.Listener
		for _, addr := range o.listen {
			some, err := o.udp.listen(addr)
			if err != nil {
				closeAll(all)
				return nil, listenError(err, "--listen "+addr)
			}
			all = append(all, some...)
		}
		return all, nil
	}
	for port := defaultPort; ; port++ {
		all, err := portluck.Listen(fmt.Sprintf("localhost:%d", port))
		switch {
		case err == nil && port > defaultPort:
			fmt.Fprintf(notices, "portluck: port %d is taken, using %d\n", defaultPort, port)
			return all, nil
		case err == nil, !errors.Is(err, syscall.EADDRINUSE), port == defaultPort+otherPorts:
			return all, err
		}
	}
}

// listenError adds the flag at fault to err. If the port is taken, it also adds the command that
// finds the process that has it, such as a portluck that was left running.
func listenError(err error, flag string) error {
	if err == nil {
		return nil
	}
	said := fmt.Errorf("%w (%s)", err, flag)
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Addr == nil || !errors.Is(err, syscall.EADDRINUSE) {
		return said
	}
	at, wrong := netip.ParseAddrPort(op.Addr.String())
	if wrong != nil {
		return said
	}
	find := fmt.Sprintf("lsof -nP -i %s:%d", op.Addr.Network(), at.Port())
	if runtime.GOOS == "linux" {
		find = fmt.Sprintf("ss -anp --%s 'sport = :%d'", op.Addr.Network(), at.Port())
	}
	return fmt.Errorf("%w: `%s` shows which process has the port, kill ends it; or take another port", said, find)
}

func closeAll(all []net.Listener) {
	for _, l := range all {
		l.Close()
	}
}

// control holds what can stop or reload a running server.
type control struct {
	signals <-chan os.Signal // the first shuts the server down, the second ends it at once
	hangups <-chan os.Signal // each calls reload
	reload  func()
}

// wait waits until a listener fails, ctx ends or a signal arrives. failed reports whether a
// listener failed, with err.
func (c *control) wait(ctx context.Context, srv *portluck.Server, ends <-chan error) (err error, failed bool) {
	for {
		select {
		case err := <-ends:
			return err, true
		case <-ctx.Done():
			return nil, false
		case <-c.hangups:
			c.reload()
		case sig := <-c.signals:
			srv.Logger.Info().Stringer("signal", sig).Dur("drain", drainTime).Msg("shutting down")
			return nil, false
		}
	}
}

// runServer serves on all listeners until one fails or a signal arrives, then stops the services.
func runServer(ctx context.Context, srv *portluck.Server, listeners []net.Listener, services running, c *control) error {
	ends := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ends <- srv.Serve(l) }() // ends with the server; it is waited for below
	}
	ended := 0
	err, failed := c.wait(ctx, srv, ends)
	if failed {
		ended = 1
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	go func() { // ends with the next signal or with cancel
		select {
		case <-c.signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	if shutErr := srv.Shutdown(ctx); shutErr != nil && err == nil {
		err = fmt.Errorf("some clients were cut off: %w", shutErr)
	}
	services.stop(ctx)
	for ; ended < len(listeners); ended++ {
		if e := <-ends; err == nil && !errors.Is(e, portluck.ErrServerClosed) {
			err = e
		}
	}
	return err
}

// serveDebug serves pprof and expvar on addr until stop is called.
func serveDebug(addr string, srv *portluck.Server, out io.Writer) (stop func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	all, err := portluck.Listen(addr)
	if err != nil {
		return nil, listenError(err, "--debug "+addr)
	}
	if expvar.Get("portluck") == nil {
		expvar.Publish("portluck", expvar.Func(func() any { return srv.Stats() }))
	}
	mux := http.NewServeMux()
	mux.Handle("/debug/vars", expvar.Handler())
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	s := &http.Server{
		Handler: handlers.Hosts(srv.Hosts).Handler(mux), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: log.New(io.Discard, "", 0), // its lines would quote clients
	}
	fmt.Fprintf(out, "debug on http://%s/debug/pprof/ and /debug/vars\n", all[0].Addr())
	for _, l := range all {
		go func() { _ = s.Serve(l) }() // ends with stop
	}
	return func() { s.Close() }, nil
}
