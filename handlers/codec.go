package handlers

import (
	"bytes"
	"net"
)

// Kind says how a message was, or is to be, told apart by protocols that have more than one kind.
type Kind uint8

const (
	// Auto is the kind of messages from protocols that have only bytes. Sent to a WebSocket it is a
	// text frame if it is valid UTF-8, else a binary one.
	Auto Kind = iota
	// Text is UTF-8 text. Text that is not valid UTF-8 is sent as Binary: no byte is lost.
	Text
	// Binary is bytes.
	Binary
)

// String returns "auto", "text" or "binary".
func (k Kind) String() string {
	switch k {
	case Text:
		return "text"
	case Binary:
		return "binary"
	}
	return "auto"
}

// A Message is what a client sent: a line, a frame, a part of a body.
type Message struct {
	// Data belongs to the loop and is valid until OnMessage returns; [Message.Clone] keeps it.
	Data []byte
	Kind Kind
}

// Clone returns a message with a copy of the data, which may be kept.
func (m Message) Clone() Message {
	m.Data = bytes.Clone(m.Data)
	return m
}

// String returns the data as a string.
func (m Message) String() string { return string(m.Data) }

// A Codec turns bytes into messages and messages into bytes, for one connection. It does no I/O and
// reads no clock.
//
// Decode is called by one goroutine at a time. The Append methods are called by one goroutine at a
// time too, but it may be another one, at the same time as Decode; what the two halves share is the
// codec's to guard.
type Codec interface {
	// Decode takes what it can of in, reports each whole message to m, and appends what the
	// protocol itself answers (pong, close) to m.Reply. It returns how many bytes it has done with;
	// the rest comes again, as Decode left it (a codec may unmask in place), with more behind it.
	// Decode keeps no reference to in. When m.EOF is set no more will come: Decode is called once
	// more, with what is left, perhaps nothing, and reports a last message if the protocol has one.
	//
	// The error io.EOF means that the peer has ended in good order: the replies are flushed and the
	// connection is closed. Any other error ends the client: the replies are flushed, then what
	// AppendClose says of it.
	Decode(in []byte, m *Messages) (n int, err error)
	// AppendWrite appends p as it is, or as one frame of that kind on a protocol that has only
	// messages.
	AppendWrite(dst, p []byte, k Kind) []byte
	// AppendMessage appends msg, framed as one message.
	AppendMessage(dst, msg []byte, k Kind) []byte
	// AppendClose appends the farewell that tells reason; nil is a normal end. Nothing is appended
	// after it.
	AppendClose(dst []byte, reason error) []byte
}

// A Framing turns messages into bytes in a way that depends on nothing else: connections of the
// same Framing can be sent the same bytes. Its values can be compared.
type Framing interface {
	// AppendMessage appends msg, framed as one message.
	AppendMessage(dst, msg []byte, k Kind) []byte
}

// A Framer is a [Codec] whose AppendMessage is that of a [Framing]. What is published to a room is
// then encoded once for all of its connections.
type Framer interface {
	// Framing returns how codec frames messages, or nil if only codec's AppendMessage knows. codec
	// is the Framer itself or one that embeds it and may have an AppendMessage of its own: for
	// those the Framers of this module return nil, so that rooms ask each codec.
	Framing(codec Codec) Framing
}

// A Pinger is a [Codec] that can ask a silent peer for a sign of life, which is any byte.
type Pinger interface {
	// AppendPing appends the question, or nothing where none may be sent.
	AppendPing(dst []byte) []byte
}

// Events is what the loop does with what a codec finds.
type Events interface {
	// Connect announces the client after a handshake.
	Connect(info *Info)
	// Message raises OnMessage and returns after it.
	Message(m Message)
}

// Messages collects what one Decode finds. Its methods are called from Decode only.
type Messages struct {
	// Reply is what the protocol itself answers. It is sent in its place: after the program's
	// replies to the messages delivered before, ahead of its replies to those delivered after.
	Reply []byte
	// EOF says that the peer has sent its last byte (FIN).
	EOF bool
	// Cut comes with EOF when that is no end in good order: TLS has ended without a close_notify,
	// or the connection was reset. Nothing is delivered any more, and the client ends with
	// [io.ErrUnexpectedEOF] unless Decode returns an error.
	Cut bool
	// Partial, when Decode sets it, says that the codec keeps the beginning of a message that is
	// not whole (fragments). What Decode leaves of in need not be told.
	Partial bool
	// Kept, when Decode sets it, is how many bytes of memory that beginning takes, and what else
	// the codec keeps until the client ends. They count for Budget, and the client is ended with
	// [ErrOverload] when they are not left.
	Kept int
	// Budget is that of all connections of the loop. Decode takes from it what it needs while it
	// runs, and gives it back.
	Budget *Budget
	// Next, when Decode sets it, is the codec of the bytes from n on: an upgrade. What was appended
	// to Reply goes out as it is.
	Next Codec
	// Hijack, when Decode sets it, takes the connection out of the loop: what was appended to Reply
	// and queued goes out, the client ends in good order, and Hijack gets the connection, with the
	// bytes from n on still to be read. It runs in a goroutine of its own, which a shutdown waits
	// for, and closes what it gets. It gets nil, and must return at once, when the connection has
	// ended meanwhile.
	Hijack func(c net.Conn)
	// HalfOpen, when Decode sets it at EOF, keeps the connection for what the program still sends:
	// it ends when the program ends it. Without it it ends when what is queued has gone.
	HalfOpen bool
	// Events gets the messages.
	Events Events
}

// Connect announces the client of an [Attachment] with Handshake set, now that its handshake is
// complete. What is in Reply is sent before anything that the program writes.
func (m *Messages) Connect(info *Info) { m.Events.Connect(info) }

// Deliver reports a whole message. The program has seen it when Deliver returns. When Cut is set it
// does nothing.
func (m *Messages) Deliver(msg Message) {
	if !m.Cut {
		m.Events.Message(msg)
	}
}
