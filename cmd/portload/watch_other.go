//go:build !linux

package main

// newWatcher has a goroutine for each connection.
func newWatcher(*plan) (watcher, error) { return &goWatcher{}, nil }
