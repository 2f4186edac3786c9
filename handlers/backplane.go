package handlers

// A Backplane carries what is published in the rooms of one hub to the hubs that it is connected
// with, and what they publish to this one. Its methods may be called by several goroutines at once.
//
// Each hub is an origin, and numbers what it publishes from 1. Who receives sees from the numbers
// that some are missing.
type Backplane interface {
	// Publish gives m, published in the room of this name, to the other hubs, in the order of the
	// calls. It does not wait for them, and it keeps nothing of m. A hub makes one call at a time,
	// in the order in which it numbers the messages.
	Publish(room string, m Message) error
	// Subscribe has s called with what the other hubs publish, until Close. The messages of one
	// origin come one at a time and in order. It may be called once.
	Subscribe(s Subscriber) error
	// Close ends it. No call of the subscriber is under way any more when it returns.
	Close() error
}

// A Subscriber gets what a [Backplane] brings. Its funcs must return soon; nil stands for one that
// does nothing.
type Subscriber struct {
	// Deliver gets a message of another hub.
	Deliver func(d Delivery)
	// Gap is told that the messages before the number next of this origin are missing, how many
	// there are, and that they will not come.
	Gap func(origin string, missed, next uint64)
}

// A Delivery is a message that was published elsewhere.
type Delivery struct {
	Origin  string // the hub that it was published on
	Seq     uint64 // of all that the origin has published, from 1
	Room    string
	Message Message // its Data is valid during the call
}
