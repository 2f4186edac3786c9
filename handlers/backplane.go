package handlers

// A Backplane carries the messages published in the rooms of one hub to the hubs connected with it,
// and brings back the messages that they publish. Its methods may be called by several goroutines
// at once.
//
// Each hub is an origin and numbers the messages that it publishes from 1. A gap in the numbers
// tells a receiver that messages are missing.
type Backplane interface {
	// Publish sends m, published in the named room, to the other hubs, in the order of the calls.
	// It does not wait for them and keeps no reference to m. A hub makes one call at a time, in the
	// order of its message numbers.
	Publish(room string, m Message) error
	// Subscribe passes the messages that the other hubs publish to s until Close is called. The
	// messages of one origin come one at a time and in order. Subscribe may be called once.
	Subscribe(s Subscriber) error
	// Close ends the backplane. When it returns, no call to the subscriber is running.
	Close() error
}

// A Subscriber receives messages from a [Backplane]. Its funcs must return soon. A nil func does
// nothing.
type Subscriber struct {
	// Deliver receives a message of another hub.
	Deliver func(d Delivery)
	// Gap reports that missed messages of origin, just before sequence number next, are lost.
	Gap func(origin string, missed, next uint64)
}

// A Delivery is a message that another hub published.
type Delivery struct {
	Origin  string // the hub that published the message
	Seq     uint64 // number among all messages of the origin, from 1
	Room    string
	Message Message // its Data is valid until Deliver returns
}
