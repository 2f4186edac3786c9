package handlers

import (
	"bytes"
	"net"
)

// Kind is the type of a message in protocols that have several, such as the text and binary frames
// of WebSocket.
type Kind uint8

const (
	// Auto is the kind of messages from protocols that have only bytes. A WebSocket sends such a
	// message as a text frame if it is valid UTF-8, otherwise as a binary one.
	Auto Kind = iota
	// Text is UTF-8 text. Text that is not valid UTF-8 is sent as Binary, so that no byte is lost.
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
	// Data belongs to the loop and is valid until OnMessage returns. Use [Message.Clone] to keep
	// it.
	Data []byte
	Kind Kind
}

// Clone returns a copy of m, with its own copy of the data, that may be kept.
func (m Message) Clone() Message {
	m.Data = bytes.Clone(m.Data)
	return m
}

// String returns the data as a string.
func (m Message) String() string { return string(m.Data) }

// A Codec turns bytes into messages and messages into bytes, for one connection. It does no I/O and
// reads no clock.
//
// One goroutine at a time calls Decode, and one goroutine at a time calls the Append methods. The
// two may be different goroutines that run at the same time, so the codec must guard any state that
// Decode shares with the Append methods.
type Codec interface {
	// Decode consumes bytes from the front of in, reports each whole message to m, and appends the
	// protocol's own answers (pong, close) to m.Reply. It returns the number of bytes consumed. The
	// next call gets the remaining bytes again, as Decode left them (a codec may unmask in place),
	// followed by new ones. Decode keeps no reference to in. If m.EOF is set, no more bytes will
	// come: this last call gets what is left, perhaps nothing, and reports a last message if the
	// protocol has one.
	//
	// The error io.EOF means that the peer ended in good order: the loop flushes the replies and
	// closes the connection. Any other error ends the client: the loop flushes the replies, then
	// what AppendClose appends for that error.
	Decode(in []byte, m *Messages) (n int, err error)
	// AppendWrite appends p as it is, or as one frame of kind k if the protocol has only messages.
	AppendWrite(dst, p []byte, k Kind) []byte
	// AppendMessage appends msg, framed as one message.
	AppendMessage(dst, msg []byte, k Kind) []byte
	// AppendClose appends the protocol's farewell for reason; a nil reason is a normal end. It is
	// the last Append call.
	AppendClose(dst []byte, reason error) []byte
}

// A Framing encodes messages in a way that depends on nothing but the message, so that all
// connections with the same Framing can be sent the same bytes. Its values must be comparable.
type Framing interface {
	// AppendMessage appends msg, framed as one message.
	AppendMessage(dst, msg []byte, k Kind) []byte
}

// A Framer is a [Codec] whose AppendMessage is that of a [Framing]. A room then encodes each
// published message once for all connections with that Framing.
type Framer interface {
	// Framing returns the framing of codec, or nil if rooms must call codec's own AppendMessage.
	// codec is the Framer itself, or a codec that embeds it and may override AppendMessage. The
	// Framers of this module return nil for a codec that embeds them.
	Framing(codec Codec) Framing
}

// A Pinger is a [Codec] that can ask a silent peer whether it is alive. Any byte is an answer.
type Pinger interface {
	// AppendPing appends a ping, or nothing if none may be sent now.
	AppendPing(dst []byte) []byte
}

// Events receives what a codec finds. The loop implements it.
type Events interface {
	// Connect announces the client after a handshake.
	Connect(info *Info)
	// Message calls OnMessage and returns after it.
	Message(m Message)
}

// Messages collects what one call of Decode finds. Its methods may be called from Decode only.
type Messages struct {
	// Reply is the protocol's own answer. It is sent in order: after the program's replies to the
	// messages delivered before it, and before the replies to those delivered after it.
	Reply []byte
	// EOF says that the peer has sent its last byte (FIN).
	EOF bool
	// Cut is set together with EOF if the stream did not end in good order: TLS ended without a
	// close_notify, or the connection was reset. No more messages are delivered, and the client
	// ends with [io.ErrUnexpectedEOF] unless Decode returns another error.
	Cut bool
	// Partial is set by Decode if the codec itself keeps the beginning of an incomplete message
	// (fragments). Bytes that Decode leaves in its argument do not count.
	Partial bool
	// Kept is set by Decode to the number of bytes of memory that this beginning takes, plus what
	// else the codec keeps until the client ends. They count against Budget, and the client ends
	// with [ErrOverload] if the Budget has too few left.
	Kept int
	// Budget is shared by all connections of the loop. Decode takes from it the memory that it
	// needs while it runs, and gives it back before it returns.
	Budget *Budget
	// Next is set by Decode to upgrade the connection: Next decodes the bytes from n on. Reply is
	// sent as it is.
	Next Codec
	// Hijack is set by Decode to take the connection out of the loop. The loop sends Reply and what
	// is queued, ends the client in good order, and calls Hijack with the connection, from which
	// the bytes from n on can still be read. Hijack runs in its own goroutine, which a shutdown
	// waits for, and must close c. If the connection has ended meanwhile, c is nil and Hijack must
	// return at once.
	Hijack func(c net.Conn)
	// HalfOpen is set by Decode at EOF to keep the connection open for what the program still
	// sends, until the program ends it. Otherwise the connection ends once the queue is sent.
	HalfOpen bool
	// Events receives the messages.
	Events Events
}

// Connect announces the client of an [Attachment] with Handshake set, once its handshake is
// complete. Reply is sent before anything that the program writes.
func (m *Messages) Connect(info *Info) { m.Events.Connect(info) }

// Deliver passes a whole message to the program and returns after OnMessage. It does nothing if Cut
// is set.
func (m *Messages) Deliver(msg Message) {
	if !m.Cut {
		m.Events.Message(msg)
	}
}
