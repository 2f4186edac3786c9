package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A row is one work, with the aims of portluck in it.
type row struct {
	name, what string
	work       work   // what portload does
	beside     work   // what another portload does to the same server, in a measure that has two
	unit       string // of the figure that has no name
	aims       []aim
	measure    func(*row, options) ([]line, error)
}

// An aim bounds a figure of portluck: its ratio to that of a peer, or, without a peer, the figure
// itself.
type aim struct {
	peer   string
	most   float64 // no aim but a comparison if 0
	figure string  // the name of the figure; that of the row if empty
}

// units has the units of the figures that have a name.
var units = map[string]string{
	"p50": "ms", "p99": "ms", "p99.9": "ms", // latencies
	"live": "B", "PSS": "B", "live after a burst": "B", "PSS after a burst": "B", // memory
	"CPU": "us CPU", "bystander p99": "ms", "threads": "threads",
}

// rows are the table of aims, in its order.
var rows = slices.Concat(memoryRows, echoRows("tcp"), echoRows("ws"), rateRows("tcp"), rateRows("ws"), otherRows)

// memoryRows measure the memory of idle clients, before and after each sends 16 KB at once.
var memoryRows = []*row{
	{
		name: "idle-tcp", what: "raw client, slope of memory", unit: "B", measure: measureMemory,
		work: work{do: "idle", proto: "tcp", conns: manyConns, from: fewConns, size: 16 << 10},
		aims: memoryAims(200, 400, "goroutines", "bare"),
	},
	{
		name: "idle-ws", what: "WebSocket in one room, slope of memory", unit: "B", measure: measureMemory,
		work: work{do: "idle", proto: "ws", conns: manyConns, from: fewConns, size: 16 << 10, join: true},
		aims: memoryAims(256, 512, "gws", "gorilla", "bare"),
	},
	{
		name: "idle-http", what: "HTTP kept alive, slope of memory", unit: "B", measure: measureMemory,
		work: work{do: "idle", proto: "http", conns: manySecure, from: fewConns, size: 16 << 10},
		aims: memoryAims(400, 0, "nethttp"),
	},
	{
		name: "idle-tls", what: "raw TLS client, slope of memory", unit: "B", measure: measureMemory,
		work: work{do: "idle", proto: "tls", conns: manySecure, from: fewConns, size: 16 << 10},
		aims: memoryAims(8<<10, 0, "goroutines"),
	},
	{
		name: "idle-wss", what: "WebSocket over TLS, slope of memory", unit: "B", measure: measureMemory,
		work: work{do: "idle", proto: "wss", conns: manySecure, from: fewConns, size: 16 << 10},
		aims: memoryAims(8<<10, 0, "gws"),
	},
}

// memoryAims returns aims of the memory in use and of the private memory of the process, each
// before and after a burst.
func memoryAims(live, pss float64, peers ...string) (all []aim) {
	all = []aim{{"", live, "live"}, {"", live, "live after a burst"}, {"", pss, "PSS"}, {"", pss, "PSS after a burst"}}
	for _, peer := range peers {
		all = append(all, aim{peer, 0, ""}, aim{peer, 0, "PSS"})
	}
	return all
}

// eachOf is the peer with a goroutine for each connection.
var eachOf = map[string]string{"tcp": "goroutines", "ws": "gobwas"}

// echoRows returns closed loops with 1 to 512 clients.
func echoRows(proto string) (all []*row) {
	for _, n := range []int{1, 8, 64, 512} {
		r := &row{
			name: fmt.Sprintf("echo-%s-%d", proto, n), what: fmt.Sprintf("64 B, %d clients, 1 in flight", n), unit: "us CPU", measure: measureCPU,
			work: work{do: "echo", proto: proto, conns: n, size: 64, depth: 1},
		}
		each := eachOf[proto]
		cpu, gws, bare := .65, .6, 1.25
		switch n {
		case 1:
			cpu, gws, bare = .8, 0, 0
			r.aims = []aim{{each, 1, "p50"}}
		case 64:
			r.name = "echo-" + proto // the name that the chart knows
		case 512:
			cpu, gws, bare = .75, .65, 0
		}
		r.aims = append(r.aims, aim{each, cpu, ""}, aim{"bare", bare, ""})
		if proto == "ws" {
			r.aims = append(r.aims, aim{"gws", gws, ""})
		}
		if n > 1 {
			r.aims = append(r.aims, latencyAims(each)...)
		}
		all = append(all, r)
	}
	return append(all, &row{
		name: "echo-" + proto + "-16", what: "64 B, 64 clients, 16 in flight", unit: "us CPU", measure: measureCPU,
		work: work{do: "echo", proto: proto, conns: 64, size: 64, depth: 16},
		aims: []aim{{"bare", 1.5, ""}, {map[string]string{"tcp": "goroutines", "ws": "gws"}[proto], map[string]float64{"ws": .1}[proto], ""}},
	})
}

// latencyAims returns the aims of p99 and p99.9.
func latencyAims(each string) []aim {
	return []aim{{each, 1, "p99"}, {"bare", 1.5, "p99"}, {each, 1, "p99.9"}, {"bare", 1.5, "p99.9"}}
}

// rateRows returns fixed rates with 8 to 512 clients. The rates are parts of the capacity of the
// peer with a goroutine for each connection.
func rateRows(proto string) (all []*row) {
	for _, n := range []int{8, 64, 512} {
		for _, percent := range []int{30, 60} {
			all = append(all, &row{
				name: fmt.Sprintf("rate-%s-%d-%d", proto, n, percent), unit: "us CPU", measure: measureRate,
				what: fmt.Sprintf("64 B, %d clients, %d %% of the capacity of %s", n, percent, eachOf[proto]),
				work: work{do: "echo", proto: proto, conns: n, size: 64, depth: 64, part: float64(percent) / 100},
				aims: append([]aim{{eachOf[proto], 0, ""}}, latencyAims(eachOf[proto])...),
			})
		}
	}
	return all
}

// otherRows are the rest.
var otherRows = []*row{
	{
		name: "echo-ws-64k", what: "64 KiB, 16 clients", unit: "us CPU", measure: measureCPU,
		work: work{do: "echo", proto: "ws", conns: 16, size: 64 << 10, depth: 1},
		aims: []aim{{"gws", 1, ""}, {"gobwas", 1, ""}},
	},
	{
		name: "echo-wss", what: "64 B over TLS, 64 clients", unit: "us CPU", measure: measureCPU,
		work: work{do: "echo", proto: "wss", conns: 64, size: 64, depth: 1},
		aims: []aim{{"gws", .9, ""}, {"gws", 0, "p99"}},
	},
	{
		name: "post", what: "POST of 64 B kept alive, 64 clients, to the hub", unit: "us CPU", measure: measureCPU,
		work: work{do: "echo", proto: "http", conns: 64, size: 64, depth: 1},
		aims: []aim{{"nethttp", .5, ""}, {"nethttp", 0, "p99"}},
	},
	{
		name: "page", what: "GET of 1 KiB kept alive, 64 clients, through net/http", unit: "us CPU", measure: measureCPU,
		work: work{do: "echo", proto: "http", conns: 64, size: 64, depth: 1, get: true},
		aims: []aim{{"nethttp", 1.05, ""}, {"nethttp", 0, "p99"}},
	},
	{
		name: "short-tcp", what: "connect, a line, its echo, close", unit: "us CPU", measure: measureCPU,
		work: work{do: "conn", proto: "tcp", conns: 16, size: 64},
		aims: []aim{{"goroutines", .8, ""}, {"bare", 0, ""}},
	},
	{
		name: "short-ws", what: "connect, handshake, an echo, close", unit: "us CPU", measure: measureCPU,
		work: work{do: "conn", proto: "ws", conns: 16, size: 64},
		aims: []aim{{"gws", .65, ""}, {"gobwas", 0, ""}, {"bare", 0, ""}},
	},
	{
		name: "short-http", what: "connect, GET, close", unit: "us CPU", measure: measureCPU,
		work: work{do: "conn", proto: "http", conns: 16, size: 64, get: true},
		aims: []aim{{"nethttp", 1.05, ""}},
	},
	{
		name: "short-https", what: "connect, TLS handshake, GET, close", unit: "us CPU", measure: measureCPU,
		work: work{do: "conn", proto: "https", conns: 16, size: 64, get: true},
		aims: []aim{{"nethttp", 1.05, ""}},
	},
	{
		name: "beside-http", what: "p99 of GETs while 64 raw clients echo", unit: "ms", measure: measureBeside,
		work:   work{do: "echo", proto: "http", serve: mixed, conns: 4, size: 64, depth: 1, get: true},
		beside: work{do: "echo", proto: "tcp", conns: 64, size: 64, depth: 1},
		aims:   []aim{{"goroutines", 1.2, ""}},
	},
	{
		name: "beside-tls", what: "p99 of TLS handshakes with an echo while 64 raw clients echo", unit: "ms", measure: measureBeside,
		work:   work{do: "conn", proto: "tls", serve: mixed, conns: 4, size: 64},
		beside: work{do: "echo", proto: "tcp", conns: 64, size: 64, depth: 1},
		aims:   []aim{{"goroutines", 1.2, ""}},
	},
	{
		name: "room-8000", what: "8,000 members, 128 B, one message at a time", unit: "us CPU", measure: measureCPU,
		work: work{do: "fanout", proto: "ws", conns: 8_000, size: 128, depth: 1, batch: 1},
		aims: []aim{{"gorilla", .7, ""}, {"bare", 1 / .95, ""}},
	},
	{
		name: "room-15000", what: "15,000 members, 128 B, one message at a time", unit: "us CPU", measure: measureCPU,
		work: work{do: "fanout", proto: "ws", conns: 15_000, size: 128, depth: 1, batch: 1},
		aims: []aim{{"gorilla", .7, ""}, {"bare", 1 / .95, ""}},
	},
	{
		name: "flood-8000", what: "8,000 members, 128 B, the publisher never waits", unit: "us CPU", measure: measureCPU,
		work: work{do: "fanout", proto: "ws", conns: 8_000, size: 128, depth: 40, batch: 20},
		aims: []aim{{"", 1, ""}, {"bare", 0, ""}},
	},
	{
		name: "stuck", what: "5,000 members, 5,000 that never read, 4 KiB: p99", unit: "x", measure: measureStuck,
		work: work{do: "fanout", proto: "ws", conns: 5_000, stuck: 5_000, size: 4 << 10, depth: 1, batch: 1, keep: 16 << 10},
		aims: []aim{{"", 1.2, ""}},
	},
	{
		name: "flood-echo", what: "p99 of an echo while a room of -members floods", unit: "x", measure: measureFlood,
		work:   work{do: "echo", proto: "ws", conns: 4, size: 64, depth: 1},
		beside: work{do: "fanout", proto: "ws", size: 128, depth: 40, batch: 20},
		aims:   []aim{{"", 3, ""}, {"gorilla", 0, ""}},
	},
	blockingRow("sleep-100ms", 500, 100, .2),
	blockingRow("sleep-1s", 2_000, 1_000, 1.5),
}

// blockingRow returns a row with n clients, each with one message whose callback sleeps, and four
// more clients that echo meanwhile.
func blockingRow(name string, n, ms int, most float64) *row {
	return &row{
		name: name, what: fmt.Sprintf("%d clients whose OnMessage sleeps %d ms: until all are done", n, ms),
		unit: "s", measure: measureBlocking,
		work:   work{do: "echo", proto: "tcp", conns: n, size: ms, depth: 1, count: n},
		beside: work{do: "echo", proto: "tcp", conns: 4, size: 64, depth: 64, rate: 1000, time: time.Duration(ms+200) * time.Millisecond},
		aims: []aim{
			{"", most, ""},
			{"", 20, "bystander p99"},
			{"", float64(2*runtime.GOMAXPROCS(0) + 10), "threads"},
			{"goroutines", 0, ""},
			{"goroutines", 0, "bystander p99"},
		},
	}
}

// names returns the names of the servers: portluck, then each peer once.
func (r *row) names() []string {
	names := []string{"portluck"}
	for _, a := range r.aims {
		if a.peer != "" && !slices.Contains(names, a.peer) {
			names = append(names, a.peer)
		}
	}
	return names
}

// hasAim reports whether r has an aim, and not only comparisons.
func (r *row) hasAim() bool {
	return slices.ContainsFunc(r.aims, func(a aim) bool { return a.most > 0 })
}

// with returns r with one more peer, with which each of its figures is compared.
func (r *row) with(peer string) *row {
	c := *r
	c.aims = slices.Clip(c.aims)
	for _, a := range r.aims {
		if n := (aim{peer, 0, a.figure}); !slices.Contains(c.aims, n) {
			c.aims = append(c.aims, n)
		}
	}
	return &c
}

// fitsUWS reports whether the server of uWebSockets can do the work of r: it has no rooms, no TLS
// and no raw clients.
func (r *row) fitsUWS() bool {
	return r.beside.do == "" && !r.work.join && r.work.do != "fanout" && (r.work.proto == "ws" || r.work.proto == "http")
}

// figures has the measured values: by the name of the figure, by server in the order of names, by
// round.
type figures map[string][][]float64

// add adds the figures of one round of server i.
func (f figures) add(i int, round map[string]float64) {
	for name, x := range round {
		for len(f[name]) <= i {
			f[name] = append(f[name], nil)
		}
		f[name][i] = append(f[name][i], x)
	}
}

// lines returns a line for each aim. A ratio is the median of the ratios of the rounds.
func (r *row) lines(f figures, note string) (all []line) {
	for _, a := range r.aims {
		of, ok := f[a.figure]
		if !ok || a.most == 0 && a.peer == "" {
			continue
		}
		l := line{Row: r.name, What: r.what, Figure: a.figure, Unit: r.unit, Portluck: median(of[0]), Aim: a.most, Note: note}
		if a.figure != "" {
			l.Unit = units[a.figure]
		}
		compared := l.Portluck
		if i := slices.Index(r.names(), a.peer); i > 0 {
			ratios := make([]float64, min(len(of[0]), len(of[i])))
			for round := range ratios {
				ratios[round] = of[0][round] / of[i][round]
			}
			l.Peer, l.PeerHas, l.Ratio = a.peer, median(of[i]), median(ratios)
			compared = l.Ratio
		}
		l.Reached = a.most > 0 && compared <= a.most
		all = append(all, l)
		note = ""
	}
	return all
}

// median returns the median of x, which it does not change; 0 if x is empty.
func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(x))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// choose returns the rows with these names, separated by commas. A name that no row has stands for
// the rows whose names begin with it; aims stands for every row that has an aim.
func choose(names string) (chosen []*row, err error) {
	if names == "" {
		return rows, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		named := func(r *row) bool { return r.name == name }
		if name == "aims" {
			named = (*row).hasAim
		}
		if !slices.ContainsFunc(rows, named) {
			named = func(r *row) bool { return strings.HasPrefix(r.name, name) }
		}
		if !slices.ContainsFunc(rows, named) {
			return nil, fmt.Errorf("no row %q: go run . -list names them", name)
		}
		for _, r := range rows {
			if named(r) && !slices.Contains(chosen, r) {
				chosen = append(chosen, r)
			}
		}
	}
	return chosen, nil
}
