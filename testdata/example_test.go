package testdata_test

import (
	"fmt"

	"github.com/portluck/portluck/testdata"
)

func ExampleGet() {
	t := testdata.Get("redis-cli")
	fmt.Println(t.Class, t.From)
	fmt.Printf("%q\n", t.Bytes)
	// Output:
	// raw redis-cli -h HOST -p PORT ping
	// "*1\r\n$4\r\nping\r\n"
}
