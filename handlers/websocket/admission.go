package websocket

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"

	"github.com/portluck/portluck/handlers"
)

// ask asks the port whether to admit the client of info, whose handshake is right. The Handshake is
// empty if the port does not want to be asked.
func ask(ctx context.Context, info *handlers.Info, p handlers.Port) (*handlers.Handshake, error) {
	a, ok := p.(handlers.Admitter)
	if !ok || !a.Admits(info) {
		return &handlers.Handshake{}, nil
	}
	h := &handlers.Handshake{Info: info, Protocols: offered(info.Request), Header: http.Header{}}
	return h, a.Admit(ctx, h)
}

// closes reports whether err refuses a client with a close code, after the upgrade.
func closes(err error) bool {
	r, ok := errors.AsType[*handlers.Refusal](err)
	return ok && r.Close != 0
}

// refuse answers a handshake that the program has refused with err.
func refuse(w http.ResponseWriter, h *handlers.Handshake, err error) {
	maps.Copy(w.Header(), h.Header)
	w.Header()["Connection"] = []string{"close"} // as for a wrong handshake
	f, _ := handlers.FarewellOf(err)
	f.Answer(w)
}

// ours are the fields of a 101 that the program cannot set.
var ours = map[string]bool{
	"Connection": true, "Upgrade": true, "Content-Length": true, "Transfer-Encoding": true, "Trailer": true,
	"Sec-Websocket-Accept": true, "Sec-Websocket-Protocol": true, "Sec-Websocket-Extensions": true,
}

// appendFields appends the fields of a 101 that the program has set in header.
func appendFields(dst []byte, header http.Header) []byte {
	fields := http.Header{}
	for name, values := range header {
		if name = http.CanonicalHeaderKey(name); !ours[name] {
			fields[name] = append(fields[name], values...)
		}
	}
	b := bytes.NewBuffer(dst)
	_ = fields.Write(b) // line ends in values become spaces; b does not fail
	return b.Bytes()
}

// refusing is the codec of an open connection that is closed before it has a client.
type refusing struct {
	*frames
	err error
}

// Decode implements [handlers.Codec.Decode].
func (r *refusing) Decode([]byte, *handlers.Messages) (int, error) { return 0, r.err }
