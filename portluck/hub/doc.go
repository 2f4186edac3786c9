// Package hub raises the events of clients, sends to them, and connects them in rooms, whatever
// protocol they speak. Package portluck has the same types under the same names, so a program
// imports that package only.
//
// A program sets its callbacks in a [Hub]. A callback gets a [Client], which tells who the client
// is, and a [Writer], which sends to it. A [Room] sends each message that is published in it to all
// its members.
//
// # For ports
//
// A port accepts connections and knows their protocols. It connects to a hub with [Bind], which
// returns a [Binding]. With that, the port makes a [Session] for each client. The session raises
// the client's events, and a [handlers.Stream] takes what the program sends to the client. The
// port's [Log] gets what happens. The example of Bind is a port without a connection.
//
// A stream may have methods of a [loop.Conn] besides those of handlers.Stream: Framing and Feed to
// take many framed messages at once, Queued and Drain to tell when its client has read, and Quit to
// end for a reason. A room sends one message at a time to a stream without Framing and Feed.
package hub
