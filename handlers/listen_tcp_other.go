//go:build !linux

package handlers

import "syscall"

func inlineUrgent(_, _ string, _ syscall.RawConn) error { return nil }
func takeIPv4(_, _ string, _ syscall.RawConn) error     { return nil }
