package raw

import (
	"cmp"
	"fmt"
	"math"
	"sync"

	"github.com/portluck/portluck/handlers"
)

// DefaultLimit is the limit of a message, in bytes, where the field Limit is zero: 1 MiB.
const DefaultLimit = 1 << 20

// A Handler attaches each connection to the loop, with a codec of its own. The zero value serves
// lines of up to [DefaultLimit] bytes. The fields must not be changed once it serves.
type Handler struct {
	// NewCodec returns the codec of a connection; each gets a [Lines] with the fields below if
	// NewCodec is nil. It runs in the goroutine that accepts connections, so it must not block. If
	// it returns nil or panics, the connection is closed.
	NewCodec func(info *handlers.Info) handlers.Codec
	// Delimiter, Limit, Tail, AllowHTTP and AllowHalfOpen are the fields of [Lines]. They have no
	// effect if NewCodec is set.
	Delimiter     string
	Limit         int
	Tail          bool
	AllowHTTP     bool
	AllowHalfOpen bool

	once sync.Once
	base *Lines // has the fields above
}

var _ handlers.Handler = (*Handler)(nil)

// Serve attaches c to the loop. It may be called concurrently.
func (h *Handler) Serve(c handlers.Conn, p handlers.Port) {
	var codec handlers.Codec
	err := handlers.Guard(func() { codec = h.Codec(c.Info()) })
	if err == nil && codec == nil {
		err = fmt.Errorf("no codec for this client: %w", handlers.ErrPolicy)
	}
	if err != nil {
		c.Close()
		p.Fail(c.Info(), err)
		return
	}
	p.Attach(c, handlers.Attachment{Codec: codec, Info: tcpInfo(c.Info())})
}

// tcpInfo returns a copy of info whose Protocol is [handlers.ProtocolTCP], or nil if a route has
// named the protocol already.
func tcpInfo(info *handlers.Info) *handlers.Info {
	switch info.Protocol {
	case "", handlers.ProtocolTLS:
		tcp := *info
		tcp.Protocol = handlers.ProtocolTCP
		return &tcp
	}
	return nil
}

// Codec returns the codec of one connection, or nil if NewCodec refuses it.
func (h *Handler) Codec(info *handlers.Info) handlers.Codec {
	if h.NewCodec != nil {
		return h.NewCodec(info)
	}
	h.once.Do(func() {
		h.base = &Lines{
			Delimiter: h.Delimiter, Limit: h.Limit, Tail: h.Tail, AllowHTTP: h.AllowHTTP, AllowHalfOpen: h.AllowHalfOpen,
		}
	})
	return &sharedLines{Lines: h.base}
}

// limitOf returns the limit that a field Limit of this value means. No limit is a number that no
// length exceeds.
func limitOf(field int) int {
	if field < 0 {
		return math.MaxInt
	}
	return cmp.Or(field, DefaultLimit)
}
