package matchers_test

import (
	"fmt"

	"github.com/portluck/portluck/matchers"
)

// An MQTT client begins with CONNECT, whose third field is the name of the protocol. The matcher
// returns No as soon as a byte differs; until then it returns how many bytes it needs.
func ExampleMatcherFunc() {
	mqtt := matchers.MatcherFunc(func(h matchers.Hello) matchers.Verdict {
		const name = "\x00\x04MQTT"
		b := h.Bytes
		if len(b) > 0 && b[0] != 0x10 {
			return matchers.No
		}
		at := 1 // the packet's length: up to four bytes, the last below 0x80
		for at < len(b) && b[at] >= 0x80 && at < 4 {
			at++
		}
		at++
		have := min(max(len(b)-at, 0), len(name))
		switch {
		case have > 0 && string(b[at:at+have]) != name[:have]:
			return matchers.No
		case have == len(name):
			return matchers.Yes
		case h.EOF:
			return matchers.No
		}
		return matchers.Need(at + len(name))
	})
	for _, first := range []string{"", "\x10", "\x10\x11\x00\x04MQ", "\x10\x80\x01\x00\x04MQTT\x05", "GET / HTTP/1.1\r\n"} {
		switch v := mqtt.Match(matchers.Hello{Bytes: []byte(first)}); v {
		case matchers.Yes:
			fmt.Printf("%q: yes\n", first)
		case matchers.No:
			fmt.Printf("%q: no\n", first)
		default:
			fmt.Printf("%q: %d bytes are needed\n", first, v.Needed())
		}
	}
	// Output:
	// "": 8 bytes are needed
	// "\x10": 8 bytes are needed
	// "\x10\x11\x00\x04MQ": 8 bytes are needed
	// "\x10\x80\x01\x00\x04MQTT\x05": yes
	// "GET / HTTP/1.1\r\n": no
}
