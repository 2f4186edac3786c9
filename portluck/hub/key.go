package hub

// A Valued has values of the program: a [*Client], and a [*handlers.Handshake], whose client gets
// them when it connects.
type Valued interface {
	Value(key any) any
	SetValue(key, value any)
}

// A Key names a value of type T that a program keeps with a client. The zero value is ready. Two
// Keys are never the same, so a package may keep its own without the others' knowledge:
//
//	var score hub.Key[int]
//
// Any goroutine may call the methods, for any client, also one that has gone.
type Key[T any] struct{ _ byte } // not empty: each has an address of its own

// boxed makes a nil of an interface type T a value like any other.
type boxed[T any] struct{ value T }

// Get returns the value of c, and whether it has one.
func (k *Key[T]) Get(c Valued) (value T, ok bool) {
	b, ok := c.Value(k).(boxed[T])
	return b.value, ok
}

// Set sets the value of c.
func (k *Key[T]) Set(c Valued, value T) { c.SetValue(k, boxed[T]{value}) }

// Delete removes the value of c.
func (k *Key[T]) Delete(c Valued) { c.SetValue(k, nil) }
