package loop

// A reason is why a connection ends: the first that was given, whatever comes after it.
type reason struct {
	err   error
	given bool
}

// give makes err the reason, unless there is one. nil is one too: the program has destroyed the
// connection.
func (r *reason) give(err error) {
	if !r.given {
		r.err, r.given = err, true
	}
}

// fail makes err the reason, unless there is one or err is nil: a good end can still fail.
func (r *reason) fail(err error) {
	if err != nil {
		r.give(err)
	}
}
