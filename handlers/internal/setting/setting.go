// Package setting gives the fields that programs set one meaning: zero is the default, a negative
// value is no bound.
package setting

import "time"

// Never is a time that does not pass.
const Never = 100 * 365 * 24 * time.Hour

// Or returns v, or def if v is zero, or none if v is negative.
func Or[T int | int64 | time.Duration](v, def, none T) T {
	switch {
	case v < 0:
		return none
	case v == 0:
		return def
	}
	return v
}
