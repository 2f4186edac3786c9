package mesh

import (
	"fmt"
	"testing"
)

// 30 nodes in one process, which all start at once, have 29 connections each and no more.
func TestFullMesh(t *testing.T) {
	t.Parallel()
	const size = 30
	discoveries(t, func(t *testing.T, node func(string) *Node) {
		all := make([]*watched, size)
		want := make([]int, size)
		for i := range all {
			all[i] = watchNode(t, node(fmt.Sprintf("%04X", i*7919%65536)))
			want[i] = size - 1
			if err := all[i].Listen(0, "127.0.0.1"); err != nil {
				t.Fatal(err)
			}
		}
		wantConns(t, want, all...)
		for _, n := range all {
			if sent := n.Broadcast([]byte("x")); sent != size-1 {
				t.Errorf("Broadcast() = %d, want %d", sent, size-1)
			}
		}
		for _, n := range all {
			for range size - 1 {
				hear(t, get(t, "connection", n.conns), "x")
			}
			if len(n.conns) > 0 {
				t.Error("there was another connection")
			}
		}
		for _, n := range all {
			n.Close()
		}
		clear(want)
		wantConns(t, want, all...)
	})
}
