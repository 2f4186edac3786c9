package portluck

import (
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/portluck/hub"
)

// A Hub receives the events of every client of every protocol. Its fields are the callbacks
// OnHandshake, OnConnect, OnMessage, OnDisconnect, OnJoin, OnError, OnGap and RoomOptions; its
// methods are Broadcast, Clients, Len, Room and Carry. Its zero value is ready. Hub is [hub.Hub].
type Hub = hub.Hub

// A Client is one client of a [Hub], connected or gone. Its methods ID, Protocol, Scheme, Local,
// Remote, TLS, Request and Info tell who it is; Rooms returns its rooms, and Writer the [Writer]
// that sends to it. Client is [hub.Client].
type Client = hub.Client

// A Writer sends to one client: Send sends a message, Write and WriteString send bytes as they are.
// End and Destroy end the client. Done, DoneAfterWrite, Header and WriteHeader are for HTTP
// responses. Queued and Drain tell what the client has yet to read. Writer is [hub.Writer].
type Writer = hub.Writer

// A Room sends each message that is published in it to all its members, which are clients of any
// protocol. The Room method of a [Hub] returns a room by its name. Its methods are Join, JoinSince,
// Leave, Publish, TryPublish, PublishContext, Since, Position, Members, Presence, Len, Name and
// Stats. Room is [hub.Room].
type Room = hub.Room

// A Member is a client in a room: its ID, its User, and Since when it is there. The method Presence
// of a [Room] returns them. Member is [hub.Member].
type Member = hub.Member

// PublishOptions say to whom a message in a room goes: Except, To. ID is the message's own, so that
// it is not sent twice. PublishOptions is [hub.PublishOptions].
type PublishOptions = hub.PublishOptions

// RoomOptions are the bounds of a room. Ring, RingBytes and MaxLatency bound what it keeps for
// members that are behind; Policy and OnSlow are for those that are further behind; a client that
// joins gets the History, as far as it is younger than HistoryAge. Presence and OnPresence tell who
// is there. The callback RoomOptions of a [Hub] returns them. RoomOptions is [hub.RoomOptions].
type RoomOptions = hub.RoomOptions

// RoomStats are counters of a room: Published, Delivered, Missed and Slow. RoomStats is
// [hub.RoomStats].
type RoomStats = hub.RoomStats

// Policy says what happens to a member of a room that reads too slowly. Policy is [hub.Policy].
type Policy = hub.Policy

// The policies of a room.
const (
	Disconnect   = hub.Disconnect   // end the client, with [handlers.ErrSlow]
	SkipToLatest = hub.SkipToLatest // continue with the newest message
	DropOldest   = hub.DropOldest   // continue with the oldest message that the room keeps
	Backpressure = hub.Backpressure // make Publish wait for the member
	ByKey        = hub.ByKey        // send the newest message of each key
)

// A Message has Data and a Kind. The Data of one that OnMessage gets is valid until OnMessage
// returns; Clone copies it. Message is [handlers.Message].
type Message = handlers.Message

// TextMessage returns a text message, for Send, Broadcast and Publish.
func TextMessage(s string) Message { return Message{Data: []byte(s), Kind: Text} }

// Kind tells text from binary messages. Kind is [handlers.Kind].
type Kind = handlers.Kind

// The kinds of a message.
const (
	Auto   = handlers.Auto   // bytes: a WebSocket client gets text if it is valid UTF-8, else binary
	Text   = handlers.Text   // UTF-8 text
	Binary = handlers.Binary // bytes
)

// A Position is a place in the messages of a room, from which a client can resume. Position is
// [handlers.Position].
type Position = handlers.Position

// ParsePosition parses what the String method of a [Position] returns. It is
// [handlers.ParsePosition].
func ParsePosition(s string) (Position, error) { return handlers.ParsePosition(s) }

// A Handshake is a client that asks the OnHandshake of a [Hub] to be admitted. Handshake is
// [handlers.Handshake].
type Handshake = handlers.Handshake

// A Refusal is an error that refuses or ends a client and says what the client is told. Refusal is
// [handlers.Refusal].
type Refusal = handlers.Refusal

// A Key names a value of type T that a program keeps with each client, such as its score. The zero
// value is ready. Key is [hub.Key].
type Key[T any] = hub.Key[T]

// Info says who a connection or a client is. Info is [handlers.Info].
type Info = handlers.Info

// A Backplane connects the rooms of several hubs, see [hub.Hub.Carry]. Package handlers/mesh has
// one. Backplane is [handlers.Backplane].
type Backplane = handlers.Backplane
