//go:build !unix || aix

package grace

// HasUnread always returns false: this system cannot answer the question.
func HasUnread(any) bool { return false }
