//go:build !linux

package loop

import "github.com/portluck/portluck/handlers"

// shards is empty where there is no epoll.
type shards struct{}

func (*shards) refuse(all []ender) []ender { return all }

func (*Loop) newPolled(handlers.Conn, handlers.Attachment) Conn { return nil }
