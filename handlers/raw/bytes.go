package raw

import "github.com/portluck/portluck/handlers"

// Bytes is a codec without framing: the bytes of one read are one message. The network decides
// where a read ends, so Bytes is for programs that only pass the bytes on, or that have a parser of
// their own. The zero value is ready, and one Bytes may serve any number of connections.
type Bytes struct{}

var (
	_ handlers.Codec  = Bytes{}
	_ handlers.Framer = Bytes{}
)

// Decode implements [handlers.Codec.Decode].
func (Bytes) Decode(in []byte, m *handlers.Messages) (n int, err error) {
	if len(in) > 0 {
		m.Deliver(handlers.Message{Data: in})
	}
	return len(in), nil
}

// AppendWrite appends p unchanged.
func (Bytes) AppendWrite(dst, p []byte, _ handlers.Kind) []byte { return append(dst, p...) }

// AppendMessage appends msg unchanged.
func (Bytes) AppendMessage(dst, msg []byte, _ handlers.Kind) []byte { return append(dst, msg...) }

// Framing implements [handlers.Framer.Framing].
func (Bytes) Framing(codec handlers.Codec) handlers.Framing {
	switch codec.(type) {
	case Bytes, *Bytes:
		return Bytes{}
	}
	return nil
}

// AppendClose appends nothing: the end of the stream is enough.
func (Bytes) AppendClose(dst []byte, _ error) []byte { return dst }
