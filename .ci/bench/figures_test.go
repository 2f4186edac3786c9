package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
)

// drawn returns the texts and the widths of the bars in an SVG, which must be XML.
func drawn(t *testing.T, svg []byte) (texts string, widths []float64) {
	t.Helper()
	var b strings.Builder
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b.String(), widths
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.CharData:
			b.Write(token)
		case xml.StartElement:
			for _, a := range token.Attr {
				if token.Name.Local == "rect" && a.Name.Local == "width" {
					w, err := strconv.ParseFloat(a.Value, 64)
					if err != nil {
						t.Fatal(err)
					}
					widths = append(widths, w)
				}
			}
		}
	}
}

// Each row has its bars, whose lengths are proportional to the figures.
func TestSVG(t *testing.T) {
	r := &result{}
	for _, c := range chart {
		r.Lines = append(r.Lines, line{Row: "another", Unit: "B", Portluck: 1e9},
			line{Row: c.row, Unit: "B", Portluck: 400},
			line{Row: c.row, Unit: "B", Portluck: 400, Peer: "goroutines", PeerHas: 1500, Ratio: .25},
			line{Row: c.row, Unit: "B", Portluck: 400, Peer: "a<b", PeerHas: 800, Ratio: .5})
	}
	svg, err := r.svg()
	if err != nil {
		t.Fatal(err)
	}
	texts, widths := drawn(t, svg)
	for _, text := range []string{chart[0].title, "400 B", "net, a goroutine each", "1.6 KB", "a<b"} {
		if strings.Count(texts, text) < 1 {
			t.Errorf("no %q in %s", text, svg)
		}
	}
	if len(widths) != 3*len(chart) {
		t.Fatalf("%d bars, want %d", len(widths), 3*len(chart))
	}
	for i := 0; i < len(widths); i += 3 {
		own, most, other := widths[i], widths[i+1], widths[i+2]
		if math.Abs(4*own-most) > .3 || math.Abs(2*own-other) > .3 || most+labelWidth+valueWidth != chartWidth {
			t.Errorf("bars of 400, 1600 and 800 are %v", widths[i:i+3])
		}
	}
	r.Lines = r.Lines[:4*(len(chart)-1)]
	if _, err := r.svg(); err == nil {
		t.Error("no error for a chart without one of its rows")
	}
}
