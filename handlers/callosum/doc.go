// Package callosum gives each connection a slot.
package callosum
