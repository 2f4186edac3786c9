//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package grace

// HasUnread cannot be told here.
func HasUnread(any) bool { return false }
