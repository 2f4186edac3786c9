// Package hub has the events of a server: who is connected, what clients say, and what is sent to
// them, whatever protocol they speak. Package portluck has the same types under the same names, so
// that a program imports that package only.
//
// A [Hub] is what a program sets its callbacks in. Each callback gets a [Client], which tells who
// it is, and a [Writer], which sends to it. A [Room] passes what is published in it on to its
// members.
//
// # For ports
//
// A port, which accepts connections and knows their protocols, uses a hub by a [Binding], which it
// makes with [Bind]. For each client it, or the handler that drives the connection, has a
// [Session], with which it raises the client's events; a [handlers.Stream] takes what the program
// sends to the client. What happens goes to the port's [Log]. The example of Bind is a port without
// a connection.
//
// The hub asks of a stream, beyond handlers.Stream, what that can do: to take many framed messages
// at once and to tell when its client has read (Feed, Framing, Queued and Drain of a [loop.Conn]),
// and to end for a reason (Quit). A stream without these is written one message at a time.
package hub
