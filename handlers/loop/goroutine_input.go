package loop

import "github.com/portluck/portluck/handlers/internal/parts"

// input is what was read and not yet decoded.
type input struct {
	parts.Buffer
	kept  int    // bytes of the message at hand that the codec keeps
	reply []byte // the buffer of Messages.Reply, used again
}

// keep counts what the codec has left over, and the n bytes that it keeps itself.
func (in *input) keep(n int) error {
	if n != in.kept {
		if !in.Budget.Take(n - in.kept) {
			return in.Budget.Refuse()
		}
		in.kept = n
	}
	return in.Keep()
}

// release gives all of it back. What was in it is lost.
func (in *input) release() {
	in.Budget.Take(-in.kept)
	in.kept = 0
	in.Release()
}
