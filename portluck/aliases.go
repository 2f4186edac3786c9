package portluck

import (
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/portluck/hub"
)

// A Hub has the events of every client of every protocol: its fields are OnConnect, OnMessage,
// OnDisconnect, OnError, OnGap and RoomOptions. Its methods are Broadcast, Clients, Len, Room and
// Carry. Its zero value is ready. It is [hub.Hub].
type Hub = hub.Hub

// A Client is one client of a [Hub], connected or gone. Its methods tell who it is: ID, Protocol,
// Scheme, Local, Remote, TLS, Request and Info; Writer returns where its replies go. It is
// [hub.Client].
type Client = hub.Client

// A Writer sends to one client: Send sends a message, Write and WriteString bytes as they are. End
// and Destroy end the client, Done, DoneAfterWrite, Header and WriteHeader are for HTTP responses,
// Queued and Drain tell what the client has not read. It is [hub.Writer].
type Writer = hub.Writer

// A Room passes what is published in it on to its members, clients of any protocol: Join,
// JoinSince, Leave, Publish, TryPublish, Since, Position, Members, Len, Name and Stats are its
// methods. [Hub.Room] has them by name. It is [hub.Room].
type Room = hub.Room

// RoomOptions are how a room treats its members: how much it keeps for those that are behind (Ring,
// RingBytes, MaxLatency), what becomes of those that are further behind (Policy, OnSlow), and what
// those that join get (History). The RoomOptions of a [Hub] returns them. It is [hub.RoomOptions].
type RoomOptions = hub.RoomOptions

// RoomStats counts what has happened in a room. It is [hub.RoomStats].
type RoomStats = hub.RoomStats

// Policy says what becomes of a member of a room that reads too slowly. It is [hub.Policy].
type Policy = hub.Policy

// The policies of a room.
const (
	Disconnect   = hub.Disconnect   // end the client, with [handlers.ErrSlow]
	SkipToLatest = hub.SkipToLatest // go on with the newest message
	DropOldest   = hub.DropOldest   // go on with the oldest message that is kept
	Backpressure = hub.Backpressure // have [Room.Publish] wait for the member
)

// Message is what a client sent. Its Data is valid until OnMessage returns; Clone keeps it. It is
// [handlers.Message].
type Message = handlers.Message

// TextMessage returns a text message for [Writer.Send] and [Hub.Broadcast].
func TextMessage(s string) Message { return Message{Data: []byte(s), Kind: Text} }

// Kind tells text from binary messages. It is [handlers.Kind].
type Kind = handlers.Kind

// The kinds of a message.
const (
	Auto   = handlers.Auto   // bytes: a WebSocket client gets text if it is valid UTF-8, else binary
	Text   = handlers.Text   // UTF-8 text
	Binary = handlers.Binary // bytes
)

// Position is a place in the messages of a room. It is [handlers.Position].
type Position = handlers.Position

// ParsePosition reads what the String of a [Position] has written; see [handlers.ParsePosition].
func ParsePosition(s string) (Position, error) { return handlers.ParsePosition(s) }

// Info says who a connection or a client is. It is [handlers.Info].
type Info = handlers.Info

// A Backplane carries rooms between hubs ([Hub.Carry]), such as that of package handlers/mesh. It
// is [handlers.Backplane].
type Backplane = handlers.Backplane
