// Package boundtest checks that the numeric and duration fields of a struct agree on zero and
// negative values: zero is the default, and negative is no bound unless the field's row says
// otherwise.
package boundtest

import (
	"math"
	"reflect"
	"testing"
	"time"
)

// None is the effective value of a field without a bound, or with one that is never reached.
const None = -1

// A Row states what the values of one field mean.
type Row[T any] struct {
	field          string
	zero, negative int64
	of             func(v *T) int64
}

// Field returns the row of the named field. of returns the field's effective value, which must be
// zero when the field is 0, negative when the field is below 0, and otherwise the field's own
// value.
func Field[T any](name string, zero, negative int64, of func(v *T) int64) Row[T] {
	return Row[T]{name, zero, negative, of}
}

// Check sets each field to zero, negative and positive values, and fails the test for each value
// that does not mean what its row says. It also fails if an exported number or duration of T has no
// row and is not in others.
func Check[T any](t *testing.T, others []string, rows ...Row[T]) {
	t.Helper()
	seen := map[string]bool{}
	for _, name := range others {
		seen[name] = true
	}
	for _, r := range rows {
		seen[r.field] = true
		set := int64(5)
		if reflect.ValueOf(new(T)).Elem().FieldByName(r.field).Type() == reflect.TypeFor[time.Duration]() {
			set = int64(5 * time.Second)
		}
		for _, c := range []struct{ value, want int64 }{{0, r.zero}, {-7, r.negative}, {-math.MaxInt32, r.negative}, {set, set}} {
			v := new(T)
			reflect.ValueOf(v).Elem().FieldByName(r.field).SetInt(c.value)
			if got := effective(r.of(v)); got != c.want {
				t.Errorf("%T.%s %d: effective value %d, want %d", v, r.field, c.value, got, c.want)
			}
		}
	}
	of := reflect.TypeFor[T]()
	for i := range of.NumField() {
		if f := of.Field(i); f.IsExported() && f.Type.ConvertibleTo(reflect.TypeFor[int64]()) && !seen[f.Name] {
			t.Errorf("%v.%s has no row", of, f.Name)
		}
	}
}

// never exceeds any bound that is meant to be reached: 73 years, or 2 EiB.
const never = math.MaxInt64 / 4

func effective(n int64) int64 {
	if n > never {
		return None
	}
	return n
}
