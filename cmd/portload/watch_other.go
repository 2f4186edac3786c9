//go:build !linux

package main

// newWatcher returns a watcher with a goroutine for each connection.
func newWatcher(*plan) (watcher, error) { return &goWatcher{}, nil }
