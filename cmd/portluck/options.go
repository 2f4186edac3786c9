package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/portluck"
	"github.com/spf13/pflag"
)

// options holds the flags of serve.
type options struct {
	listen        []string
	lan           bool
	echo          bool
	tls           string
	cert, key     string
	configDir     string
	allowOrigin   []string
	requireOrigin bool
	hosts         []string
	prefix        string
	showBytes     bool
	messageLimit  int
	compressMin   int
	idleTimeout   time.Duration
	pingInterval  time.Duration
	sniffTimeout  time.Duration
	maxConns      int
	maxConnsPerIP int
	maxPartial    int64
	noRaw         bool
	allowRawHTTP  bool
	explicitDone  bool
	proxyFrom     []string
	debug         string
	logFormat     string
	logLevel      string
	alldata       eventStore
	streams       streams
	slots         slotService
	udp           udpService
	mesh          meshService
}

func (o *options) flags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.listen, "listen", nil,
		"address to listen on: HOST:PORT, :PORT for every interface, :0 for any free port, or unix:PATH; may be repeated "+
			"(default localhost:8100, or the next port that is free)")
	f.BoolVar(&o.lan, "lan", false, "listen on every interface, port 8100, instead of this machine only")
	f.BoolVar(&o.echo, "echo", false, "send each message back to its sender instead of to the room")
	f.StringVar(&o.tls, "tls", "", "TLS: dev (a certificate that portluck makes itself), off, or files (--cert and --key) "+
		"(default dev, or files if --cert is given)")
	f.StringVar(&o.cert, "cert", "", "certificate chain in PEM; it is read again when it changes")
	f.StringVar(&o.key, "key", "", "key of the certificate in PEM")
	f.StringVar(&o.configDir, "config-dir", "", "where the development CA is kept (default portluck in the user's config directory)")
	f.StringSliceVar(&o.allowOrigin, "allow-origin", nil,
		"origin whose pages may talk to the server, without a scheme: example.com, *.example.com, example.com:*, *; may be "+
			"repeated (default the server's own origin)")
	f.BoolVar(&o.requireOrigin, "require-origin", false, "refuse HTTP and WebSocket clients that send no Origin")
	f.StringSliceVar(&o.hosts, "host", nil,
		"name by which browsers and other HTTP clients may ask for this server, without a port: app.example, *.app.example, or "+
			"* for any; may be repeated (localhost and IP addresses always work; without --host, other names do too, except over loopback)")
	f.IntVar(&o.messageLimit, "message-limit", 1<<20, "longest message in bytes; 0 for no limit")
	f.IntVar(&o.compressMin, "compress-min", 512,
		"shortest message in bytes that is compressed for WebSocket clients that offer it; 0 for none")
	f.DurationVar(&o.idleTimeout, "idle-timeout", 2*time.Minute, "how long a client may be idle; 0 for no limit")
	f.DurationVar(&o.pingInterval, "ping-interval", 25*time.Second,
		"ping a WebSocket client that has sent nothing for this long, and send event streams a comment as often; 0 for never")
	f.DurationVar(&o.sniffTimeout, "sniff-timeout", 2*time.Second, "how long a client may take to show its protocol, and for its handshake; more than 0")
	f.IntVar(&o.maxConns, "max-conns", 0, "most connections in all; 0 for no limit")
	f.IntVar(&o.maxConnsPerIP, "max-conns-per-ip", 0, "most connections from one IP address, or from one /64 of IPv6; 0 for no limit")
	f.Int64Var(&o.maxPartial, "max-partial", 256<<20,
		"most memory in bytes for the unfinished messages of all clients together: a client that needs more is disconnected; 0 for no limit")
	f.BoolVar(&o.noRaw, "no-raw", false, "close connections that do not speak HTTP, WebSocket or TLS")
	f.BoolVar(&o.allowRawHTTP, "allow-raw-http", false,
		"accept raw clients whose first line is an HTTP request line, which a web page can make a browser send")
	f.BoolVar(&o.explicitDone, "explicit-done", false, "keep every HTTP answer open until the client closes")
	f.StringSliceVar(&o.proxyFrom, "proxy-from", nil,
		"address or prefix of a proxy whose connections begin with a PROXY protocol header, or unix for all on Unix sockets; may be repeated")
	f.StringVar(&o.prefix, "prefix", "",
		"path, such as /chat, that a reverse proxy leaves on the requests it passes on: the page and --alldata-path answer below "+
			"it too, and the printed commands have it; / for none (default none: the proxy removes the path, or there is no proxy)")
	f.BoolVar(&o.showBytes, "show-bytes", false,
		"show the first bytes of connections on the page to visitors from other machines too, except what looks like a secret")
	f.StringVar(&o.debug, "debug", "", "address for pprof and expvar, such as localhost:6060")
	f.StringVar(&o.logFormat, "log-format", "auto", "console, json, or auto: console on a terminal")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	for _, s := range o.services() {
		s.flags(f)
	}
}

// check finds mistakes in the values of the flags before anything is opened. f has the flags of o.
func (o *options) check(f *pflag.FlagSet) error {
	if err := checkEmpty(f); err != nil {
		return err
	}
	if o.tls == "" {
		o.tls = "dev"
		if o.cert != "" {
			o.tls = "files"
		}
	}
	switch {
	case o.tls != "dev" && o.tls != "off" && o.tls != "files":
		return fmt.Errorf("--tls %q: want dev, off or files", o.tls)
	case o.tls == "files" && (o.cert == "" || o.key == ""):
		return errors.New("--tls files needs --cert and --key")
	case o.tls != "files" && (o.cert != "" || o.key != ""):
		return fmt.Errorf("--cert and --key go with --tls files, not %s", o.tls)
	case o.lan && len(o.listen) > 0:
		return errors.New("--lan and --listen exclude each other")
	case o.sniffTimeout <= 0:
		return errors.New("--sniff-timeout must be more than 0")
	}
	for name, value := range map[string]int64{
		"message-limit": int64(o.messageLimit), "compress-min": int64(o.compressMin), "max-conns": int64(o.maxConns),
		"max-conns-per-ip": int64(o.maxConnsPerIP), "max-partial": o.maxPartial, "idle-timeout": int64(o.idleTimeout),
		"ping-interval": int64(o.pingInterval),
	} {
		if value < 0 {
			return fmt.Errorf("--%s %s: a limit cannot be negative; 0 means that there is none", name, f.Lookup(name).Value)
		}
	}
	for _, s := range o.services() {
		if err := s.check(); err != nil {
			return err
		}
	}
	return o.checkLists()
}

// checkEmpty refuses a flag that was given an empty value, such as --alldata "$DIR" with DIR unset:
// the server would silently run without it.
func checkEmpty(f *pflag.FlagSet) (err error) {
	f.Visit(func(flag *pflag.Flag) {
		list, isList := flag.Value.(pflag.SliceValue)
		if err == nil && (isList && len(list.GetSlice()) == 0 || flag.Value.Type() == "string" && flag.Value.String() == "") {
			err = fmt.Errorf("--%s needs a value", flag.Name)
		}
	})
	return err
}

// checkLists checks the addresses and patterns.
func (o *options) checkLists() error {
	for _, addr := range o.listen {
		if err := checkListen(addr); err != nil {
			return err
		}
	}
	for _, pattern := range o.allowOrigin {
		if err := handlers.CheckOriginPattern(pattern); err != nil {
			return fmt.Errorf("--allow-origin %q: %w", pattern, err)
		}
	}
	if err := handlers.Hosts(o.hosts).Check(); err != nil {
		return fmt.Errorf("--host %w", err)
	}
	if o.debug != "" {
		if err := checkAddress(o.debug); err != nil {
			return fmt.Errorf("--debug %q: %w", o.debug, err)
		}
	}
	prefix := strings.TrimSuffix(o.prefix, "/")
	if o.prefix != "" && o.prefix != "/" && (prefix == "/" || !isPath(prefix)) {
		return fmt.Errorf("--prefix %q must be a path such as /chat: of letters, digits and -._~ between slashes", o.prefix)
	}
	o.prefix = prefix
	_, err := o.proxies()
	return err
}

// proxies returns the prefixes of --proxy-from, with [portluck.ProxyUnix] for the word unix.
func (o *options) proxies() ([]netip.Prefix, error) {
	var unix []netip.Prefix
	addrs := slices.DeleteFunc(slices.Clone(o.proxyFrom), func(s string) bool { return s == "unix" })
	if len(addrs) < len(o.proxyFrom) {
		unix = []netip.Prefix{portluck.ProxyUnix}
	}
	all, err := prefixes("proxy-from", addrs)
	return append(all, unix...), err
}

// prefixes returns the networks in list, the value of the named flag. A lone address is a network
// of one.
func prefixes(flag string, list []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range list {
		if addr, err := netip.ParseAddr(s); err == nil {
			addr = addr.Unmap()
			all = append(all, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("--%s %q: want an address or a prefix, such as 10.0.0.0/8", flag, s)
		}
		all = append(all, p)
	}
	return all, nil
}

// bound sets the limits of srv. A flag of 0 means no limit; so does a field of 0 whose default is
// no limit.
func (o *options) bound(srv *portluck.Server) {
	srv.SniffTimeout, srv.Timeout, srv.PingInterval = o.sniffTimeout, none(o.idleTimeout), none(o.pingInterval)
	srv.MessageLimit, srv.CompressMin = none(o.messageLimit), o.compressMin
	srv.MaxConns, srv.MaxConnsPerIP, srv.MaxPartial = o.maxConns, o.maxConnsPerIP, none(o.maxPartial)
}

// none returns the library's value for the limit v of a flag: -1, which means no limit, if v is 0.
func none[T int | int64 | time.Duration](v T) T {
	if v == 0 {
		return -1
	}
	return v
}
