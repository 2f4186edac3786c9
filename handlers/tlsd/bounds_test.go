package tlsd

import (
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/internal/boundtest"
)

// Zero is the default of a bound, and a negative value means no bound.
func TestBounds(t *testing.T) {
	boundtest.Check(t, nil,
		boundtest.Field("HandshakeTimeout", int64(10*time.Second), boundtest.None, func(h *Handler) int64 {
			return int64(max(h.handshakeTimeout(), boundtest.None))
		}),
	)
}
