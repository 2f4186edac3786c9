// Package boundtest holds the numbers and durations among the fields of a struct to one meaning:
// zero is the default, and negative is no bound, or what the row of the field says.
package boundtest

import (
	"math"
	"reflect"
	"testing"
	"time"
)

// None is the effective value of a field that bounds nothing. So is one that is never reached.
const None = -1

// A Row says what the values of a field mean.
type Row[T any] struct {
	field          string
	zero, negative int64
	of             func(v *T) int64
}

// Field is the row of a field: its effective value, which of returns, is zero when the field is
// zero, negative when it is negative, and else what it is set to.
func Field[T any](name string, zero, negative int64, of func(v *T) int64) Row[T] {
	return Row[T]{name, zero, negative, of}
}

// Check sets each field to zero, to a negative and to a positive value, and fails for each that
// means something else than its row says. It fails too when T has an exported number or duration
// without a row, but for those of others.
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

// never is more than any bound that is meant to be reached: 73 years, or 2 EiB.
const never = math.MaxInt64 / 4

func effective(n int64) int64 {
	if n > never {
		return None
	}
	return n
}
