package main

import (
	"slices"
	"time"
)

// A row is one work, and what portluck aims at there.
type row struct {
	name, what string
	work       work // what portload does
	unit       string
	aims       []aim
	measure    func(*row, options) ([]line, error)
}

// An aim is how much of what a peer needs portluck may need; or, without a peer, how much of the
// unit.
type aim struct {
	peer string
	most float64 // no aim but a comparison if 0
}

// rows are the table of aims, in its order.
var rows = []*row{
	{
		name: "idle-tcp", what: "raw client, slope of memory", unit: "B", measure: measureMemory,
		work: work{do: "idle", proto: "tcp", conns: manyConns, from: fewConns},
		aims: []aim{{"", 200}, {"goroutines", 0}, {"bare", 0}},
	},
	{
		name: "idle-ws", what: "WebSocket in one room, slope of memory", unit: "B", measure: measureMemory,
		work: work{do: "idle", proto: "ws", conns: manyConns, from: fewConns, join: true},
		aims: []aim{{"", 256}, {"gws", 0}, {"gorilla", 0}, {"bare", 0}},
	},
	{
		name: "idle-burst", what: "15,000 WebSockets after 16 KB on all, memory", unit: "x", measure: measureBurst,
		work: work{do: "idle", proto: "ws", conns: manyConns, size: 16 << 10, join: true},
		aims: []aim{{"", burstKeep}},
	},
	{
		name: "idle-tls", what: "raw TLS client, slope of memory", unit: "B", measure: measureMemory,
		work: work{do: "idle", proto: "tls", conns: manySecure, from: fewConns},
		aims: []aim{{"", 9 << 10}, {"goroutines", 0}},
	},
	{
		name: "idle-wss", what: "WebSocket over TLS, slope of memory", unit: "B", measure: measureMemory,
		work: work{do: "idle", proto: "wss", conns: manySecure, from: fewConns},
		aims: []aim{{"", 9 << 10}, {"gws", 0}},
	},
	{
		name: "echo-tcp", what: "64 B lines, 64 clients", unit: "us CPU", measure: measureCPU,
		work: work{do: "echo", proto: "tcp", conns: 64, size: 64, depth: 1},
		aims: []aim{{"goroutines", .65}, {"bare", 0}},
	},
	{
		name: "echo-ws", what: "64 B, 64 clients, 1 in flight", unit: "us CPU", measure: measureCPU,
		work: work{do: "echo", proto: "ws", conns: 64, size: 64, depth: 1},
		aims: []aim{{"gws", .6}, {"bare", 0}},
	},
	{
		name: "echo-ws-16", what: "64 B, 64 clients, 16 in flight", unit: "us CPU", measure: measureCPU,
		work: work{do: "echo", proto: "ws", conns: 64, size: 64, depth: 16},
		aims: []aim{{"gws", .1}, {"bare", 0}},
	},
	{
		name: "echo-ws-64k", what: "64 KiB, 16 clients", unit: "us CPU", measure: measureCPU,
		work: work{do: "echo", proto: "ws", conns: 16, size: 64 << 10, depth: 1},
		aims: []aim{{"gws", 1}, {"gobwas", 1}},
	},
	{
		name: "short-tcp", what: "connect, a line, its echo, close", unit: "us CPU", measure: measureCPU,
		work: work{do: "conn", proto: "tcp", conns: 16, size: 64},
		aims: []aim{{"goroutines", .8}, {"bare", 0}},
	},
	{
		name: "short-ws", what: "connect, handshake, an echo, close", unit: "us CPU", measure: measureCPU,
		work: work{do: "conn", proto: "ws", conns: 16, size: 64},
		aims: []aim{{"gobwas", .75}, {"bare", 0}},
	},
	{
		name: "room-8000", what: "8,000 members, 128 B, one message at a time", unit: "us CPU", measure: measureCPU,
		work: work{do: "fanout", proto: "ws", conns: 8_000, size: 128, depth: 1, batch: 1},
		aims: []aim{{"gorilla", .7}, {"bare", 1 / .95}},
	},
	{
		name: "room-15000", what: "15,000 members, 128 B, one message at a time", unit: "us CPU", measure: measureCPU,
		work: work{do: "fanout", proto: "ws", conns: 15_000, size: 128, depth: 1, batch: 1},
		aims: []aim{{"gorilla", .7}, {"bare", 1 / .95}},
	},
	{
		name: "flood-8000", what: "8,000 members, 128 B, the publisher never waits", unit: "us CPU", measure: measureCPU,
		work: work{do: "fanout", proto: "ws", conns: 8_000, size: 128, depth: 40, batch: 20},
		aims: []aim{{"", 1}, {"bare", 0}},
	},
	{
		name: "stuck", what: "5,000 members, 5,000 that never read, 4 KiB: p99", unit: "x", measure: measureStuck,
		work: work{do: "fanout", proto: "ws", conns: 5_000, stuck: 5_000, size: 4 << 10, depth: 1, batch: 1, keep: 16 << 10},
		aims: []aim{{"", 1.2}},
	},
	{
		name: "flood-echo", what: "p99 of an echo while a room of 1,000 floods", unit: "x", measure: measureFlood,
		work: work{do: "fanout", proto: "ws", conns: 1_000, size: 128, depth: 40, batch: 20},
		aims: []aim{{"", 3}, {"gorilla", 0}},
	},
}

// peers are the names in the aims, each once.
func (r *row) peers() (names []string) {
	for _, a := range r.aims {
		if a.peer != "" && !slices.Contains(names, a.peer) {
			names = append(names, a.peer)
		}
	}
	return names
}

// names are portluck's and those of the peers.
func (r *row) names() []string { return append([]string{"portluck"}, r.peers()...) }

// with returns r with one more peer, with which it is only compared.
func (r *row) with(peer string) *row {
	c := *r
	c.aims = append(slices.Clip(c.aims), aim{peer, 0})
	return &c
}

// lines compares what portluck needed in each round, of[0], with what each peer did, in the order
// of peers.
func (r *row) lines(of [][]float64, note string) (all []line) {
	for _, a := range r.aims {
		l := line{Row: r.name, What: r.what, Unit: r.unit, Portluck: median(of[0]), Aim: a.most, Note: note}
		compared := l.Portluck
		if i := slices.Index(r.peers(), a.peer) + 1; i > 0 {
			ratios := make([]float64, len(of[0]))
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

// median is the middle of x, which stays as it is.
func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(x))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// of is the work of r.
func (o options) of(r *row) work {
	w := r.work
	w.conns, w.from, w.stuck = o.part(w.conns), o.part(w.from), o.part(w.stuck)
	return w
}

// part is n, or with -short as many connections as show that a row works.
func (o options) part(n int) int {
	if o.short && n > 100 {
		return n / 100
	}
	return n
}

// roundTime is how long a server works until it is another one's turn.
func (o options) roundTime() time.Duration { return o.time / rounds }
