package loop

import "github.com/portluck/portluck/handlers/internal/parts"

// input holds what was read and not yet decoded.
type input struct {
	parts.Buffer
	kept  int    // bytes of the current message that the codec keeps
	reply []byte // reused for Messages.Reply
}

// keep counts the bytes that the codec has left in the buffer and the n bytes that it keeps itself.
// The error is [handlers.ErrOverload].
func (in *input) keep(n int) error {
	if n != in.kept {
		if !in.Budget.Take(n - in.kept) {
			return in.Budget.Refuse()
		}
		in.kept = n
	}
	return in.Keep()
}

// release frees the buffer and its share of the budget. Its contents are lost.
func (in *input) release() {
	in.Budget.Take(-in.kept)
	in.kept = 0
	in.Release()
}
