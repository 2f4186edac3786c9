package loop

// A reason is why a connection ends. The first one that is given stays; later ones are ignored.
type reason struct {
	err   error
	given bool
}

// give makes err the reason, unless one was given before. A nil err counts as a reason: the program
// has destroyed the connection.
func (r *reason) give(err error) {
	if !r.given {
		r.err, r.given = err, true
	}
}

// fail is like give, but ignores a nil err: a connection that has ended well so far can still fail.
func (r *reason) fail(err error) {
	if err != nil {
		r.give(err)
	}
}
