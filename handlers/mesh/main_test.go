package mesh

import (
	"os"
	"testing"

	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) {
	keyRounds = 1000
	if spec := os.Getenv(childVar); spec != "" {
		os.Exit(runChild(spec))
	}
	leak.Main(m)
}
