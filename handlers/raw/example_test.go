package raw_test

import (
	"fmt"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/raw"
)

// printer takes the place of the loop.
type printer struct{}

func (printer) Connect(*handlers.Info)     {}
func (printer) Message(m handlers.Message) { fmt.Printf("message %q\n", m.Data) }

func ExampleLines() {
	codec := &raw.Lines{Limit: 20}
	m := &handlers.Messages{Events: printer{}}
	n, err := codec.Decode([]byte("hello\nworld\nthe rest of this li"), m)
	fmt.Println(n, err)
	_, err = codec.Decode([]byte("the rest of this line comes too late"), m)
	fmt.Println(err)
	fmt.Printf("%q\n", codec.AppendClose(nil, err))
	// Output:
	// message "hello"
	// message "world"
	// 12 <nil>
	// message too long
	// "error: message longer than 20 bytes\n"
}

func ExamplePrefixed() {
	codec := &raw.Prefixed{Size: 2}
	wire := codec.AppendMessage(nil, []byte("hello"), handlers.Auto)
	wire = codec.AppendMessage(wire, []byte("wor\nld"), handlers.Auto)
	fmt.Printf("%q\n", wire)
	_, err := codec.Decode(wire, &handlers.Messages{Events: printer{}, EOF: true})
	fmt.Println(err)
	// Output:
	// "\x00\x05hello\x00\x06wor\nld"
	// message "hello"
	// message "wor\nld"
	// <nil>
}

func ExampleBytes() {
	n, err := raw.Bytes{}.Decode([]byte("as it\ncomes"), &handlers.Messages{Events: printer{}})
	fmt.Println(n, err)
	// Output:
	// message "as it\ncomes"
	// 11 <nil>
}

// A handler for clients that put the length in front of each message, in two bytes and network
// order. Give it to a portluck.Server as OnUnmatched, or with a matcher to its Handle.
func ExampleHandler() {
	h := &raw.Handler{NewCodec: func(info *handlers.Info) handlers.Codec {
		if info.TLS == nil {
			return nil // refuse clients that are not inside TLS
		}
		return &raw.Prefixed{Size: 2, Limit: 4 << 10}
	}}
	fmt.Println(h.Codec(&handlers.Info{}))
	// Output: <nil>
}
