package main

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"os"
	"slices"
	"strings"
)

// chart has the rows of README's figures, with titles for readers who do not know the bench.
var chart = []struct{ row, title string }{
	{"idle-ws", "memory of an idle WebSocket in a room"},
	{"echo-tcp", "CPU of an echo of 64 B over TCP"},
	{"echo-ws", "CPU of an echo of 64 B over WebSocket"},
	{"short-tcp", "CPU of a short connection: connect, a line, its echo, close"},
	{"room-8000", "CPU of a message to one member, in a room of 8,000"},
}

// peerTitles maps the names of peers to their titles in the chart, where these differ.
var peerTitles = map[string]string{"goroutines": "net, a goroutine each", "bare": "bare epoll loop"}

// chartRows returns the names of the rows in the chart, for choose.
func chartRows() string {
	names := make([]string, len(chart))
	for i, c := range chart {
		names[i] = c.row
	}
	return strings.Join(names, ",")
}

// The sizes of the chart, in pixels.
const (
	chartWidth  = 720
	labelWidth  = 170
	valueWidth  = 80
	barHeight   = 14
	barStep     = 20
	titleHeight = 26
	groupGap    = 14
)

// chartStyle has the colours for a light and a dark page.
const chartStyle = `<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.peer { fill: #9aa4b0 }
.own { fill: #1f6feb }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .peer { fill: #6e7781 }
  .own { fill: #58a6ff }
}
</style>
`

// A bar is one server in the chart.
type bar struct {
	name string
	has  float64
	unit string
}

// bars returns the bars of a row; none if it was not measured. It computes the figure of a peer
// from the ratio, which other work on the machine changes less.
func (r *result) bars(row string) (bars []bar) {
	for _, l := range r.Lines {
		if l.Row != row || l.Figure != "" {
			continue
		}
		if bars == nil {
			bars = []bar{{"portluck", l.Portluck, l.Unit}}
		}
		if l.Peer != "" {
			title := peerTitles[l.Peer]
			if title == "" {
				title = l.Peer
			}
			bars = append(bars, bar{title, l.Portluck / l.Ratio, l.Unit})
		}
	}
	return bars
}

// value formats the figure of a bar.
func (b bar) value() string {
	switch {
	case b.unit == "B" && b.has >= 1000:
		return fmt.Sprintf("%.1f KB", b.has/1000)
	case b.unit == "us CPU":
		return figure(b.has, "µs")
	}
	return figure(b.has, b.unit)
}

// draw writes the chart to a file.
func (r *result) draw(path string) error {
	b, err := r.svg()
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644) //nolint:gosec // it is for everybody
}

// svg returns the chart: for each row a group of bars to the same scale, one for each server.
func (r *result) svg() ([]byte, error) {
	var body bytes.Buffer
	y := 0
	for _, c := range chart {
		bars := r.bars(c.row)
		if len(bars) == 0 {
			return nil, fmt.Errorf("the chart needs the row %s", c.row)
		}
		fmt.Fprintf(&body, "<text class=\"title\" x=\"0\" y=\"%d\">%s</text>\n", y+barHeight, html.EscapeString(c.title))
		y += titleHeight
		most := slices.MaxFunc(bars, func(a, b bar) int { return cmp.Compare(a.has, b.has) }).has
		for i, b := range bars {
			class := "peer"
			if i == 0 {
				class = "own"
			}
			length := (chartWidth - labelWidth - valueWidth) * b.has / most
			fmt.Fprintf(&body, "<text text-anchor=\"end\" x=\"%d\" y=\"%d\">%s</text>\n", labelWidth-8, y+barHeight-3, html.EscapeString(b.name))
			fmt.Fprintf(&body, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>\n", class, labelWidth, y, length, barHeight)
			fmt.Fprintf(&body, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", labelWidth+length+6, y+barHeight-3, html.EscapeString(b.value()))
			y += barStep
		}
		y += groupGap
	}
	var all bytes.Buffer
	fmt.Fprintf(&all, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n",
		chartWidth, y, chartWidth, y)
	fmt.Fprintf(&all, "<title>Five figures of portluck beside peers: shorter is better</title>\n%s%s</svg>\n", chartStyle, body.Bytes())
	return all.Bytes(), nil
}
