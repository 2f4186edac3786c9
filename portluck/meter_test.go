package portluck

import (
	"io"
	"testing"

	"github.com/rs/zerolog"
)

// A client whose last line a sampler leaves out is forgotten like any other.
func TestMetersAreGivenBack(t *testing.T) {
	sampled := zerolog.New(io.Discard).Sample(&zerolog.BasicSampler{N: 3})
	l := newLog(zeroLogger{&sampled})
	if !l.metered() {
		t.Error("a sampled logger has no meters")
	}
	h := &Hub{}
	for range 10 {
		c := newClient(h, l, &Info{}, nil)
		if err := c.connect(); err != nil {
			t.Fatal(err)
		}
		(*driven)(c).Disconnect(nil)
	}
	n := 0
	l.meters.Range(func(any, any) bool { n++; return true })
	if n > 0 {
		t.Errorf("%d clients that have gone are still counted for", n)
	}
}
