// Command bench measures what portluck aims at: the same work on portluck and on its peers, in one
// run.
//
//	go run . [-rows name,...] [-time 3s] [-json] [-cpuprofile dir]
//	go run . -rows echo -before ../../../old       # beside the portluck of another checkout
//	go run . -figures ../../.github/figures.svg    # the chart of README
//	go run . -rows aims                            # the table of aims: a quarter of an hour
//	go run . -list                                 # the names of the rows
//	go run . -short                                # each row, without a meaning of its figures
//
// Each server is a child process, and so is its load: cmd/portload, which is built from the
// repository. The servers of a row take turns, in rounds, with the same load; what is compared is
// the CPU time of the server, user and system, for each operation, or a quantile of the latency.
// The ratio is the median of the rounds, so that what else runs on the machine matters little.
// Memory is the slope between few and many connections. The peers are:
//
//	goroutines  a plain net.Listener with a goroutine for each connection
//	bare        one epoll loop that does nothing else; for a room, one write(2) for each member
//	gws         github.com/lxzan/gws
//	gorilla     github.com/gorilla/websocket behind net/http
//	uws         uWebSockets in C++, from the sources in the directory that -uws names
//	before      portluck from the checkout that -before names
//	nethttp     net/http alone
//	gobwas      a plain net.Listener, and the handshake and frames of github.com/gobwas/ws
//
// With -cpuprofile the rows of memory write profiles of the heap; GODEBUG=memprofilerate=512 makes
// them exact.
//
// It runs on Linux only, needs 20,000 descriptors a process, and takes 20 minutes for all rows.
// The processor's instructions are not counted: virtual machines have no counters for that.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == childArg {
		runChild(os.Args[2], os.Args[3])
		return
	}
	names := flag.String("rows", "", "comma-separated rows, or beginnings of their names; aims are all that have an aim; all if empty")
	o := options{}
	flag.DurationVar(&o.time, "time", 3*time.Second, "how long each server of a row works, in all its rounds")
	flag.BoolVar(&o.short, "short", false, "few connections and 20 ms a round: it shows that each row works, and nothing more")
	flag.IntVar(&o.members, "members", 8_000, "members of the room that floods in flood-echo; more than 0")
	flag.StringVar(&o.figures, "figures", "", "measure the rows of the chart, and write it as an SVG to this file")
	flag.StringVar(&o.before, "before", "", "also measure the portluck of the checkout in this directory, as the peer before")
	flag.StringVar(&o.uws, "uws", "", "also measure uWebSockets, from uWebSockets/src and uSockets/src in this directory, with gcc and g++")
	flag.StringVar(&o.profiles, "cpuprofile", "", "write a profile of each server into this directory, which exists")
	flag.BoolVar(&o.markdown, "markdown", false, "print the table in Markdown")
	asJSON := flag.Bool("json", false, "print one JSON object")
	list := flag.Bool("list", false, "print the names of the rows, and end")
	flag.Parse()
	if o.short {
		o.time = time.Duration(o.rounds()) * 20 * time.Millisecond
	}
	if *list {
		for _, r := range rows {
			fmt.Printf("%-16s %s\n", r.name, r.what)
		}
		return
	}
	if err := run(o, *names, *asJSON); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// options apply to every row.
type options struct {
	time     time.Duration
	short    bool
	markdown bool
	members  int    // of the room of flood-echo
	uws      string // directory of the sources of uWebSockets; none if empty
	before   string // directory of another checkout; none if empty
	figures  string // file; none if empty
	profiles string // directory; none if empty
}

// extended returns r with the peers that flags add.
func (o options) extended(r *row) *row {
	if o.before != "" {
		r = r.with(before)
	}
	if o.uws != "" && r.fitsUWS() {
		r = r.with(uws)
	}
	return r
}

// rounds returns how often each server of a row works.
func (o options) rounds() int {
	if o.short {
		return 2
	}
	return 5
}

// roundTime returns the length of a round.
func (o options) roundTime() time.Duration { return o.time / time.Duration(o.rounds()) }

// of returns w, with fewer connections if -short is given.
func (o options) of(w work) work {
	w.conns, w.from, w.stuck, w.count = o.part(w.conns), o.part(w.from), o.part(w.stuck), o.part(w.count)
	return w
}

// part returns n, or with -short a hundredth of it.
func (o options) part(n int) int {
	if o.short && n > 100 {
		return n / 100
	}
	return n
}

// A line compares portluck with one peer, or with an aim, in one figure of a row.
type line struct {
	Row      string  `json:"row"`
	What     string  `json:"what"`
	Figure   string  `json:"figure,omitempty"` // the name of the figure, if a row has several
	Unit     string  `json:"unit"`
	Portluck float64 `json:"portluck"`
	Peer     string  `json:"peer,omitempty"` // none if the aim is a figure of its own
	PeerHas  float64 `json:"peer_has,omitempty"`
	Ratio    float64 `json:"ratio,omitempty"`
	// Aim is the most that the ratio, or portluck's figure, may be; no aim if 0.
	Aim     float64 `json:"aim,omitempty"`
	Reached bool    `json:"reached"`
	Note    string  `json:"note,omitempty"`
}

// result is the result of the whole run.
type result struct {
	Commit string   `json:"commit"`
	Before string   `json:"before,omitempty"` // the commit of -before
	Load   string   `json:"load"`             // of the machine: at the start and at the end
	Lines  []line   `json:"lines"`
	Failed []string `json:"failed,omitempty"`
}

func run(o options, names string, asJSON bool) error {
	if o.figures != "" && names == "" {
		names = chartRows()
	}
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	remove, err := build(o)
	if err != nil {
		return err
	}
	defer remove()
	r := result{Commit: commit("."), Load: loadAverage()}
	if o.before != "" {
		r.Before = commit(o.before)
	}
	for _, row := range chosen {
		row = o.extended(row)
		begin := time.Now()
		lines, err := row.measure(row, o)
		if err != nil {
			r.Failed = append(r.Failed, fmt.Sprintf("%s: %v", row.name, err))
		}
		fmt.Fprintf(os.Stderr, "%s: %.0f s\n", row.name, time.Since(begin).Seconds())
		r.Lines = append(r.Lines, lines...)
	}
	r.Load += ", then " + loadAverage()
	if asJSON {
		err = json.NewEncoder(os.Stdout).Encode(r)
	} else {
		err = r.print(o.markdown)
	}
	if err == nil && len(r.Failed) > 0 {
		err = fmt.Errorf("%d rows failed", len(r.Failed))
	}
	if err == nil && o.figures != "" {
		err = r.draw(o.figures)
	}
	return err
}

// columns are the head of the table.
var columns = []string{"row", "what", "portluck", "peer", "has", "ratio", "aim", "reached", "note"}

// cells returns the cells of the line in the table.
func (l *line) cells() []string {
	peer, ratio, aim, reached := "", "", "", "no"
	if l.Peer != "" {
		peer, ratio = figure(l.PeerHas, l.Unit), fmt.Sprintf("%.3f", l.Ratio)
	}
	switch {
	case l.Aim == 0:
		reached = ""
	case l.Peer != "":
		aim = fmt.Sprintf("<= %.2f", l.Aim)
	default:
		aim = "<= " + figure(l.Aim, l.Unit)
	}
	if l.Reached {
		reached = "yes"
	}
	what := strings.TrimSuffix(l.What+": "+l.Figure, ": ")
	return []string{l.Row, what, figure(l.Portluck, l.Unit), l.Peer, peer, ratio, aim, reached, l.Note}
}

// print writes the table and the rows that failed.
func (r *result) print(markdown bool) error {
	fmt.Printf("commit %s, load average %s\n", r.Commit, r.Load)
	if r.Before != "" {
		fmt.Printf("before is commit %s\n", r.Before)
	}
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	write := func(cells []string) { fmt.Fprintln(w, strings.Join(cells, "\t")) }
	if markdown {
		write = func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	}
	write(columns)
	if markdown {
		fmt.Fprintln(w, strings.Repeat("|---", len(columns))+"|")
	}
	for _, l := range r.Lines {
		write(l.cells())
	}
	for _, f := range r.Failed {
		fmt.Fprintf(w, "failed: %s\n", f)
	}
	return w.Flush()
}

// figure formats x with two digits or more.
func figure(x float64, unit string) string {
	switch {
	case x >= 100 || x <= -100 || x == float64(int(x)):
		return fmt.Sprintf("%.0f %s", x, unit)
	case x >= 10:
		return fmt.Sprintf("%.1f %s", x, unit)
	case x > 0 && x < .1:
		return fmt.Sprintf("%.3f %s", x, unit)
	}
	return fmt.Sprintf("%.2f %s", x, unit)
}

// commit returns the commit of a checkout, with a + if files were changed since.
func commit(dir string) string {
	b, err := exec.Command("git", "-C", dir, "describe", "--always", "--dirty=+", "--abbrev=10").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// loadAverage returns the load average of the last minute.
func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg") // none where there is no such file
	first, _, _ := strings.Cut(string(b), " ")
	return first
}
