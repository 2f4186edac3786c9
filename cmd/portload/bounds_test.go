package main

import (
	"testing"

	"github.com/portluck/portluck/cmd/internal/clitest"
)

// The help of each number says what 0 means, and no number is negative.
func TestNumbers(t *testing.T) {
	addr := []string{"127.0.0.1:1"}
	clitest.Numbers(t, newRoot, map[string][]string{
		"portload conn": addr, "portload echo": addr, "portload idle": addr, "portload fanout": addr,
	})
}
