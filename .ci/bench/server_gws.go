package main

import (
	"github.com/lxzan/gws"
)

// serveGWS echoes with gws and its own server, as in the README of gws.
func serveGWS(e endpoint) error {
	return gws.NewServer(gwsEcho{}, nil).RunListener(e.secured())
}

type gwsEcho struct{ gws.BuiltinEventHandler }

// OnMessage echoes.
func (gwsEcho) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	_ = c.WriteMessage(m.Opcode, m.Bytes()) // when it fails, the read fails too
}
