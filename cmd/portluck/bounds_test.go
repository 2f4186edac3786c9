package main

import (
	"testing"
	"time"

	"github.com/portluck/portluck/cmd/internal/clitest"
	"github.com/portluck/portluck/portluck"
	"github.com/spf13/pflag"
)

// The help of each numeric flag says what 0 means, and no flag accepts a negative number.
func TestNumbers(t *testing.T) {
	off := []string{"--tls", "off", "--listen", "127.0.0.1:0"}
	url := []string{"http://127.0.0.1:1/"}
	clitest.Numbers(t, newRoot, map[string][]string{
		"portluck": off, "portluck serve": off, "portluck send": append(url, "hello"), "portluck put": append(url, "1"),
		"portluck slots": {"127.0.0.1:1"}, "portluck mesh": {"name"}, "portluck alldata check": {t.TempDir()},
	})
}

// The limits of the flags reach the server. For a flag, 0 means no limit; it becomes -1 in a field
// of the server whose zero value is a default limit.
func TestBoundsOfServe(t *testing.T) {
	var none portluck.Server
	none.Timeout, none.MessageLimit, none.SniffTimeout, none.CompressMin = -1, -1, 2*time.Second, 0
	none.PingInterval, none.MaxPartial = -1, -1
	var set portluck.Server
	set.Timeout, set.MessageLimit, set.SniffTimeout, set.CompressMin = 7*time.Second, 7, 7*time.Second, 7
	set.MaxConns, set.MaxConnsPerIP, set.PingInterval = 7, 7, 7*time.Second
	set.MaxPartial = 7
	var standard portluck.Server
	standard.Timeout, standard.MessageLimit, standard.SniffTimeout, standard.CompressMin = 2*time.Minute, 1<<20, 2*time.Second, 512
	standard.PingInterval, standard.MaxPartial = 25*time.Second, 256<<20
	for _, tt := range []struct {
		name string
		args []string
		want *portluck.Server
	}{
		{"default", nil, &standard},
		{"none", []string{"--idle-timeout=0", "--message-limit=0", "--compress-min=0", "--max-conns=0", "--max-conns-per-ip=0", "--ping-interval=0", "--max-partial=0"}, &none},
		{"set", []string{
			"--idle-timeout=7s", "--message-limit=7", "--compress-min=7", "--max-conns=7", "--max-conns-per-ip=7", "--sniff-timeout=7s",
			"--ping-interval=7s", "--max-partial=7",
		}, &set},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var o options
			f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
			o.flags(f)
			if err := f.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			var s portluck.Server
			o.bound(&s)
			got := []any{s.Timeout, s.MessageLimit, s.SniffTimeout, s.CompressMin, s.MaxConns, s.MaxConnsPerIP, s.PingInterval, s.MaxPartial}
			w := tt.want
			want := []any{w.Timeout, w.MessageLimit, w.SniffTimeout, w.CompressMin, w.MaxConns, w.MaxConnsPerIP, w.PingInterval, w.MaxPartial}
			for i := range got {
				if got[i] != want[i] {
					t.Errorf("bound %d is %v, want %v", i, got[i], want[i])
				}
			}
		})
	}
}
